"""The `--name=value` of an instruction: which there are, and what they may hold (BuildKit, instructions/bflag.go)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from ..errors import InvalidError
from .place import nearest


class Kind(Enum):
    """What a flag holds."""

    TEXT = "one value"
    TEXTS = "a value each time it is given"
    TRUTH = "true or false, and true when no value is given"


class Flags:
    """The flags of one instruction, checked.

    Args:
        given: as the parser tells them apart, `--name` or `--name=value`.
        known: those that the instruction has.

    Raises:
        InvalidError: one is unknown, doubled, lacks its value, or is neither true nor false; in BuildKit's words.
    """

    def __init__(self, given: tuple[str, ...], known: Mapping[str, Kind]) -> None:
        self._values: dict[str, list[str]] = {}
        for word in given:
            flag, equals, value = word.partition("=")
            name = flag[2:]
            kind = known.get(name)
            if kind is None:
                raise InvalidError(f"unknown flag: {flag}{nearest(name, known, case=True)}")
            if name in self._values and kind is not Kind.TEXTS:
                raise InvalidError(f"duplicate flag specified: {flag}")
            if (equals and not value) if kind is Kind.TRUTH else not equals:
                raise InvalidError(f"missing a value on flag: {flag}")
            if kind is Kind.TRUTH and value.lower() not in ("true", "false", ""):
                raise InvalidError(f"expecting boolean value for flag {flag}, not: {value}")
            self._values.setdefault(name, []).append(value)

    def text(self, name: str, default: str = "") -> str:
        """The value of a flag that is given at most once."""
        return self._values.get(name, [default])[0]

    def texts(self, name: str) -> tuple[str, ...]:
        """The values of a flag that may be given several times."""
        return tuple(self._values.get(name, ()))

    def truth(self, name: str) -> bool | None:
        """Whether a flag is true; None when it isn't given."""
        return self._values[name][0].lower() != "false" if name in self._values else None
