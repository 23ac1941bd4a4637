"""The monitor of a running container, under trio: one task a concern, until PID 1 has ended.

trio is imported here, at the top, and this module only by a monitor whose container outlives its first moments
(keeper.py). Nothing in it forks.
"""

from __future__ import annotations

import errno
import os
import signal
from contextlib import suppress

import msgspec
import trio

from ..kernel import pty
from . import stream
from .logs import LogWriter
from .start import Running

DRAIN_TIMEOUT = 2.0
"""Seconds after PID 1's end in which its last output is collected: every process of its pid namespace is dead by then,
but a descriptor that it passed out of the container may keep a pipe open for ever."""


class Monitor:
    """The tasks around one running container."""

    def __init__(self, running: Running, log: LogWriter, client: stream.Connection | None) -> None:
        self.running = running
        self.log = log
        self.client = client
        self.server_lost = False

    def run(self) -> None:
        """Return when PID 1 has ended (it is not yet reaped) and its output has been passed on."""
        for fd in (self.running.stdin, *self.running.outputs.values()):
            if fd >= 0:
                os.set_blocking(fd, False)
        trio.run(self._watch)

    async def _watch(self) -> None:
        async with trio.open_nursery() as attending:
            if self.client is not None:
                self.client.data.setblocking(False)
                self.client.messages.setblocking(False)
                attending.start_soon(self._relay_input, self.client)
                attending.start_soon(self._obey, self.client)
            if self.running.server_pidfd >= 0:
                attending.start_soon(self._watch_server)
            async with trio.open_nursery() as relaying:
                for number, fd in self.running.outputs.items():
                    relaying.start_soon(self._relay_output, number, fd)
                await trio.lowlevel.wait_readable(self.running.pidfd)
                relaying.cancel_scope.deadline = trio.current_time() + DRAIN_TIMEOUT
            attending.cancel_scope.cancel()

    async def _relay_output(self, number: int, fd: int) -> None:
        while data := await _read(fd):
            self.log.write(number, data)
            if self.client is not None:
                await self._send(self.client, stream.frame(number, data))

    async def _send(self, client: stream.Connection, data: bytes) -> None:
        try:
            await _write(client.data.fileno(), data)
        except OSError:  # it is gone, or stopped reading for good; the log has everything
            self.client = None

    async def _relay_input(self, client: stream.Connection) -> None:
        """The client's bytes to the container, whose input ends with them, unless it is a terminal."""
        stdin = self.running.stdin
        with suppress(OSError):
            while data := await _read(client.data.fileno()):
                if stdin >= 0:
                    await _write(stdin, data)
        if stdin >= 0 and self.running.console < 0:
            os.close(stdin)

    async def _obey(self, client: stream.Connection) -> None:
        while True:
            await trio.lowlevel.wait_readable(client.messages)
            try:
                message = client.receive()
            except BlockingIOError:
                continue
            except (OSError, msgspec.MsgspecError):
                return
            match message:
                case stream.Signal(number):
                    with suppress(ProcessLookupError, ValueError):
                        signal.pidfd_send_signal(self.running.pidfd, number)
                case stream.Resize(rows, columns) if self.running.console >= 0:
                    with suppress(OSError):
                        pty.set_window_size(self.running.console, rows & 0xFFFF, columns & 0xFFFF)
                case None:
                    return

    async def _watch_server(self) -> None:
        """Without its file system a container can only hang or fail: it is ended, with the reason.

        A server that leaves with 0 was unmounted: the kernel takes a mount namespace down before it tells anybody that
        the last process in it has ended.
        """
        await trio.lowlevel.wait_readable(self.running.server_pidfd)
        if _left_with_zero(self.running.server_pidfd):
            return
        self.server_lost = True
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.running.pidfd, signal.SIGKILL)


def _left_with_zero(pidfd: int) -> bool:
    """How an ended child ended, without reaping it."""
    ended = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return ended is not None and ended.si_code == os.CLD_EXITED and ended.si_status == 0


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


async def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            await trio.lowlevel.wait_writable(fd)
