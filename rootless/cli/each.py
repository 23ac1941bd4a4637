"""Commands that do one thing to each of several containers: print each name when it is done, go on after a failure."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from ..errors import RootlessError


def for_each(names: Iterable[str], work: Callable[[str], object]) -> int:
    """Do `work` with each name; the exit code: 0, or 1 after a failure."""
    code = 0
    for name in names:
        try:
            work(name)
        except RootlessError as problem:
            print(f"rootless: {problem}", file=sys.stderr)
            code = 1
        else:
            print(name)
    return code
