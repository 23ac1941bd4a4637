"""The few D-Bus calls, against a manager that is a socket and a decoder of its own."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rootless.runtime import systemd


class Reader:
    """Unmarshals by the specification's rules; written apart from what is tested."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, signature: str) -> Any:
        kind = signature[0]
        if kind in "ub":
            return self._number()
        if kind in "so":
            return self._text(self._number())
        if kind == "g":
            self.at += 1
            return self._text(self.data[self.at - 1])
        if kind == "v":
            return self.take(self.take("g"))
        if kind == "(":
            self._align(8)
            return tuple(self.take(part) for part in split(signature[1:-1]))
        assert kind == "a"
        length = self._number()
        self._align(8 if signature[1] == "(" else 4)
        end = self.at + length
        found = []
        while self.at < end:
            found.append(self.take(signature[1:]))
        assert self.at == end
        return found

    def all(self, signature: str) -> list[Any]:
        values = [self.take(part) for part in split(signature)]
        assert self.at == len(self.data), "something is left over"
        return values

    def _align(self, size: int) -> None:
        self.at += -self.at % size

    def _number(self) -> int:
        self._align(4)
        self.at += 4
        return int(struct.unpack_from("<I", self.data, self.at - 4)[0])

    def _text(self, length: int) -> str:
        text = self.data[self.at : self.at + length].decode()
        assert self.data[self.at + length] == 0
        self.at += length + 1
        return text


def split(signature: str) -> Iterator[str]:
    """The complete types in a signature."""
    while signature:
        end = 0
        while signature[end] == "a":
            end += 1
        depth = 0
        while True:
            depth += {"(": 1, ")": -1}.get(signature[end], 0)
            end += 1
            if depth == 0:
                break
        yield signature[:end]
        signature = signature[end:]


class Manager:
    """Lets its caller in, and answers each call from `answers`: an error's text, or None for success."""

    def __init__(self, path: Path, *answers: str | None, noise: bool = False) -> None:
        self.calls: list[tuple[dict[int, str], list[Any]]] = []
        self.answers, self.noise = answers, noise
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        connection, _ = self.listener.accept()
        with connection, connection.makefile("rwb") as file:
            assert file.readline() == b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode() + b"\r\n"
            file.write(b"OK 0123456789abcdef\r\n")
            file.flush()
            assert file.readline() == b"BEGIN\r\n"
            for answer in self.answers:
                start = file.read(16)
                if not start:
                    return
                assert start[:4] == b"l\x01\x00\x01"
                length, serial, fields = struct.unpack("<III", start[4:])
                header = start[12:] + file.read(fields)
                file.read(-(16 + fields) % 8)
                values = read_fields(header)
                self.calls.append((values, Reader(file.read(length)).all(values.get(8, ""))))
                if self.noise:
                    file.write(message(4, 77, {1: "/x", 2: "a.b", 3: "NameAcquired", 8: "s"}, text(":1.1")))
                kind, body = (2, b"") if answer is None else (3, text(answer))
                file.write(message(kind, 5, {8: "s"} if body else {}, body, reply_to=serial))
                file.flush()

    def end(self) -> None:
        self.thread.join(5)
        assert not self.thread.is_alive()
        self.listener.close()


def read_fields(header: bytes) -> dict[int, str]:
    """Header fields, a(yv); the array lies at 12 within the message, so that its elements start at 16."""
    reader = Reader(bytes(12) + header)
    reader.at = 16
    found = {}
    while reader.at < len(reader.data):
        reader._align(8)
        code = reader.data[reader.at]
        reader.at += 1
        found[code] = reader.take("v")
    return found


def text(value: str) -> bytes:
    return struct.pack("<I", len(value)) + value.encode() + b"\0"


def message(kind: int, serial: int, fields: dict[int, str], body: bytes, reply_to: int = 0) -> bytes:
    data = b""
    if reply_to:
        data += b"\x05\x01u\x00" + struct.pack("<I", reply_to)
    for code, value in fields.items():
        data += bytes(-len(data) % 8) + bytes([code])
        data += (
            (b"\x01g\x00" + bytes([len(value)]) + value.encode() + b"\0") if code == 8 else b"\x01s\x00" + text(value)
        )
    start = b"l" + bytes([kind, 0, 1]) + struct.pack("<III", len(body), serial, len(data))
    return start + data + bytes(-len(data) % 8) + body


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run directory, its path short enough for a socket."""
    if os.geteuid() == 0:
        pytest.skip("real root's manager has a fixed place")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", ".")
    Path("systemd").mkdir()
    return Path()


def test_a_scope_is_asked_for(run: Path) -> None:
    manager = Manager(run / "systemd/private", None)
    systemd.start_scope("rootless-1.scope", 4711)
    manager.end()
    ((fields, body),) = manager.calls
    assert fields == {
        1: "/org/freedesktop/systemd1",
        2: "org.freedesktop.systemd1.Manager",
        3: "StartTransientUnit",
        6: "org.freedesktop.systemd1",
        8: "ssa(sv)a(sa(sv))",
    }
    assert body[:2] == ["rootless-1.scope", "fail"]
    assert dict(body[2]) == {
        "Description": "a rootless container",
        "Delegate": 1,
        "CollectMode": "inactive-or-failed",
        "PIDs": [4711],
    }
    assert body[3] == []


def test_on_a_bus_one_says_hello_first_and_hears_what_is_not_meant_for_this(run: Path) -> None:
    manager = Manager(run / "bus", None, None, noise=True)
    systemd.attach("rootless-1.scope", "/a/container", 4711)
    manager.end()
    (hello, _), (fields, body) = manager.calls
    assert hello[3] == "Hello" and hello[6] == "org.freedesktop.DBus"
    assert fields[3] == "AttachProcessesToUnit"
    assert body == ["rootless-1.scope", "/a/container", [4711]]


def test_a_refusal_is_told_in_the_manager_s_words(run: Path) -> None:
    manager = Manager(run / "systemd/private", "Unit rootless-1.scope already exists.")
    with pytest.raises(systemd.ManagerError, match="StartTransientUnit: Unit rootless-1.scope already exists"):
        systemd.start_scope("rootless-1.scope", 1)
    manager.end()


def test_nobody_there(run: Path) -> None:
    with pytest.raises(systemd.ManagerError, match="no service manager"):
        systemd.start_scope("rootless-1.scope", 1)


def test_a_dead_socket_is_passed_over(run: Path) -> None:
    """What a manager that was killed left behind must not hide the bus."""
    dead = socket.socket(socket.AF_UNIX)
    dead.bind("systemd/private")
    dead.close()
    manager = Manager(run / "bus", None, None)
    systemd.start_scope("rootless-1.scope", 1)
    manager.end()
    assert [fields[3] for fields, _ in manager.calls] == ["Hello", "StartTransientUnit"]


@pytest.mark.parametrize(
    "answer", [b"", b"REJECTED EXTERNAL\r\n", b"OK x\r\nB" + bytes(30), b"OK x\r\nl\x02\x00\x01" + b"\xff" * 12]
)
def test_nonsense_is_no_manager(run: Path, answer: bytes) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("bus")
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(systemd.ManagerError):
        systemd.attach("rootless-1.scope", "/", 1)
    thread.join(5)
    listener.close()
