"""Signals by the names and numbers that people type."""

from __future__ import annotations

import signal

from ..errors import InvalidError


def parse(text: str) -> int:
    """The number of a signal given as `TERM`, `SIGTERM`, `rtmin+3` or `15`, in any case.

    Raises:
        InvalidError: in Docker's words.
    """
    name = text.strip().upper().removeprefix("SIG")
    if name.isdecimal():
        number = int(name)
    else:
        base, sign, offset = name.partition("+") if "+" in name else name.partition("-")
        number = int(getattr(signal, f"SIG{base}", 0)) if base.isalnum() else 0
        if offset.isdecimal() and base in ("RTMIN", "RTMAX"):
            number += int(offset) if sign == "+" else -int(offset)
        elif sign:
            number = 0
    if not 1 <= number <= signal.SIGRTMAX:
        raise InvalidError(f"invalid signal: {text}")
    return number
