"""The terminal's side of an attachment: input to the container, its output here, signals and window sizes passed on.

It runs in the command, without trio: one poll(2) loop until the container has ended.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec

from ..errors import RootlessError
from ..kernel import pty
from ..kernel.output import write_all
from . import stream
from .detach import DetachKeys
from .forwarding import Signals

LAST_WORDS = 2.0
"""Seconds for which the detach keys wait for a container that does not read what was typed before them."""


class Detached(Exception):
    """The detach keys were typed: the container goes on."""


class Terminal(msgspec.Struct, frozen=True):
    """How this side takes part.

    Attributes:
        stdin: standard input goes to the container.
        terminal: the container has a terminal: this one is put into raw mode, and its size follows.
        detach: the keys that end the attachment; None for none.
        outputs: what is shown here. With nothing to show, the attachment ends with the input.
    """

    stdin: bool
    terminal: bool
    detach: DetachKeys | None = None
    outputs: frozenset[int] = frozenset({stream.STDOUT, stream.STDERR})


def attach(connection: stream.Connection, side: Terminal, signals: Signals) -> int:
    """Stay attached until the container ends. Returns its exit code, 0 if the end of the input ended it.

    Raises:
        Detached: by its keys.
        Interrupted: by a signal that is not the container's.
        CommandError: the user has lost patience with a container that goes on.
        RootlessError: the monitor was killed, or has let this client go.
        BrokenPipeError: nobody reads the command's output any more; the container goes on.
    """
    signals.attached(connection, window=side.terminal)
    with _raw_mode(side.stdin and side.terminal):  # while signals are taken: none may end this in raw mode
        return _Attachment(connection, side).run()


def redraw(connection: stream.Connection) -> None:
    """Have a program that draws on the whole screen draw again: a window that changes its size and changes it back."""
    with suppress(OSError):
        rows, columns = pty.window_size(1)
        connection.send(stream.Resize(rows + 1, columns + 1))
        connection.send(stream.Resize(rows, columns))


class _Attachment:
    def __init__(self, connection: stream.Connection, side: Terminal) -> None:
        self.connection = connection
        self.frames = stream.Frames()
        self.pending = b""
        self.stdin_open = side.stdin
        self.keys = side.detach if side.terminal else None
        self.output_open = True
        self.outputs = side.outputs
        self.end: stream.Exited | None = None
        if not side.stdin:
            connection.data.shutdown(socket.SHUT_WR)

    def run(self) -> int:
        data, messages = self.connection.data.fileno(), self.connection.messages.fileno()
        while self.end is None or self.output_open:
            if not (self.outputs or self.stdin_open or self.pending):
                return 0
            poll = select.poll()
            poll.register(data, (select.POLLIN if self.output_open else 0) | (select.POLLOUT if self.pending else 0))
            if self.end is None:
                poll.register(messages, select.POLLIN)
            if self.stdin_open and not self.pending:
                poll.register(0, select.POLLIN)
            for fd, events in poll.poll():
                if fd == data:
                    self._move_data(events)
                elif fd == messages:
                    self._hear()
                else:
                    self._read_input()
        assert self.end is not None
        if self.end.error:
            print(f"rootless: {self.end.error}", file=sys.stderr)
        return self.end.exit_code

    def _move_data(self, events: int) -> None:
        if events & select.POLLOUT and self.pending:
            with suppress(BlockingIOError):
                self.pending = self.pending[self._send(self.pending) :]
        if events & (select.POLLIN | select.POLLHUP | select.POLLERR) and self.output_open:
            self._read_output()

    def _send(self, data: bytes) -> int:
        try:
            return self.connection.data.send(data, 0x40 | 0x4000)  # MSG_DONTWAIT | MSG_NOSIGNAL
        except (BrokenPipeError, ConnectionResetError):  # the container has ended, or closed its input
            self.stdin_open = False
            return len(data)

    def _read_output(self) -> None:
        try:
            data = self.connection.data.recv(stream.CHUNK)
        except ConnectionResetError:
            data = b""
        self.output_open = bool(data)
        for number, payload in self.frames.feed(data):
            if number in self.outputs:
                write_all(number, payload)

    def _hear(self) -> None:
        match self.connection.receive():
            case stream.Exited() as end:
                self.end = end
            case stream.Dropped(message):
                raise RootlessError(
                    f"detached: {message}", hint="the container goes on, `rootless logs` has its output"
                )
            case None:
                raise RootlessError(
                    "the container's monitor was killed", hint="`rootless ps -a` tells what is left of it"
                )

    def _read_input(self) -> None:
        try:
            typed = os.read(0, stream.CHUNK)
        except BlockingIOError:  # another reader of the same terminal was faster
            return
        if not typed:
            self.stdin_open = False
            with suppress(OSError):
                self.connection.data.shutdown(socket.SHUT_WR)
        elif self.keys is None:
            self.pending = typed
        else:
            self.pending, detached = self.keys.feed(typed)
            if detached:
                self._send_last(self.pending)
                raise Detached

    def _send_last(self, typed: bytes) -> None:
        """What came in one read with the detach keys, and before them, is still the container's."""
        self.connection.data.settimeout(LAST_WORDS)
        with suppress(OSError):  # it has ended, or does not read
            self.connection.data.sendall(typed)


@contextmanager
def _raw_mode(wanted: bool) -> Iterator[None]:
    """Let every key through, ctrl-c too: the container's own terminal interprets them."""
    if not wanted or not os.isatty(0):
        yield
        return
    before = termios.tcgetattr(0)
    try:
        tty.setraw(0, termios.TCSANOW)
        yield
    finally:
        with suppress(termios.error):  # EIO: its window was closed
            termios.tcsetattr(0, termios.TCSADRAIN, before)
