"""The monitor of a running container, under trio: one task a concern, until the container has ended.

trio is imported here, at the top, and this module only by a monitor whose container outlives its first moments
(keeper.py). Nothing in it forks.
"""

from __future__ import annotations

import errno
import math
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
import trio

from ..errors import RootlessError
from ..kernel import pty
from . import stream
from .clients import Client
from .inlet import Inlet
from .logs import LogWriter
from .naming import keep_names
from .networking import Networking
from .quiet import ACCEPT_PAUSE, Quiet, first_request
from .start import Running
from .trouble import survived, tell

if TYPE_CHECKING:
    from ..network.holding import Holding

DRAIN_TIMEOUT = 2.0
"""Seconds after PID 1's end in which its last output is collected: every process of its pid namespace is dead by then,
but a descriptor that it passed out of the container may keep a pipe open for ever."""


class Monitor:
    """The tasks around one running container, or around one process of `exec`.

    Attributes:
        clients: those attached; their end is told by the keeper.
        waiting: connections that want to hear of the end, likewise.
        stopped: somebody asked for the end.
        starter: who will start it again, see `stream.Stop`.
        server_lost: the file system's process ended before the container.
    """

    def __init__(
        self,
        running: Running,
        log: LogWriter | None,
        *,
        listener: socket.socket | None = None,
        stdin_once: bool = True,
        pause: Callable[[bool], None] | None = None,
        checking: Callable[[], Awaitable[None]] | None = None,
        networking: Networking | None = None,
        tending: Callable[[], Awaitable[None]] | None = None,
        rewire: Callable[[], None] | None = None,
    ) -> None:
        self.running = running
        self.log = log
        self.listener = listener
        self.stdin_once = stdin_once
        self.pause = pause
        self.checking = checking
        self.networking = networking
        self._naming, self._helping = trio.CancelScope(), trio.CancelScope()
        self._accepting, self._over = trio.CancelScope(), False
        self.tending, self.rewire = tending, rewire
        self.clients: list[Client] = []
        self.waiting: list[stream.Connection] = []
        self._patience: list[trio.CancelScope] = []
        self.stopped = False
        self.starter = 0
        self.server_lost = False
        self.inlet = Inlet(running.stdin)

    def run(self, first: stream.Connection | None, before: Quiet, *, stdin: bool, ended: Callable[[], None]) -> None:
        """Return when the process has ended. What its clients have not read by then is still in their queues.

        Args:
            first: the connection of the command that started it, if it stays attached.
            before: what was begun before trio was needed.
            stdin: what that one sends is the container's input.
            ended: called as soon as it has ended and all its output is read.
        """
        for fd in (self.running.stdin, *self.running.outputs.values()):
            if fd >= 0:
                os.set_blocking(fd, False)
        self.waiting, self.stopped, self.starter = before.waiting, before.stopped, before.starter
        trio.run(self._watch, first, before, stdin, ended)

    async def _watch(
        self, first: stream.Connection | None, before: Quiet, stdin: bool, ended: Callable[[], None]
    ) -> None:
        async with trio.open_nursery() as self._attending:
            if first is not None:
                self._welcome(Client(first, stdin=stdin))
            self._take_over(before)
            if self.listener is not None:
                self._begin(self._accept, self.listener)
            if self.running.server_pidfd >= 0:
                self._begin(self._watch_server)
            if self.checking is not None:
                self._begin(self.checking)
            if self.networking is not None and self.networking.is_named:
                self._begin(self._keep_names, self.networking.holding)
            if self.tending is not None:
                self._begin(self._tend, self.tending, self._helping)
            async with trio.open_nursery() as relaying:
                for number, fd in self.running.outputs.items():
                    relaying.start_soon(self._relay_output, number, fd)
                await trio.lowlevel.wait_readable(self.running.pidfd)
                relaying.cancel_scope.deadline = trio.current_time() + DRAIN_TIMEOUT
                for client in self.clients:
                    client.hurry()
            self._naming.cancel()
            self._over = True
            for scope in self._accepting, *self._patience:
                scope.cancel()
            self._helping.cancel()  # what was held for the container is let go now, and its helpers end with it
            ended()
            self._attending.cancel_scope.cancel()

    def _take_over(self, before: Quiet) -> None:
        if before.kill_at is not None:
            self._begin(self._kill_after, before.kill_at - time.monotonic())
        for messages, request, fds in before.requests:
            self._begin(self._grant, messages, request, fds)
        for messages in before.unheard():
            self._begin(self._answer, messages)
        for connection in self.waiting:
            self._begin(self._await_its_end, connection)

    def _begin(self, task: Callable[..., Awaitable[None]], *args: object) -> None:
        """Have a task beside the container's own: what it raises ends it, and nothing else."""
        self._attending.start_soon(self._guard, task, args, name=task)

    async def _guard(self, task: Callable[..., Awaitable[None]], args: tuple[object, ...]) -> None:
        with survived(f"{getattr(task, '__qualname__', task)} failed"):
            await task(*args)

    # --- the container's streams ---------------------------------------------------------------------------------

    async def _relay_output(self, number: int, fd: int) -> None:
        while data := await _read(fd):
            if self.log is not None:
                self.log.write(number, data)
            for client in list(self.clients):
                await client.offer(number, data)

    async def _relay_input(self, client: Client) -> None:
        """The client's bytes to the container. With their end the container's input ends, if it was opened for once."""
        with suppress(OSError):
            while data := await _read(client.connection.data.fileno()):
                await self.inlet.write(data)
        if self.stdin_once and self.running.console < 0:
            await self.inlet.close()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, ValueError):
            signal.pidfd_send_signal(self.running.pidfd, number)

    # --- who is attached -----------------------------------------------------------------------------------------

    def _welcome(self, client: Client) -> None:
        self.clients.append(client)
        self._begin(self._serve, client)

    async def _serve(self, client: Client) -> None:
        with survived("a client can't be served"):
            async with trio.open_nursery() as serving:
                serving.start_soon(client.send_queue)
                if client.stdin and self.running.stdin >= 0:
                    serving.start_soon(self._relay_input, client)
                await self._obey(client.connection)
                self._part_from(client)
                # What it sent is still the container's, and the end of it: the input's task ends by itself.
        self._part_from(client)
        client.connection.close()

    def _part_from(self, client: Client) -> None:
        client.leave()
        if client in self.clients:
            self.clients.remove(client)

    async def _obey(self, connection: stream.Connection) -> None:
        """Do what an attached client says, until it is gone."""
        while (message := await _receive(connection)) is not None:
            match message:
                case stream.Signal(number):
                    self._signal(number)
                case stream.Resize(rows, columns) if self.running.console >= 0:
                    with suppress(OSError):
                        pty.set_window_size(self.running.console, rows & 0xFFFF, columns & 0xFFFF)

    # --- who connects later --------------------------------------------------------------------------------------

    async def _accept(self, listener: socket.socket) -> None:
        with self._accepting:
            while True:
                await trio.lowlevel.wait_readable(listener)
                try:
                    connection, _ = listener.accept()
                except OSError:  # no descriptor is free: whoever connects waits
                    await trio.sleep(ACCEPT_PAUSE)
                else:
                    connection.setblocking(False)
                    self._begin(self._answer, connection)

    async def _answer(self, messages: socket.socket) -> None:
        """One request on a new connection."""
        await self._grant(messages, *await _first_request(messages))

    async def _grant(self, messages: socket.socket, request: stream.AnyMessage | None, fds: list[int]) -> None:
        if self._over:  # what follows this end is settled: they ask again, and whoever comes next answers
            for fd in fds:
                os.close(fd)
            messages.close()
            return
        try:
            await self._do_as_told(messages, request, fds)
        except Exception as problem:  # whatever was asked for
            tell("a request can't be answered", problem)
            messages.close()

    async def _do_as_told(self, messages: socket.socket, request: stream.AnyMessage | None, fds: list[int]) -> None:
        connection = stream.Connection(messages, messages)
        match request, fds:
            case stream.Attach(stdin), [fd]:
                self._welcome(Client(stream.Connection(_adopted(fd), messages), stdin=stdin))
            case stream.Wait(), []:
                self._have_wait(connection)
            case stream.Stop(number, timeout, starter), []:
                self._have_wait(connection)
                self.stopped, self.starter = True, starter
                with suppress(OSError):
                    connection.send(stream.Done())
                await self._stop(number, timeout)
            case stream.Pause() | stream.Unpause(), []:
                self._do(connection, lambda: self._set_paused(isinstance(request, stream.Pause)))
            case stream.Joined(), [switch, link]:
                self._do(connection, lambda: self._join(switch, link))
            case stream.Rewire(), []:
                self._do(connection, self._rewire)
            case _:
                for fd in fds:
                    os.close(fd)
                messages.close()

    def _have_wait(self, connection: stream.Connection) -> None:
        self.waiting.append(connection)
        self._begin(self._await_its_end, connection)

    async def _await_its_end(self, waiter: stream.Connection) -> None:
        """Let go of who does not wait any more: a script that looks in now and then would use up the descriptors. At
        the container's end the others are told, and nobody may still watch what is closed then."""
        with trio.CancelScope() as scope:
            self._patience.append(scope)
            while await _receive(waiter) is not None:
                pass
            if waiter in self.waiting:
                self.waiting.remove(waiter)
                waiter.close()
        self._patience.remove(scope)

    async def _stop(self, number: int, patience: float) -> None:
        self._signal(number)
        await self._kill_after(patience if patience >= 0 else math.inf)

    async def _kill_after(self, seconds: float) -> None:
        await trio.sleep(max(0.0, seconds))
        self._signal(signal.SIGKILL)

    def _set_paused(self, paused: bool) -> None:
        if self.pause is None:
            raise RootlessError("only a container can be paused")
        self.pause(paused)

    def _join(self, switch: int, link: int) -> None:
        """The container is on a network, the first one perhaps."""
        if self.networking is None:
            raise RootlessError("only a container can be on a network")
        first = not self.networking.is_named
        self.networking.holding.adopt(switch, link)
        if first:
            self._begin(self._keep_names, self.networking.holding)

    def _rewire(self) -> None:
        """The container's networks have changed, and with them its way out perhaps."""
        if self.rewire is None or self.tending is None:
            raise RootlessError("only a container can be on a network")
        self._helping.cancel()  # or the end of the former helpers would be told, and made good
        self._helping = trio.CancelScope()
        try:
            self.rewire()
        finally:
            self._begin(self._tend, self.tending, self._helping)

    async def _keep_names(self, holding: Holding) -> None:
        with self._naming:
            await keep_names(holding)

    async def _tend(self, tending: Callable[[], Awaitable[None]], helping: trio.CancelScope) -> None:
        """Until the scope is cancelled, which may be before this begins: another one has the next helpers then."""
        with helping:
            await trio.lowlevel.checkpoint()
            await tending()

    def _do(self, connection: stream.Connection, work: Callable[[], None]) -> None:
        answer: stream.AnyMessage = stream.Done()
        try:
            work()
        except (OSError, RootlessError) as problem:
            answer = stream.Refused(str(problem))
        with suppress(OSError):
            connection.send(answer)
        connection.close()

    async def _watch_server(self) -> None:
        """Without its file system a container can only hang or fail: it is ended, with the reason.

        A server that leaves with 0 was unmounted: the kernel takes a mount namespace down before it tells anybody that
        the last process in it has ended.
        """
        await trio.lowlevel.wait_readable(self.running.server_pidfd)
        if _left_with_zero(self.running.server_pidfd):
            return
        self.server_lost = True
        self._signal(signal.SIGKILL)


