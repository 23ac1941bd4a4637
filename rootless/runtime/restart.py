"""Restart policies: whether a container that ended is started again, and after how long."""

from __future__ import annotations

from ..container.record import Spec

FIRST_DELAY, LONGEST_DELAY = 0.1, 60.0
STEADY = 10.0
"""Seconds of running after which a container counts as steady: its next restart comes soon again. Docker's numbers."""


def wanted(spec: Spec, exit_code: int, *, stopped: bool, restarts: int) -> bool:
    """Whether the policy asks for a restart after this end.

    Args:
        stopped: somebody asked for the end: then no policy applies.
        restarts: how many there were since the container was started by hand.
    """
    if stopped:
        return False
    match spec.restart:
        case "always" | "unless-stopped":
            return True
        case "on-failure":
            return exit_code != 0 and (spec.restart_retries == 0 or restarts < spec.restart_retries)
        case _:
            return False


class Delay:
    """The time before the next restart: it doubles while the container does not stay up."""

    def __init__(self) -> None:
        self._next = FIRST_DELAY

    def after(self, ran: float) -> float:
        """Seconds to wait after a run of `ran` seconds."""
        if ran >= STEADY:
            self._next = FIRST_DELAY
        delay, self._next = self._next, min(self._next * 2, LONGEST_DELAY)
        return delay
