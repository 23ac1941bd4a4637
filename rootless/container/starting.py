"""Starting a container that is there, for the command line and for whoever calls the engine as a library.

It needs nothing of what makes a container (lifecycle.py), and does not import it.
"""

from __future__ import annotations

import os

from ..errors import CommandError, ConflictError, RootlessError
from ..runtime import keeper, launch
from ..runtime.forwarding import Signals
from . import operate
from .container import Container, Hold
from .state import ALIVE, Status
from .store import Containers


def start(
    container: Container,
    *,
    attached: bool,
    stdin: bool,
    window: tuple[int, int],
    signals: Signals | None = None,
    debug: bool = False,
) -> launch.Started | None:
    """Start a container that does not run; None when it runs already, or another command was faster.

    Raises:
        ConflictError: it is paused; another command goes on working on it, or it is being removed.
        StoreError: what a killed `apply` has left on the machine can't be taken away. The container would change what
            tells where it is.
        RootlessError, CommandError, Interrupted: as `launch.launch`.
    """
    status = container.state().status
    if status == Status.PAUSED:
        raise ConflictError("cannot start a paused container, try unpause instead")
    if status in ALIVE:
        return None

    def prepare() -> tuple[Container, Hold]:
        hold = container.hold_at_rest("start")
        if hold is None:
            raise ConflictError(f"container {container.name} has been started meanwhile")
        try:
            Containers(container.paths).clear_machine(container.directory)
        except BaseException:
            hold.release()
            raise
        return container, hold

    order = keeper.Order(
        container.paths, prepare, fresh=False, attached=attached, stdin=stdin, window=window, debug=debug
    )
    try:
        return launch.launch(order, signals)
    except CommandError:
        raise
    except RootlessError:
        if container.state().status in ALIVE:  # what failed was to be the second one
            return None
        raise


def restart(
    container: Container, number: int | None, timeout: float | None, window: tuple[int, int], *, debug: bool = False
) -> launch.Started | None:
    """Stop a container, if it runs, and start it again, detached. As `start`."""
    operate.stop(container, number, timeout, starter=os.getpid())
    started = start(container, attached=False, stdin=False, window=window, debug=debug)
    container.emit("restart")
    return started
