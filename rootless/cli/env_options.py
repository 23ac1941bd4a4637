"""Environment variables and labels: `NAME=value` on the command line, and files of such lines."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import NotFoundError, UsageError
from .options import invalid


def environment(items: Iterable[str], files: Iterable[str]) -> Iterator[str]:
    """`NAME=value` items, those of the files first. A NAME alone takes the caller's value, if there is one."""
    for path in files:
        yield from _resolve(_env_file(path))
    yield from _resolve(items)


def _resolve(items: Iterable[str]) -> Iterator[str]:
    for item in items:
        name, equals, _ = item.partition("=")
        if not name:
            raise invalid(item, "-e, --env", f"invalid environment variable: {item}")
        if equals:
            yield item
        elif name in os.environ:
            yield f"{name}={os.environ[name]}"


def _env_file(path: str) -> Iterator[str]:
    """The lines of an env or label file, by Docker's rules: no quoting, `#` only as a line's first character, no blanks
    in a name."""
    try:
        content = Path(path).read_bytes()
    except OSError as problem:
        raise NotFoundError(f"open {path}: {(problem.strerror or '').lower()}") from problem
    # A line ends with \n or \r\n and nothing else: what str.splitlines() also takes for an end may be in a value.
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            text = raw.removesuffix(b"\r").decode().lstrip()
        except UnicodeDecodeError as problem:
            raise UsageError(f"invalid env file ({path}): invalid utf8 bytes at line {number}") from problem
        if text and not text.startswith("#"):
            _require_name(path, text)
            yield text


def _require_name(path: str, line: str) -> None:
    name = line.partition("=")[0]
    if not name:
        raise UsageError(f"invalid env file ({path}): no variable name on line '{line}'")
    if re.search(r"[ \t]", name):
        raise UsageError(f"invalid env file ({path}): variable '{name}' contains whitespaces")


def labels(items: Iterable[str], files: Iterable[str]) -> Iterator[tuple[str, str]]:
    """`name=value` items, those of the files first; without a value it is empty."""
    for text in (*(line for path in files for line in _env_file(path)), *items):
        name, _, value = text.partition("=")
        yield name, value
