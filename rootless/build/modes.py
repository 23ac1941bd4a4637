"""`--chmod`: permissions as chmod(1) takes them, octal or symbolic."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import InvalidError

_OCTAL = re.compile(r"[0-7]{1,4}")
_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)")
_ACTION = re.compile(r"([-+=])([rwxXst]*|[ugo])")
_WHO = {"u": 0o4700, "g": 0o2070, "o": 0o1007, "a": 0o7777}
_BITS = {"r": 0o444, "w": 0o222, "x": 0o111, "s": 0o6000, "t": 0o1000}
_SHIFT = {"u": 6, "g": 3, "o": 0}


@dataclass(frozen=True)
class Mode:
    """A change of permissions. Made by `parse`.

    Attributes:
        fixed: all bits, where it was octal; else None.
        actions: (mask of whom, operator, permissions) in order.
    """

    fixed: int | None
    actions: tuple[tuple[int, str, str], ...] = ()

    def applied(self, mode: int, *, is_directory: bool) -> int:
        """The permission bits that `mode` becomes."""
        if self.fixed is not None:
            return self.fixed
        for mask, operator, letters in self.actions:
            bits = _bits(letters, mode, is_directory) & mask
            if operator == "+":
                mode |= bits
            elif operator == "-":
                mode &= ~bits
            else:
                mode = mode & ~mask | bits
        return mode


def parse(text: str) -> Mode:
    """`755`, `u=rwX,go=rX`.

    Raises:
        InvalidError: neither.
    """
    if _OCTAL.fullmatch(text):
        return Mode(int(text, 8))
    actions = []
    for clause in text.split(","):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            raise InvalidError(f"invalid chmod parameter: '{text}'", hint="octal as 755, or symbolic as u=rwX,go=rX")
        mask = 0
        for letter in match[1] or "a":
            mask |= _WHO[letter]
        actions += [(mask, operator, letters) for operator, letters in _ACTION.findall(match[2])]
    return Mode(None, tuple(actions))


def _bits(letters: str, mode: int, is_directory: bool) -> int:
    if letters in _SHIFT:  # a copy of what another class has
        one = mode >> _SHIFT[letters] & 0o7
        return one << 6 | one << 3 | one
    bits = 0
    for letter in letters:
        if letter == "X":
            bits |= 0o111 if is_directory or mode & 0o111 else 0
        else:
            bits |= _BITS[letter]
    return bits
