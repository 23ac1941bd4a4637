"""One run of a process as its monitor lives through it: from the start to the last byte of its output.

As long as nothing happens it passes without trio (quiet.py). Then it gets a `Monitor`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from . import stream
from .farewell import Guest, see_off
from .quiet import PATIENCE_MS, Quiet, ended_within
from .start import Running, close, end

if TYPE_CHECKING:
    from .logs import LogWriter
    from .monitor import Monitor

SERVER_TIMEOUT_MS = 5000
"""How long the file system's process may take to end after its mount is gone."""


class Watch:
    """One run of a process, from its start to the last byte of its output; first without trio, then with it.

    Attributes:
        code: its exit code once it has ended, 128 + n after signal n.
        error: what went wrong with it, if it did not end by itself.
        stopped: somebody asked for the end.
        starter: who will start it again, see `stream.Stop`.
        stdin: the end for writing of its input; -1 once it is closed.

    Args:
        end_others: ends what the end of the process does not end by itself: those that came from it in a pid namespace
            which is not its own.
    """

    def __init__(
        self,
        running: Running,
        log: LogWriter | None,
        attached: list[stream.Connection],
        end_others: Callable[[], None] | None = None,
    ) -> None:
        self.running = running
        self.stdin = running.stdin
        self._end_others = end_others
        self.log = log
        self.attached = attached
        self.guests: list[Guest] = []
        self.waiting: list[stream.Connection] = []
        self.code = 0
        self.error = ""
        self.stopped = False
        self.starter = 0

    def until_the_end(
        self,
        stdin: bool,
        make: Callable[[Running, LogWriter | None], Monitor],
        note: Callable[[Watch], None],
        *,
        listener: socket.socket | None = None,
        busy: bool = False,
        helpers: Sequence[int] = (),
    ) -> None:
        """Wait for the end of the process. `tell_end` is to follow.

        Args:
            stdin: what the first attached sends is its input.
            note: writes the end down, before anybody's reading is waited for.
            listener: where others connect.
            busy: there is something to do for it all the time.
            helpers: descriptors on processes that have to be attended to when they end.
        """
        running = self.running
        quiet = Quiet(running, listener, self.attached, helpers)
        if quiet.ended(at_most=PATIENCE_MS if busy else None):
            self.stopped, self.starter, self.waiting = quiet.stopped, quiet.starter, quiet.waiting
            quiet.hang_up()
            self.code = reap(self.running, self._end_others)
            rest = self._read_rest()
            self._close_log()
            note(self)
            self.guests = [Guest(connection) for connection in self.attached]
            for guest in self.guests:
                for number, data in rest:
                    guest.add(number, data)
        else:
            self._attend(stdin, make(running, self.log), quiet, note)
        close(running.pidfd, running.server_pidfd, *running.outputs.values())
        if running.console < 0:
            close(self.stdin)  # a terminal's is its output as well

    def _attend(self, stdin: bool, monitor: Monitor, quiet: Quiet, note: Callable[[Watch], None]) -> None:
        def ended() -> None:
            self.code = reap(self.running, self._end_others)
            self._close_log()
            self.stopped, self.starter = monitor.stopped, monitor.starter
            if monitor.server_lost:
                self.error = "the process of its file system ended before it"
            note(self)
            # Who asked to stop, or waits, hears of it before a client is waited for that reads slowly or not at all.
            self._tell(monitor.waiting)
            monitor.waiting = []

        monitor.run(self.attached[0] if self.attached else None, quiet, stdin=stdin, ended=ended)
        self.stdin = monitor.inlet.fd
        self.guests = [Guest(client.connection, client.rest()) for client in monitor.clients if not client.gone]
        self.waiting = monitor.waiting

    def _read_rest(self) -> list[tuple[int, bytes]]:
        """What was written and not yet read. Nobody can write any more: the pid namespace is gone."""
        rest = []
        for number, fd in self.running.outputs.items():
            os.set_blocking(fd, False)
            with suppress(OSError):  # EAGAIN, or a terminal's EIO: there is no more
                while data := os.read(fd, stream.CHUNK):
                    rest.append((number, data))
                    if self.log is not None:
                        self.log.write(number, data)
        return rest

    def _close_log(self) -> None:
        if self.log is not None:
            self.log.close()

    def tell_end(self) -> None:
        """Tell everybody who is attached or waits. The attached get what they have not read; that is not waited for."""
        see_off(self.guests, stream.Exited(self.code, self.error))
        self._tell(self.waiting)
        self.guests, self.waiting = [], []

    def _tell(self, clients: list[stream.Connection]) -> None:
        for client in clients:
            with suppress(OSError):
                client.send(stream.Exited(self.code, self.error))
            client.close()


def reap(running: Running, end_others: Callable[[], None] | None = None) -> int:
    """The exit code of a process that has ended, or is ended now; its file system's process ends as well.

    Args:
        end_others: ends what it has left in a pid namespace that is not its own.
    """
    status = end(running.pid, running.pidfd)
    if end_others is not None:
        end_others()
    close(*running.namespaces.values())  # our hold on the mount namespace would keep the mount, and its server
    if running.server:
        # It ends by itself when the container's mount namespace, and with it the mount, is gone.
        ended_within(running.server_pidfd, SERVER_TIMEOUT_MS)
        end(running.server, running.server_pidfd)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
