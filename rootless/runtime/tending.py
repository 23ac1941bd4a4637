"""The helpers of a container's network while it runs: their end is noticed, told, and made good."""

from __future__ import annotations

from collections.abc import Callable

import trio

from ..errors import RootlessError
from ..network.helper import Process
from ..network.setup import Network

DELAYS = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before each attempt to start a helper anew; after the last one the network stays down."""

LONG_ENOUGH = 60.0
"""Seconds after which a helper counts as one that works: its end is the first again."""

READY_TIMEOUT = 10.0


async def tend(network: Network, tell: Callable[[str], None]) -> None:
    """Watch the helpers of a network, and start them anew.

    Args:
        tell: is told why the network is down, and with an empty text that it is up again.
    """
    async with trio.open_nursery() as nursery:
        for helper in network.helpers:
            nursery.start_soon(_tend, network, helper, tell)


async def _tend(network: Network, helper: Process, tell: Callable[[str], None]) -> None:
    attempts = 0
    while True:
        # The container may have ended before this begins, and its helpers with it: trio would look at the descriptor
        # that is gone, and end the monitor, before it saw that nobody wants this any more.
        await trio.lowlevel.checkpoint()
        began = trio.current_time()
        await trio.lowlevel.wait_readable(helper.pidfd)
        if trio.current_time() - began > LONG_ENOUGH:
            attempts = 0
        reason = f"{helper.name} {helper.how_it_ended()}"
        tell(reason)
        replaced = None
        while replaced is None and attempts < len(DELAYS):
            await trio.sleep(DELAYS[attempts])
            attempts += 1
            try:
                recovery = network.repair(helper)
                if recovery is None:
                    return
                with trio.move_on_after(READY_TIMEOUT):
                    await trio.lowlevel.wait_readable(recovery)
                recovery.wait(0)
            except (OSError, RootlessError) as problem:
                # No process, no descriptor to be had, or it ended at once: none of it is the container's end.
                tell(f"{reason}; {problem}")
            else:
                replaced = recovery.process
        if replaced is None:
            return
        helper = replaced
        tell("")
