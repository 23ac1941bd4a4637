"""What is asked of systemd: a scope of one's own with its cgroup delegated, and processes to be brought into one.

An unprivileged process can't leave the cgroup of its login session by itself: that takes write access to the nearest
cgroup above both places, which is systemd's. The user's own service manager can ask for it on the user's behalf.

It is spoken to over its private socket, where there is no bus between (servers often have none), else over the bus. Of
the D-Bus protocol (https://dbus.freedesktop.org/doc/dbus-specification.html) only what these two calls take is here: a
method call, little-endian, and whether its answer is a return or an error.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

TIMEOUT = 5.0
"""Seconds for an answer; a manager that does not give one by then is taken for absent."""

SYSTEMD = "org.freedesktop.systemd1"
CALL, RETURN, ERROR = 1, 2, 3
"""Types of messages."""
PATH, INTERFACE, MEMBER, REPLY_SERIAL, DESTINATION, SIGNATURE = 1, 2, 3, 5, 6, 8
"""Header fields."""
LONGEST = 1 << 20
"""Bytes of a message that is read at all."""


class ManagerError(Exception):
    """There is no manager to be reached, or it refused."""


def sockets() -> list[Path]:
    """Where the caller's manager may listen, the private socket first; only those that are there."""
    uid = os.geteuid()
    if uid == 0:
        candidates = [Path("/run/systemd/private"), Path("/run/dbus/system_bus_socket")]
    else:
        run = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}")
        candidates = [run / "systemd/private", run / "bus"]
    return [path for path in candidates if path.exists()]


def start_scope(name: str, pid: int) -> None:
    """Have a new scope with a delegated cgroup made around one process. It ends by itself with its last process.

    The answer tells that this is going to happen; /proc/PID/cgroup that it has.

    Raises:
        ManagerError: there is no manager, or it refused.
    """
    body = _Writer()
    body.string(name)
    body.string("fail")  # if there is one of this name
    with _Array(body, 8):
        body.property("Description", "s", lambda: body.string("a rootless container"))
        body.property("Delegate", "b", lambda: body.number(1))
        body.property("CollectMode", "s", lambda: body.string("inactive-or-failed"))
        body.property("PIDs", "au", lambda: body.numbers([pid]))
    with _Array(body, 8):
        pass  # no auxiliary units
    _call("StartTransientUnit", "ssa(sv)a(sa(sv))", body)


def attach(unit: str, below: str, pid: int) -> None:
    """Have a process brought into the cgroup `below` (a path, from the unit's own on) of a delegated unit.

    Raises:
        ManagerError: there is no manager, or it refused.
    """
    body = _Writer()
    body.string(unit)
    body.string(below)
    body.numbers([pid])
    _call("AttachProcessesToUnit", "ssau", body)


def _call(member: str, signature: str, body: _Writer) -> None:
    problem = "no service manager of systemd's listens"
    for path in sockets():
        try:
            with _Connection(path) as connection:
                if path.name != "private":
                    connection.call("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus", "Hello")
                connection.call(
                    "/org/freedesktop/systemd1", SYSTEMD, f"{SYSTEMD}.Manager", member, signature, bytes(body.data)
                )
            return
        except OSError as failure:
            problem = f"{path}: {failure.strerror or failure}"
    raise ManagerError(problem)


class _Writer:
    """Values as D-Bus marshals them: each aligned to its size, from the beginning of what it is in."""

    def __init__(self) -> None:
        self.data = bytearray()

    def align(self, size: int) -> None:
        self.data += bytes(-len(self.data) % size)

    def number(self, value: int) -> None:
        """A 32-bit number; a boolean is one."""
        self.align(4)
        self.data += struct.pack("<I", value)

    def numbers(self, values: list[int]) -> None:
        """An array of 32-bit numbers."""
        self.number(4 * len(values))
        for value in values:
            self.number(value)

    def string(self, text: str) -> None:
        """A string or an object path."""
        raw = text.encode()
        self.number(len(raw))
        self.data += raw + b"\0"

    def signature(self, text: str) -> None:
        self.data += bytes([len(text)]) + text.encode() + b"\0"

    def property(self, name: str, signature: str, value: Callable[[], None]) -> None:
        """One (name, variant) of an array of properties; `value` writes what is in the variant."""
        self.align(8)
        self.string(name)
        self.signature(signature)
        value()

    def field(self, code: int, signature: str, value: str) -> None:
        """One header field."""
        self.align(8)
        self.data.append(code)
        self.signature(signature)
        self.signature(value) if signature == "g" else self.string(value)


