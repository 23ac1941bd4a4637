"""The talk between a monitor and the processes it starts: typed messages over one SOCK_SEQPACKET pair.

    stage  ──Cloned──▶ monitor           PID 1 exists, its id map is written
    init   ◀─Mapped─── monitor           it may act as root of its namespaces
    init   ──Console─▶ monitor           with the terminal's descriptor (only with -t)
    init   ──Prepared▶ monitor           everything is mounted; the command was found
    init   ◀─Proceed── monitor           it still lives, and wants the command
    init   ──(end)───▶ monitor           execve(2) closed its descriptor: the command runs
    any    ──Failed──▶ monitor           instead of any of its messages; its last

A packet carries one message whole, so no framing is needed, and descriptors arrive with the message they belong to.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import TypeVar

import msgspec

from ..errors import encodable

MAX_MESSAGE = 65536

M = TypeVar("M", bound="Message")


class Message(msgspec.Struct, frozen=True, tag=True):
    """What may be said. A union of these classes, told apart by the field `type`."""


class Cloned(Message, frozen=True, tag=True):
    """PID 1 is there, by the monitor's view of pids; `server` is the file system's process (0: none is needed)."""

    pid: int
    server: int = 0


class Mapped(Message, frozen=True, tag=True):
    """The id map of the container's user namespace was written."""


class Console(Message, frozen=True, tag=True):
    """The controlling side of the container's terminal comes along as a descriptor."""


class Prepared(Message, frozen=True, tag=True):
    """The next step is execve(2)."""


class Proceed(Message, frozen=True, tag=True):
    """Take the next step."""


class Failed(Message, frozen=True, tag=True):
    """The start ended here. `exit_code` is what `run` ends with: 125, 126 or 127."""

    message: str
    hint: str = ""
    exit_code: int = 125
    traceback: str = ""

    def shortened(self) -> Failed:
        """As JSON can hold it, with the middle of long texts left out: a word of a command line has up to 128 KiB
        (execve(2)). At its worst a character takes six bytes of JSON, so that this one stays below MAX_MESSAGE and what
        `stream` can carry."""
        return Failed(_cut(self.message, 3000), _cut(self.hint, 500), self.exit_code, _cut(self.traceback, 6000))


class ExecFailed(Message, frozen=True, tag=True):
    """execve(2) of the command itself failed with this errno (sent as a bare number, springboard.py)."""

    number: int


def _cut(text: str, length: int) -> str:
    return encodable(text if len(text) <= length else f"{text[: length // 2]} ... {text[-length // 2 :]}")


AnyMessage = Cloned | Mapped | Console | Prepared | Proceed | Failed | ExecFailed

_decoder = msgspec.json.Decoder(AnyMessage)


class Channel:
    """One end."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self._fd = end.fileno()

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Two ends, close-on-exec both."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(one), cls(other)

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, message: AnyMessage, *fds: int) -> None:
        """Send `message` with copies of `fds`. What was `Failed` is shortened to what a packet holds.

        Raises:
            OSError: EPIPE when nobody holds the other end any more.
        """
        data = msgspec.json.encode(message.shortened() if isinstance(message, Failed) else message)
        if fds:
            socket.send_fds(self.socket, [data], fds, socket.MSG_NOSIGNAL)
        else:
            os.write(self._fd, data)  # a filter of the user's may forbid sendmsg(2), hardly write(2)

    def receive(self) -> tuple[AnyMessage | None, list[int]]:
        """The next message and its descriptors; (None, []) when the other end is closed everywhere.

        Raises:
            msgspec.MsgspecError: what came is no message of ours.
        """
        try:
            data, fds, _, _ = socket.recv_fds(self.socket, MAX_MESSAGE, 4, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            return None, []
        if not data:
            return None, []
        if len(data) == 4:
            return ExecFailed(int.from_bytes(data, sys.byteorder)), fds
        try:
            return _decoder.decode(data), fds
        except msgspec.MsgspecError:
            for fd in fds:
                os.close(fd)
            raise

    def read(self) -> AnyMessage | None:
        """The next message where none with descriptors is expected, by read(2) alone; None at the end."""
        data = os.read(self._fd, MAX_MESSAGE)
        return _decoder.decode(data) if data else None

    def move_to(self, fd: int) -> None:
        """Use `fd`, a copy of this end that has been made, from now on; for `send` and `read` without descriptors."""
        self._fd = fd

    def close(self) -> None:
        self.socket.close()
