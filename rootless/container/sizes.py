"""Numbers of bytes as people write them to Docker."""

from __future__ import annotations

import re

from ..errors import UsageError

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}


def parse(text: str) -> int:
    """A number with one of the suffixes b, k, m, g, t, p (powers of 1024), in any case, also as kb, kib ...

    Raises:
        UsageError: it is none, or more than 63 bits hold; in Docker's words.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?", text.strip().lower())
    if match is None:
        raise UsageError(f"invalid size: '{text}'")
    number = float(match[1]) * _UNITS[match[2]]
    if number >= 1 << 63:
        raise UsageError(f"invalid size: '{text}' is more than any memory")
    return int(number)
