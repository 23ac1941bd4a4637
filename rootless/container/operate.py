"""What is done to a container that is there: attach to it, stop, kill, pause it, wait for it, remove it.

These verbs speak to its monitor, or to its processes. They start nothing, and so need nothing of what a start needs.
"""

from __future__ import annotations

import signal
import time
from contextlib import suppress

from ..errors import ConflictError, InvalidError, NotFoundError
from ..kernel.process import machine_id
from ..runtime import control, stream
from . import signals
from .container import Container, Hold, kill_if_same, signal_if_same
from .state import ALIVE, Status, restarting
from .store import Containers

KILL_TIMEOUT = 10.0
"""Seconds in which a killed container's monitor has to finish."""

RETRY = 0.1
"""Seconds after which a container that somebody holds is looked at again."""

MONITOR_TIMEOUT = 5.0
"""Seconds in which a monitor has to answer."""


def attach(container: Container, *, stdin: bool) -> stream.Connection:
    """Attach to a running container.

    Raises:
        ConflictError: it is stopped or paused; in Docker's words.
    """
    status = container.state_here().status
    if status == Status.PAUSED:
        raise ConflictError("You cannot attach to a paused container, unpause it first")
    if status == Status.RESTARTING:
        raise ConflictError("You cannot attach to a restarting container, wait until it is running")
    if status not in ALIVE:
        raise ConflictError("You cannot attach to a stopped container, start it first")
    connection = control.attach(container, stdin=stdin)
    container.emit("attach")
    return connection


def stop(container: Container, number: int | None = None, timeout: float | None = None, *, starter: int = 0) -> None:
    """Send the stop signal, and SIGKILL if that does not end the container in time. Returns when it has ended.

    Args:
        number: the signal; None for the container's own, SIGTERM if it has none.
        timeout: seconds until SIGKILL, -1 for never; None for the container's own.
        starter: as in `stream.Stop`.
    """
    status = container.state_here().status
    if status not in ALIVE:
        return
    if status == Status.PAUSED:
        unpause(container)  # or it could not do anything about the signal
    if number is None:
        number = _stop_signal(container)
    if timeout is None:
        timeout = container.spec.stop_timeout
    container.emit("kill", signal=str(number))  # before its end is told, as in Docker
    connection = _ask_to_stop(container, stream.Stop(number, timeout, starter))
    if connection is not None:
        connection.receive()
        connection.close()
        container.emit("stop")


def _ask_to_stop(container: Container, request: stream.Stop) -> stream.Connection | None:
    """Have the monitor stop its container for good; the connection on which it tells the end, None if it has ended.

    Raises:
        ConflictError: its monitor does not answer.
    """
    deadline = time.monotonic() + MONITOR_TIMEOUT
    while container.state().status in ALIVE:
        with suppress(ConflictError, TimeoutError):  # nobody listens in this moment
            connection = control.ask(container, request)
            connection.messages.settimeout(MONITOR_TIMEOUT)
            if isinstance(connection.receive(), stream.Done):
                connection.messages.settimeout(None)
                return connection
            connection.close()
        if time.monotonic() > deadline:
            raise ConflictError(f"the monitor of container {container.name} does not answer", hint="try rm --force")
        time.sleep(0.01)
    return None


def kill(container: Container, number: int) -> None:
    """Send PID 1 a signal. One that ends the container also keeps its restart policy from starting it again.

    Raises:
        ConflictError: it does not run; in Docker's words.
    """
    state = container.state_here()
    final = number in (signal.SIGKILL, _stop_signal(container))
    if final and state.status == Status.PAUSED:
        unpause(container)  # as in Docker: what is to end it must be able to
    if final and container.spec.restart != "no" and state.status in ALIVE:
        if (connection := _ask_to_stop(container, stream.Stop(number, -1))) is not None:
            connection.close()
    elif state.status == Status.RESTARTING:
        return  # as in Docker: there is nobody to get it, and that is no failure
    elif state.status not in ALIVE or not signal_if_same(state.pid, state.pid_started, number):
        raise ConflictError(f"cannot kill container: {container.name}: container {container.id} is not running")
    container.emit("kill", signal=str(number))