class _Array:
    """An array of what is written inside the with statement: its length in bytes does not count the first padding."""

    def __init__(self, writer: _Writer, alignment: int) -> None:
        self.writer, self.alignment = writer, alignment

    def __enter__(self) -> None:
        self.writer.number(0)
        self.place = len(self.writer.data) - 4
        self.writer.align(self.alignment)
        self.start = len(self.writer.data)

    def __exit__(self, *_: object) -> None:
        struct.pack_into("<I", self.writer.data, self.place, len(self.writer.data) - self.start)


class _Connection:
    """A connection to a manager or a bus, authenticated as the user that the kernel says we are (EXTERNAL)."""

    def __init__(self, path: Path) -> None:
        self.serial = 0
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.socket.settimeout(TIMEOUT)
        try:
            self.socket.connect(str(path))
            self.socket.sendall(b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode() + b"\r\n")
            if not self._line().startswith(b"OK "):
                raise OSError("we are not let in")
            self.socket.sendall(b"BEGIN\r\n")
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\r\n") and len(line) < 1000:
            line += self._read(1)
        return line

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise OSError("hung up")
            data += piece
        return data

    def call(
        self, path: str, destination: str, interface: str, member: str, signature: str = "", body: bytes = b""
    ) -> None:
        """Call a method and wait for its answer.

        Raises:
            OSError: no answer.
            ManagerError: the answer is an error.
        """
        self.serial += 1
        message = _Writer()
        message.data += bytes([ord("l"), CALL, 0, 1]) + struct.pack("<II", len(body), self.serial)
        with _Array(message, 8):
            message.field(PATH, "o", path)
            message.field(DESTINATION, "s", destination)
            message.field(INTERFACE, "s", interface)
            message.field(MEMBER, "s", member)
            if signature:
                message.field(SIGNATURE, "g", signature)
        message.align(8)
        self.socket.sendall(message.data + body)
        while True:
            kind, reply_to, text = self._message()
            if reply_to == self.serial and kind in (RETURN, ERROR):
                break
        if kind == ERROR:
            raise ManagerError(f"{member}: {text or 'refused'}")

    def _message(self) -> tuple[int, int, str]:
        """The next message: its type, what it answers, and the string that an error begins with."""
        start = self._read(16)
        if start[:1] != b"l":
            raise OSError("an answer in another byte order")
        length, _, fields = struct.unpack("<III", start[4:])
        padding = -fields % 8
        if length + fields > LONGEST:
            raise OSError("an answer too long to be one")
        header, body = self._read(fields + padding), self._read(length)
        reply_to = _reply_serial(header[:fields])
        text = body[4 : 4 + struct.unpack("<I", body[:4])[0]].decode(errors="replace") if len(body) > 4 else ""
        return start[1], reply_to, text


def _reply_serial(fields: bytes) -> int:
    """The REPLY_SERIAL among header fields: the only one whose variant is a number."""
    position = 0
    while position + 8 <= len(fields):
        code, signature = fields[position], fields[position + 2 : position + 3]
        if signature == b"u":
            value: int = struct.unpack_from("<I", fields, position + 4)[0]
            if code == REPLY_SERIAL:
                return value
            position += 8
        elif signature == b"g":
            position += 4 + 1 + fields[position + 4] + 1
        else:
            position += 8 + struct.unpack_from("<I", fields, position + 4)[0] + 1
        position += -position % 8
    return 0
