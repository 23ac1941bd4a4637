"""`--storage-opt` of `run` and `create`."""

from __future__ import annotations

from collections.abc import Iterable

import click

from ..container import storage_opt
from ..errors import UsageError

storage_option = click.option(
    "--storage-opt", multiple=True, metavar="LIST", help="Storage driver options for the container"
)


def read_storage(texts: Iterable[str]) -> dict[str, str]:
    """`name=value` items, checked; of two of one name the later counts.

    Raises:
        UsageError: in Docker's words.
    """
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError("invalid storage option", hint=f"'{text}' is not of the form NAME=VALUE")
        found[name] = value
    storage_opt.parse(found)
    return found
