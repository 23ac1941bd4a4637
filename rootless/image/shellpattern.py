"""The patterns of `${name#pattern}`, `%` and `/`: `*` is anything, `?` a character, a backslash takes either as it is.

Without a backtracking regular expression on purpose: `${x#*a*a*a*a*b}` would keep one busy for ever. A pattern is cut
at its stars into pieces of fixed length; the first place where a piece fits is as good as any later one for the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import InvalidError

_ANY, _STAR = object(), object()


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern, cut at its stars: `a*b` is two pieces, `*` two empty ones."""

    pieces: tuple[re.Pattern[str], ...]

    def end(self, text: str, start: int, *, longest: bool) -> int | None:
        """Where the shortest or longest match that begins at `start` ends; None when nothing matches there."""
        found = self.pieces[0].match(text, start)
        if found is None:
            return None
        at = found.end()
        for piece in self.pieces[1:-1]:
            found = piece.search(text, at)
            if found is None:
                return None
            at = found.end()
        return self._last(text, at, longest=longest) if len(self.pieces) > 1 else at

    def _last(self, text: str, at: int, *, longest: bool) -> int | None:
        piece = self.pieces[-1]
        found = piece.search(text, at)
        if found is None or not longest:
            return found.end() if found else None
        # All pieces are of fixed length, so the last match is found from the end, in as many steps as it is far.
        length = found.end() - found.start()
        return next(start + length for start in range(len(text) - length, at - 1, -1) if piece.match(text, start))

    def search(self, text: str, start: int) -> tuple[int, int] | None:
        """The leftmost match from `start` on, as long as can be."""
        found = self.pieces[0].search(text, start)
        if found is None:
            return None
        end = self.end(text, found.start(), longest=True)
        return (found.start(), end) if end is not None else None


def compile_pattern(text: str, *, backwards: bool = False) -> Pattern:
    """Read a pattern; `backwards` gives the one that matches reversed text.

    Raises:
        InvalidError: a backslash before a character that it has no meaning for.
    """
    tokens = _tokens(text)
    pieces = [""]
    for token in reversed(tokens) if backwards else tokens:
        if token is _STAR:
            pieces.append("")
        else:
            pieces[-1] += "." if token is _ANY else re.escape(str(token))
    return Pattern(tuple(re.compile(piece, re.DOTALL) for piece in pieces))


def _tokens(text: str) -> list[object]:
    tokens: list[object] = []
    characters = iter(text)
    for character in characters:
        if character == "\\":
            taken = next(characters, "")
            if taken not in ("*", "?", "\\", "}", "/"):
                raise InvalidError(f"invalid pattern ({text}) in substitution: invalid escape '\\{taken}'")
            tokens.append(taken)
        else:
            tokens.append({"*": _STAR, "?": _ANY}.get(character, character))
    return tokens


def without_prefix(value: str, pattern: str, *, longest: bool) -> str:
    """`value` without what `pattern` matches at its beginning."""
    end = compile_pattern(pattern).end(value, 0, longest=longest)
    return value[end or 0 :]


def without_suffix(value: str, pattern: str, *, longest: bool) -> str:
    """`value` without what `pattern` matches at its end."""
    end = compile_pattern(pattern, backwards=True).end(value[::-1], 0, longest=longest)
    return value[: len(value) - (end or 0)]


def replaced(value: str, pattern: str, replacement: str, *, every: bool) -> str:
    """`value` with the first match of `pattern` replaced, or every one."""
    compiled = compile_pattern(pattern)
    parts: list[str] = []
    done = at = 0
    while at <= len(value) and (found := compiled.search(value, at)):
        start, end = found
        if start < end or not parts or start > done:  # an empty match that touches the one before is none (Go, regexp)
            parts += value[done:start], replacement
            done = end
            if not every:
                break
        at = end if end > start else start + 1
    return "".join([*parts, value[done:]])