def _kill_for_good(container: Container) -> None:
    """SIGKILL by the monitor, so that no policy starts it again; a monitor that does not answer is killed as well."""
    try:
        stop(container, signal.SIGKILL, -1)
    except ConflictError:
        state = container.stored_state()
        if state.status in ALIVE:
            kill_if_same(state.monitor, state.monitor_started)
        kill_if_same(state.pid, state.pid_started)


def _stop_signal(container: Container) -> int:
    """The container's own; SIGTERM where it has none, or one that can't be read (a record of an earlier version)."""
    with suppress(InvalidError):
        return signals.parse(container.spec.stop_signal or "TERM")
    return int(signal.SIGTERM)


def pause(container: Container) -> None:
    """Let no process of a container run until `unpause`.

    Raises:
        ConflictError: it does not run, waits for its restart, or is paused already; in Docker's words.
    """
    status = container.state_here().status
    if status == Status.RESTARTING:
        raise restarting(container.id)
    if status == Status.PAUSED:
        raise ConflictError(f"Container {container.id} is already paused")
    if status != Status.RUNNING:
        raise ConflictError(f"Container {container.id} is not running")
    _ask(container, stream.Pause())


def unpause(container: Container) -> None:
    """Let the processes of a paused container run again.

    Raises:
        ConflictError: it is not paused; in Docker's words.
    """
    if container.state_here().status != Status.PAUSED:
        raise ConflictError(f"Container {container.id} is not paused")
    _ask(container, stream.Unpause())


def _ask(container: Container, request: stream.Pause | stream.Unpause) -> None:
    connection = control.ask(container, request)
    answer = connection.receive()
    connection.close()
    if isinstance(answer, stream.Refused):
        raise ConflictError(answer.message)
    if not isinstance(answer, stream.Done):  # its monitor had no time for it: it has ended, or waits for a restart
        raise ConflictError(f"Container {container.id} is not running")


def wait(container: Container) -> int:
    """Wait for the end of a container; its exit code. One that does not run gives its last one at once."""
    while (state := container.state_here()).status in ALIVE:
        with suppress(ConflictError):
            connection = control.ask(container, stream.Wait())
            answer = connection.receive()
            connection.close()
            if isinstance(answer, stream.Exited):
                return answer.exit_code
        # Nobody listens in this moment, or the monitor was killed and has not let go of its lock yet.
        time.sleep(0.01)
    if state.status == Status.REMOVING and not container.directory.exists():
        raise NotFoundError(f"No such container: {container.name}")  # and nobody knows its exit code any more
    return state.exit_code


def remove(containers: Containers, container: Container, *, force: bool = False, volumes: bool = False) -> None:
    """Remove a container; with `force` also one that runs, which is killed first; with `volumes` also those of its
    volumes that nobody named.

    Raises:
        ConflictError: it is running; in Docker's words.
        StoreError: something of it can't be removed.
    """
    try:
        with _hold_to_remove(container, force):
            containers.remove(container, volumes=volumes, force=force)
    except NotFoundError:
        if not force:  # with --rm its own monitor was faster
            raise


def _hold_to_remove(container: Container, force: bool) -> Hold:
    """The lock of a container that does not run: its monitor may be on its way out. With `force` it is killed first:
    also one that is only being started, as soon as it runs."""
    deadline = time.monotonic() + KILL_TIMEOUT
    while True:
        _end(container, force)
        try:
            return container.hold("remove", wait=RETRY)
        except ConflictError:
            if time.monotonic() > deadline:
                raise


def _end(container: Container, force: bool) -> None:
    """Have a container that runs killed, where `force` allows it."""
    state = container.state()
    if state.status not in ALIVE:
        return
    if state.machine_id != machine_id():
        raise ConflictError(f"container {container.name} is running on {state.host}", hint="remove it from there")
    if not force:
        paused = state.status == Status.PAUSED
        raise ConflictError(
            f'cannot remove container "/{container.name}": container is {state.status}',
            hint=f"{'unpause' if paused else 'stop'} the container before removing or force remove",
        )
    _kill_for_good(container)
