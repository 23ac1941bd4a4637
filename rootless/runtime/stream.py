"""How a monitor and whoever is attached to its container talk: one socket for bytes, one for messages.

The byte socket carries raw input towards the monitor (its end is a shutdown for writing) and frames towards the client:
a header of 8 bytes, the stream, three zeros, the length as a big-endian 32-bit number (the form of Docker's attach
protocol). Messages have a socket of their own, SOCK_SEQPACKET, so that a signal or a resize never waits behind input
that the container does not read.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import msgspec

STDOUT, STDERR = 1, 2

HEADER = struct.Struct(">BxxxI")
MAX_PAYLOAD = 1 << 20
CHUNK = 65536
"""What a pipe holds: more is never read in one go."""


class Message(msgspec.Struct, frozen=True, tag=True):
    """What is said beside the bytes. A union, told apart by the field `type`."""


class Started(Message, frozen=True, tag=True):
    """The command runs. From now on the container does not depend on the command that started it.

    `warnings`: what was asked for and does not hold here.
    """

    id: str
    warnings: tuple[str, ...] = ()


class StartFailed(Message, frozen=True, tag=True):
    """The container could not be started; `exit_code` is Docker's for it (125, 126, 127)."""

    message: str
    hint: str = ""
    exit_code: int = 125
    traceback: str = ""


class Exited(Message, frozen=True, tag=True):
    """The container has ended and, with --rm, is gone. All its output is on the byte socket. The last message."""

    exit_code: int
    error: str = ""


class Signal(Message, frozen=True, tag=True):
    """From the client: send PID 1 this signal."""

    number: int


class Resize(Message, frozen=True, tag=True):
    """From the client: its window has this size now."""

    rows: int
    columns: int


class Attach(Message, frozen=True, tag=True):
    """From a new client, with the far end of its byte socket: from now on, output goes there.

    `stdin`: what it sends is the container's input.
    """

    stdin: bool


class Wait(Message, frozen=True, tag=True):
    """From a new client: tell me of the end."""


class Stop(Message, frozen=True, tag=True):
    """From a new client: send PID 1 `signal`, after `timeout` seconds SIGKILL (-1: never), and tell me of the end.

    A restart policy does not apply to this end. `Done` tells that this is settled, `Exited` of the end; a client that
    hears neither came in a moment in which nobody listened, and asks again.

    Attributes:
        starter: the pid of a command that will start it again: as long as that lives, also a --rm container stays.
    """

    signal: int
    timeout: float
    starter: int = 0


class Pause(Message, frozen=True, tag=True):
    """From a new client: let no process of the container run until `Unpause`."""


class Unpause(Message, frozen=True, tag=True):
    """From a new client: let them run again."""


class Joined(Message, frozen=True, tag=True):
    """From a new client, with descriptors on the switch and on a connection to the name server: the container is on a
    named network from now on, hold these."""


class Rewire(Message, frozen=True, tag=True):
    """From a new client: the container's networks are others than before, see that its way out is the right one."""


class Done(Message, frozen=True, tag=True):
    """To such a client: it was done."""


class Refused(Message, frozen=True, tag=True):
    """To such a client: it can't be done, and why."""

    message: str


class Dropped(Message, frozen=True, tag=True):
    """To an attached client that did not read for so long that it held the container up: it is attached no more."""

    message: str


AnyMessage = (
    Started
    | StartFailed
    | Exited
    | Signal
    | Resize
    | Attach
    | Wait
    | Stop
    | Pause
    | Unpause
    | Joined
    | Rewire
    | Done
    | Refused
    | Dropped
)

_decoder = msgspec.json.Decoder(AnyMessage)


class Connection:
    """One side of an attachment."""

    def __init__(self, data: socket.socket, messages: socket.socket) -> None:
        self.data = data
        self.messages = messages

    @classmethod
    def pair(cls) -> tuple[Connection, Connection]:
        """Both sides of a new one, all descriptors close-on-exec."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        said, heard = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(one, said), cls(other, heard)

    def filenos(self) -> frozenset[int]:
        return frozenset({self.data.fileno(), self.messages.fileno()})

    def send(self, message: AnyMessage, *fds: int) -> None:
        """Say `message`, with copies of `fds`.

        Raises:
            OSError: EPIPE or ECONNRESET when the other side is gone.
        """
        socket.send_fds(self.messages, [msgspec.json.encode(message)], fds, socket.MSG_NOSIGNAL)

    def receive(self) -> AnyMessage | None:
        """The next message, waiting for it if the socket is a blocking one; None when the other side is gone.

        Raises:
            msgspec.MsgspecError: what came is no message of ours.
            BlockingIOError: nothing is there yet, on a non-blocking socket.
        """
        try:
            packet = self.messages.recv(CHUNK)
        except ConnectionResetError:
            return None
        return decode(packet) if packet else None

    def close(self) -> None:
        self.data.close()
        self.messages.close()


def decode(packet: bytes) -> AnyMessage:
    """The message in a packet; msgspec.MsgspecError when it is none of ours."""
    message: AnyMessage = _decoder.decode(packet)
    return message


def frame(stream: int, payload: bytes) -> bytes:
    """One frame of output."""
    return HEADER.pack(stream, len(payload)) + payload


class Frames:
    """Cuts what arrives on the byte socket into frames, whatever the pieces it arrives in."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The frames that are complete after `data`: (stream, payload).

        Raises:
            ValueError: a header that nobody of ours has written.
        """
        self._buffer += data
        position = 0
        while len(self._buffer) - position >= HEADER.size:
            stream, length = HEADER.unpack_from(self._buffer, position)
            if stream not in (STDOUT, STDERR) or length > MAX_PAYLOAD:
                raise ValueError(f"not a frame of output: stream {stream}, {length} bytes")
            end = position + HEADER.size + length
            if end > len(self._buffer):
                break
            yield stream, bytes(self._buffer[position + HEADER.size : end])
            position = end
        del self._buffer[:position]
