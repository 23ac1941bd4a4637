""".dockerignore: what of a context is as if it weren't there (Docker's documentation, "Build context")."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import AbstractContextManager

from ..errors import InvalidError
from ..image.expand import SPACE
from .gomatch import Patterns
from .tree import Content, Entry, Tree

LIMIT = 1 << 20
"""Bytes of a .dockerignore."""


def read_ignore(data: bytes, file: str) -> Patterns:
    """The lines of a .dockerignore.

    Args:
        file: its name, for errors.

    Raises:
        InvalidError: a line is malformed.
    """
    if len(data) > LIMIT:
        raise InvalidError(f"{file} is larger than {LIMIT} bytes")
    lines: list[str] = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").decode(errors="replace").split("\n"), 1):
        if line.startswith("#") or not line.strip(SPACE):
            continue
        cleaned = _cleaned(line.strip(SPACE))
        try:
            Patterns([cleaned])
        except InvalidError as problem:
            raise InvalidError(f"{file}:{number}: {problem.message}", hint=problem.hint) from problem
        lines.append(cleaned)
    return Patterns(lines)


def _cleaned(line: str) -> str:
    """Without a slash in front: paths are the context's either way."""
    exception = line.startswith("!")
    text = line[exception:].strip(SPACE)
    if text:
        text = posixpath.normpath(text).lstrip("/") or "/"
    return ("!" if exception else "") + text


class IgnoringTree:
    """A tree without what the lines mean. A directory that is meant stays when an exception keeps something in it."""

    def __init__(self, tree: Tree, patterns: Patterns, file: str) -> None:
        self._tree = tree
        self._patterns = patterns
        self._file = file
        self._exceptions = [pattern for pattern in patterns.patterns if pattern.exception]
        self._lines: dict[str, tuple[bool, tuple[bool, ...]]] = {"": (False, ())}
        """What `Patterns.match` says of the directories on the way to what was asked for."""
        self._kept: dict[str, bool] = {}

    def entry(self, path: str) -> Entry | None:
        found = self._tree.entry(path)
        return found if found is not None and self._stays(found) else None

    def children(self, path: str) -> list[Entry]:
        return [entry for entry in self._tree.children(path) if self._stays(entry)]

    def open(self, entry: Entry) -> AbstractContextManager[Content]:
        return self._tree.open(entry)

    def hint(self, path: str) -> str:
        found = self._tree.entry(path.strip("/"))
        return f"{self._file} excludes it" if found is not None else self._tree.hint(path)

    def _match(self, path: str) -> tuple[bool, tuple[bool, ...]]:
        """The answer for `path`, by way of the directories above it, whose answers are kept."""
        unknown: list[str] = []
        while path not in self._lines:
            unknown.append(path)
            path = path.rpartition("/")[0]
        found = self._lines[path]
        while unknown:
            path = unknown.pop()
            found = self._patterns.match(path, found[1])
            if unknown:
                self._lines[path] = found
        return found

    def _stays(self, entry: Entry) -> bool:
        ignored = self._match(entry.path)[0]
        return not ignored or (entry.is_directory and self._keeps(entry.path))

    def _keeps(self, path: str) -> bool:
        """Whether anything in an ignored directory stays."""
        if path not in self._kept:
            self._kept[path] = any(self._staying_below(path))
        return self._kept[path]

    def _staying_below(self, path: str) -> Iterator[bool]:
        pending = [path]
        while pending:
            path = pending.pop()
            if not any(exception.may_match_below(path) for exception in self._exceptions):
                continue
            for entry in self._tree.children(path):
                yield not self._match(entry.path)[0]
                pending += [entry.path] if entry.is_directory else []
