"""Commands that do one thing to each of several containers: print each name when it is done, go on after a failure."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from ..errors import RootlessError

AT_ONCE = 50


def for_each_at_once(names: Iterable[str], work: Callable[[str], object]) -> int:
    """The same for work that mostly waits: for up to 50 names at once, as Docker does it. `work` must not fork."""
    names = list(names)
    if len(names) == 1:
        return for_each(names, work)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = {name: pool.submit(work, name) for name in names}
        return for_each(names, lambda name: jobs[name].result())


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
