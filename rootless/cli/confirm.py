"""The question before something is removed."""

from __future__ import annotations

import sys


def confirmed(warning: str) -> bool:
    """Whether standard input says yes to what the warning tells. Its end says no."""
    print(warning)
    print("Are you sure you want to continue? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
