"""Waiting for a condition: no test says how long anything takes, on whatever machine and beside whatever else."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

PATIENCE = 60.0
"""Seconds after which what should have happened won't. Only a failing test waits so long."""


def wait_for(
    condition: Callable[[], object], what: str = "what is waited for", timeout: float = PATIENCE, pause: float = 0.02
) -> None:
    """Poll until the condition holds.

    Args:
        what: what should have happened, for the message.
        timeout: seconds until it is given up.
        pause: seconds between two looks; more where a look costs a process.

    Raises:
        AssertionError: it did not come to hold.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(pause)


def nothing(look: Callable[[], list[str]], timeout: float = PATIENCE) -> list[str]:
    """Look until nothing is found; what was found last. A container is told to have ended before all of it is gone:
    its monitor removes the tree of a --rm container after the command has said good-bye."""
    deadline = time.monotonic() + timeout
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def processor_time() -> float:
    """Seconds that the children waited for have used. What waits for nothing takes as long on a machine of its own; how
    long it takes beside others says nothing."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
