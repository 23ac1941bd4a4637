"""The name server of a container's networks, as its monitor sees it: when it ends, it is started anew."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from ..errors import RootlessError

if TYPE_CHECKING:
    from ..network.holding import Holding

DELAYS = (0.0, 0.5, 1.0, 2.0, 5.0)
"""Seconds before each attempt; the last one counts for all that follow."""

LONG_ENOUGH = 60.0
"""Seconds after which a server counts as one that works: its end is the first again."""


async def keep_names(holding: Holding) -> None:
    """Notice the end of the name server (nothing else is ever read from it), and see that there is another one.

    All monitors do so at once; the first one starts it, and the others find it there.
    """
    attempts = 0
    while True:
        began = trio.current_time()
        if holding.link is not None:
            await trio.lowlevel.wait_readable(holding.link)
        if trio.current_time() - began > LONG_ENOUGH:
            attempts = 0
        print(
            "rootless: warning: the name server of the networks ended; it is started anew", file=sys.stderr, flush=True
        )
        await trio.sleep(DELAYS[min(attempts, len(DELAYS) - 1)])
        attempts += 1
        # No process to be had, a run directory that is gone: names are missing, and the container goes on.
        with suppress(OSError, RootlessError):
            await trio.run_process(holding.revival(), check=False)
            holding.reconnect()
