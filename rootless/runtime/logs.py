"""A container's log in Docker's json-file format: one JSON object a line, {"log": ..., "stream": ..., "time": ...}."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from ..container.record import now

MAX_LINE = 16384
"""Docker's too: a longer line is logged in parts, of which only the last ends with a newline."""

STREAMS = {1: "stdout", 2: "stderr"}


class _Entry(msgspec.Struct, frozen=True):
    log: str
    stream: str
    time: str


class LogWriter:
    """Turns chunks of output into log lines. The file is made by the first line: a silent container has none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1
        self._partial = dict.fromkeys(STREAMS, b"")
        self.failure: OSError | None = None

    def write(self, stream: int, data: bytes) -> None:
        """Log a chunk of stream 1 or 2; what follows its last newline waits for the rest of its line.

        A full disk must not stop the container: the failure is kept in `failure`, and later lines are tried again.
        """
        lines = (self._partial[stream] + data).split(b"\n")
        rest = lines.pop()
        pieces = [piece for line in lines for piece in _pieces(line + b"\n")]
        while len(rest) >= MAX_LINE:
            pieces.append(rest[:MAX_LINE])
            rest = rest[MAX_LINE:]
        self._partial[stream] = rest
        self._append(stream, pieces)

    def close(self) -> None:
        """Log what has no newline at its end, and close."""
        for stream, rest in self._partial.items():
            self._append(stream, [rest] if rest else [])
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, stream: int, pieces: list[bytes]) -> None:
        if not pieces:
            return
        time = now()
        text = b"".join(
            msgspec.json.encode(_Entry(piece.decode(errors="replace"), STREAMS[stream], time)) + b"\n"
            for piece in pieces
        )
        try:
            if self._fd < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                self._fd = os.open(self.path, flags, 0o600)
            os.write(self._fd, text)
            self.failure = None
        except OSError as problem:
            self.failure = problem


def _pieces(line: bytes) -> list[bytes]:
    return [line[i : i + MAX_LINE] for i in range(0, len(line), MAX_LINE)]