def _left_with_zero(pidfd: int) -> bool:
    """How an ended child ended, without reaping it."""
    ended = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return ended is not None and ended.si_code == os.CLD_EXITED and ended.si_status == 0


def _adopted(fd: int) -> socket.socket:
    """The socket that came along with a request; OSError for what is none, and the descriptor is closed."""
    try:
        return socket.socket(fileno=fd)
    except OSError:
        os.close(fd)
        raise


async def _receive(connection: stream.Connection) -> stream.AnyMessage | None:
    """A client's next message; None when it is gone, or speaks another language."""
    while True:
        await trio.lowlevel.wait_readable(connection.messages)
        try:
            return connection.receive()
        except BlockingIOError:
            continue
        except (OSError, msgspec.MsgspecError):
            return None


async def _first_request(messages: socket.socket) -> tuple[stream.AnyMessage | None, list[int]]:
    while True:
        await trio.lowlevel.wait_readable(messages)
        with suppress(BlockingIOError):
            return first_request(messages)


async def _read(fd: int) -> bytes:
    """What a pipe, socket or terminal has next; empty at its end."""
    while True:
        await trio.lowlevel.wait_readable(fd)
        try:
            return os.read(fd, stream.CHUNK)
        except BlockingIOError:
            continue
        except OSError as problem:
            # A terminal's controlling side answers EIO when nobody has the terminal open (pty(7)).
            if problem.errno in (errno.EIO, errno.ECONNRESET):
                return b""
            raise
