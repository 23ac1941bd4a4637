"""What fails beside a container: it is told in `monitor.log`, and the container goes on.

A monitor does much for its container that is not the container: a client is served, a check runs, names are kept, a
document is written. The monitor's end is the container's (PR_SET_PDEATHSIG), so nothing of this may end it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def survived(what: str) -> Iterator[None]:
    """Around whatever may fail: its exception ends here, and is told with its traceback.

    Under trio a cancellation goes through, also where both come at once.

    Args:
        what: what fails then, as the beginning of the line that tells it.
    """
    try:
        yield
    except* Exception as problems:
        # Where one failed, a group of one is no news: its traceback is told as if it had come alone.
        tell(what, problems.exceptions[0] if len(problems.exceptions) == 1 else problems)


def tell(what: str, problem: BaseException) -> None:
    """Write a failure to standard error, which is a file of the store: on a full disk it is not written either."""
    with suppress(OSError):
        print(f"rootless: warning: {what}; the container goes on", file=sys.stderr, flush=True)
        # The interpreter's own hook: where no descriptor is free, a module that would do it can't be imported any more.
        sys.excepthook(type(problem), problem, problem.__traceback__)
        sys.stderr.flush()
