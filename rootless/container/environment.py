"""Environments as lists of `NAME=value` items."""

from __future__ import annotations

from collections.abc import Sequence


def merge_environment(*parts: Sequence[str]) -> tuple[str, ...]:
    """`NAME=value` items in the order in which their names first came, each with the last value that it was given."""
    values: dict[str, str] = {}
    for item in (item for part in parts for item in part):
        name, separator, value = item.partition("=")
        values[name] = f"{name}{separator}{value}"
    return tuple(values.values())
