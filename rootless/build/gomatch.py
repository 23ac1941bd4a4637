"""Patterns of file names as Go reads them: COPY's wildcards and the lines of a .dockerignore.

`compile_match` is path/filepath.Match: `*` and `?` stop at a slash, `[a-z]`, `[^a-z]`, a backslash takes the next
character as it is. `Patterns` is github.com/moby/patternmatcher, which adds `**` and exceptions with `!`.

Both become regular expressions. A star of filepath.Match never tries again once what follows it was found (Go doesn't
either), so that no pattern takes long; that is what the atomic groups `(?>...)` are for.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ..errors import InvalidError
from ..image.expand import SPACE

_STAR, _ONE = "[^/]*", "[^/]"
_NOTHING, _ANYTHING = "(?!)", r"[\s\S]"


@dataclass(frozen=True, slots=True)
class Token:
    """A part of a pattern: a wildcard (`*`, `?`, or `[` with a class as `regex`) or, with an empty one, a literal."""

    wildcard: str
    regex: str
    escaped: bool = False


@lru_cache(maxsize=256)
def compile_match(pattern: str) -> re.Pattern[str]:
    """path/filepath.Match as a regular expression, for `fullmatch` with a path.

    Raises:
        InvalidError: a class or an escape that isn't finished.
    """
    chunks: list[str] = [""]
    for token in tokens(pattern):
        if token.wildcard == "*":
            chunks += [""] if chunks[-1] or len(chunks) == 1 else []
        else:
            chunks[-1] += token.regex
    first, *rest = chunks
    middle = "".join(f"(?>[^/]*?{chunk})" for chunk in rest[:-1])
    last = f"[^/]*{rest[-1]}" if rest else ""
    return re.compile(first + middle + last)


def has_wildcards(pattern: str) -> bool:
    """Whether there is anything but literals and escapes in a pattern."""
    return re.search(r"(?<!\\)(?:\\\\)*[*?[]", pattern) is not None


def tokens(pattern: str) -> Iterator[Token]:
    """The parts of a pattern of filepath.Match. InvalidError as `compile_match`."""
    at = 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*":
            yield Token("*", _STAR)
        elif character == "?":
            yield Token("?", _ONE)
        elif character == "[":
            regex, at = _class(pattern, at)
            yield Token("[", regex)
        else:
            escaped = character == "\\"
            if escaped:
                character, at = _escaped(pattern, at)
            yield Token("", re.escape(character), escaped)


def _escaped(pattern: str, at: int) -> tuple[str, int]:
    if at == len(pattern):
        raise _bad(pattern)
    return pattern[at], at + 1


def _bad(pattern: str) -> InvalidError:
    return InvalidError(
        f"syntax error in pattern '{pattern}'", hint="a [ needs a ], and a backslash something after it"
    )


def _class(pattern: str, at: int) -> tuple[str, int]:
    """The class that begins at `at` as a regular expression, and where it ends. In it even a slash can be meant."""
    negated = pattern.startswith("^", at)
    at += negated
    ranges: list[str] = []
    empty = True
    while empty or not pattern.startswith("]", at):
        low, at = _end_of_range(pattern, at)
        high = low
        if pattern.startswith("-", at):
            high, at = _end_of_range(pattern, at + 1)
        if low <= high:
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
        empty = False
    if not ranges:
        return (_ANYTHING if negated else _NOTHING), at + 1
    return f"[{'^' if negated else ''}{''.join(ranges)}]", at + 1


def _end_of_range(pattern: str, at: int) -> tuple[str, int]:
    character, at = _escaped(pattern, at)
    if character in "-]":
        raise _bad(pattern)
    if character == "\\":
        character, at = _escaped(pattern, at)
    if at == len(pattern):
        raise _bad(pattern)
    return character, at


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line.

    Attributes:
        text: cleaned, without the `!`.
        exception: whether there was one.
        regex: for `fullmatch`; None when only `text` itself matches.
    """

    text: str
    exception: bool
    regex: re.Pattern[str] | None

    def matches(self, path: str) -> bool:
        """Whether the line means this path itself."""
        return self.regex.fullmatch(path) is not None if self.regex else path == self.text

    def may_match_below(self, directory: str) -> bool:
        """Whether the line can mean something in a directory: not when they part ways before its first wildcard."""
        literal = re.split(r"[*?[\\]", self.text, maxsplit=1)[0]
        here = f"{directory}/"
        return literal.startswith(here) or (self.regex is not None and here.startswith(literal))


class Patterns:
    """Lines, of which the last that matches a path or a directory above it decides.

    Args:
        lines: as in a .dockerignore; empty ones mean nothing.

    Raises:
        InvalidError: a line is malformed.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self.patterns = tuple(_pattern(line) for line in lines if line.strip(SPACE))
        self.exceptions = any(pattern.exception for pattern in self.patterns)

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def match(self, path: str, parent: Sequence[bool] = ()) -> tuple[bool, tuple[bool, ...]]:
        """Whether `path` is meant.

        Args:
            path: relative, with slashes.
            parent: the second result for the directory above it; empty for a path at the top.

        Returns:
            The answer, and what each line says, for the paths below this one.
        """
        meant = False
        lines: list[bool] = []
        for number, pattern in enumerate(self.patterns):
            # A line that can't change the answer isn't tried, nor does it count for the paths below (moby does so).
            hit = bool(parent) and parent[number]
            if not hit and pattern.exception == meant:
                hit = pattern.matches(path)
            lines.append(hit)
            if hit:
                meant = not pattern.exception
        return meant, tuple(lines)

    def match_alone(self, path: str) -> bool:
        """Whether `path`, or a directory above it, is meant."""
        meant, lines = False, tuple[bool, ...]()
        for end in [*_slashes(path), len(path)]:
            meant, lines = self.match(path[:end], lines)
        return meant


def _slashes(path: str) -> list[int]:
    return [at for at, character in enumerate(path) if character == "/"]


def _pattern(line: str) -> Pattern:
    text = posixpath.normpath(line.strip(SPACE))
    text = "/" + text.lstrip("/") if text.startswith("/") else text  # normpath leaves two slashes, which POSIX allows
    exception = text.startswith("!")
    if text == "!":
        raise InvalidError('illegal exclusion pattern: "!"')
    text = text[exception:]
    return Pattern(text, exception, _compile(text))


def _compile(text: str) -> re.Pattern[str] | None:
    """A line with `**` as a regular expression; None when it has no wildcard at all."""
    parts = list(tokens(text))
    if not any(part.wildcard or part.escaped for part in parts):
        return None
    regex: list[str] = []
    at = 0
    while at < len(parts):
        part = parts[at]
        at += 1
        if part.wildcard != "*" or at == len(parts) or parts[at].wildcard != "*":
            regex.append(part.regex)
            continue
        at += 1
        slash = at < len(parts) and parts[at] == Token("", "/")
        at += slash
        if at == len(parts):
            regex.append(".*")
        elif not regex and not slash and not any(part.wildcard or part.escaped for part in parts[at:]):
            regex.append(".*")  # `**.go` is the end of a name, whatever stands before it
        else:
            regex.append("(?:.*/)?")
    return re.compile("".join(regex), re.DOTALL)
