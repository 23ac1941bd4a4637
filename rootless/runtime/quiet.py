"""The part of a run in which nothing happens: the end of the process is waited for, without trio.

`import trio` costs 0.1 s of processor time and 10 MB. A container that neither writes nor is spoken to needs nothing of
it, nor does a command that is over in a moment. Requests to stop, and to be told of the end, are all that is answered
here; at the first sign of anything else the monitor takes over (monitor.py), and gets what was begun.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from . import stream
from .start import Running

ACCEPT_PAUSE = 0.1
"""Seconds until the next try, when a connection could not be accepted."""

PATIENCE_MS = 30
"""How long the end of the process is waited for once something has happened: many a command writes a line and ends."""


class Quiet:
    """One process, until it has ended or has to be attended to.

    Attributes:
        stopped: somebody asked for the end.
        starter: who will start it again, see `stream.Stop`.
        kill_at: when it will be killed, if it has not ended by then (time.monotonic()); None for never.
        waiting: connections that want to hear of the end.
        requests: connections with a request that is the monitor's to answer, and the descriptors that came with it.
    """

    def __init__(
        self,
        running: Running,
        listener: socket.socket | None,
        attached: list[stream.Connection],
        helpers: Sequence[int] = (),
    ) -> None:
        self.running = running
        self.helpers = helpers
        self.listener = listener
        self.attached = attached
        self.stopped = False
        self.starter = 0
        self.kill_at: float | None = None
        self.waiting: list[stream.Connection] = []
        self.requests: list[tuple[socket.socket, stream.AnyMessage | None, list[int]]] = []
        self._callers: dict[int, socket.socket] = {}

    def ended(self, *, at_most: int | None = None) -> bool:
        """Wait: True when the process has ended, False when there is something to do.

        Args:
            at_most: milliseconds after which there is in any case.
        """
        if at_most is not None:
            return ended_within(self.running.pidfd, at_most)
        poll = self._poll()
        while True:
            ready = dict(poll.poll(self._milliseconds()))
            if self.running.pidfd in ready:
                return True
            if not ready:
                self._kill()
            elif self._need_attention(ready, poll):
                return ended_within(self.running.pidfd, PATIENCE_MS)

    def _poll(self) -> select.poll:
        poll = select.poll()
        watched = [self.running.pidfd, self.running.server_pidfd, *self.running.outputs.values(), *self.helpers]
        watched += [fd for client in self.attached for fd in client.filenos()]
        watched += [self.listener.fileno()] if self.listener is not None else []
        for fd in watched:
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        return poll

    def _milliseconds(self) -> float | None:
        return None if self.kill_at is None else max(0.0, self.kill_at - time.monotonic()) * 1000

    def _kill(self) -> None:
        self.kill_at = None
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, ValueError):
            signal.pidfd_send_signal(self.running.pidfd, number)

    def _need_attention(self, ready: dict[int, int], poll: select.poll) -> bool:
        for fd in ready:
            if self.listener is not None and fd == self.listener.fileno():
                self._accept(self.listener, poll)
            elif fd in self._callers:
                poll.unregister(fd)
                self._answer(self._callers.pop(fd), poll)
            elif (waiter := self._waiter(fd)) is not None:  # it does not wait any more
                poll.unregister(fd)
                self.waiting.remove(waiter)
                waiter.close()
            else:
                return True
        return bool(self.requests)

    def _accept(self, listener: socket.socket, poll: select.poll) -> None:
        try:
            caller, _ = listener.accept()
        except OSError:  # no descriptor is free: whoever connects waits
            time.sleep(ACCEPT_PAUSE)
            return
        caller.setblocking(False)
        self._callers[caller.fileno()] = caller
        poll.register(caller.fileno(), select.POLLIN)

    def _waiter(self, fd: int) -> stream.Connection | None:
        return next((each for each in self.waiting if each.messages.fileno() == fd), None)

    def _answer(self, caller: socket.socket, poll: select.poll) -> None:
        request, fds = first_request(caller)
        connection = stream.Connection(caller, caller)
        match request:
            case stream.Wait():
                self._have_wait(connection, poll)
            case stream.Stop(number, timeout, starter):
                self._have_wait(connection, poll)
                self.stopped, self.starter = True, starter
                with suppress(OSError):
                    connection.send(stream.Done())
                self._signal(number)
                if timeout >= 0:
                    self.kill_at = min(time.monotonic() + timeout, self.kill_at or float("inf"))
            case _:
                self.requests.append((caller, request, fds))

    def _have_wait(self, connection: stream.Connection, poll: select.poll) -> None:
        self.waiting.append(connection)
        poll.register(connection.messages.fileno(), 0)  # only its other end's closing is reported (POLLHUP)

    def unheard(self) -> list[socket.socket]:
        """Connections on which no request has come yet."""
        return list(self._callers.values())

    def hang_up(self) -> None:
        """Turn away who was too late to be attended to: they see the end of the connection, and look at the state."""
        for caller, _, fds in self.requests:
            caller.close()
            for fd in fds:
                os.close(fd)
        for caller in self.unheard():
            caller.close()


def first_request(messages: socket.socket) -> tuple[stream.AnyMessage | None, list[int]]:
    """A request that has come, and the descriptors with it; None for what is none.

    Raises:
        BlockingIOError: it has not come yet.
    """
    try:
        packet, fds, _, _ = socket.recv_fds(messages, stream.CHUNK, 4, socket.MSG_CMSG_CLOEXEC)
    except BlockingIOError:
        raise
    except OSError:
        return None, []
    try:
        return (stream.decode(packet) if packet else None), fds
    except msgspec.MsgspecError:
        return None, fds


def ended_within(pidfd: int, milliseconds: int) -> bool:
    """Whether the process ends in this time."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(milliseconds))
