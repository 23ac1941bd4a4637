"""A container's log in Docker's json-file format: one JSON object a line, {"log": ..., "stream": ..., "time": ...}.

Beside `log`, which is being written, lie `log.1`, `log.2` and so on, the older ones, as many as --log-opt max-file
allows. log_reader.py reads them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from ..container.record import Spec, now
from ..errors import UsageError

MAX_LINE = 16384
"""Docker's too: a longer line is logged in parts, of which only the last ends with a newline."""

STREAMS = {1: "stdout", 2: "stderr"}

DRIVERS = JSON_FILE, NONE = "json-file", "none"
OPTIONS = ("max-size", "max-file", "labels", "env")

_UNITS = {unit: 1000**power for power, unit in enumerate(("", "k", "m", "g", "t", "p"))}


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of a log.

    Attributes:
        log: what was written, its newline included; the last line of a stream may have none, and so has a long line's
            every part but the last.
        attrs: labels and variables of the container that --log-opt asked for.
        time: when it was read from the container: RFC 3339, UTC, nine digits after the point.
    """

    log: str
    stream: str
    attrs: dict[str, str] = {}
    time: str = ""


class LogOptions(msgspec.Struct, frozen=True):
    """How a container's output is kept.

    Attributes:
        driver: `json-file`, or `none`: it isn't.
        max_size: bytes after which a new file is begun; 0 for never.
        max_files: how many files there may be, the one that is written included.
        attrs: what is added to each line.
    """

    driver: str = JSON_FILE
    max_size: int = 0
    max_files: int = 1
    attrs: dict[str, str] = msgspec.field(default_factory=dict)


_DEFAULTS = LogOptions()


def log_options(spec: Spec) -> LogOptions:
    """What `spec` says about its log, with the values of the labels and variables that it names.

    Raises:
        UsageError: see `check_options`.
    """
    options = spec.log.options
    check_options(spec.log.driver, options)
    variables = dict(item.partition("=")[::2] for item in spec.env)
    attrs = {name: spec.labels[name] for name in _names(options, "labels") if name in spec.labels}
    attrs |= {name: variables[name] for name in _names(options, "env") if name in variables}
    return LogOptions(spec.log.driver, _size(options.get("max-size", "")), int(options.get("max-file", "1")), attrs)


def check_options(driver: str, options: Mapping[str, str]) -> None:
    """See that a driver's options mean something.

    Raises:
        UsageError: an unknown driver or option, or a value that can't be one.
    """
    if driver not in DRIVERS:
        raise UsageError(
            f"logger: no log driver named '{driver}' is registered", hint=f"there are: {', '.join(DRIVERS)}"
        )
    for name in options:
        if driver == NONE or name not in OPTIONS:
            known = f"there are: {', '.join(OPTIONS)}" if driver == JSON_FILE else "it takes none"
            raise UsageError(f"unknown log opt '{name}' for {driver} log driver", hint=known)
    if "max-size" in options and _size(options["max-size"]) < 1:
        raise UsageError(f"max-size must be a positive number: '{options['max-size']}'", hint="write 10m or 500k")
    files = options.get("max-file", "1")
    if not re.fullmatch(r"[0-9]{1,6}", files, re.ASCII) or int(files) < 1:
        raise UsageError(f"max-file cannot be less than 1, and must be a number: '{files}'")


def _names(options: Mapping[str, str], option: str) -> list[str]:
    return [name for name in options.get(option, "").split(",") if name]


def _size(text: str) -> int:
    """Bytes of a size with Docker's decimal units for logs: `10m` is 10,000,000. 0 when it is none."""
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([kmgtp]?)i?b?", text.lower(), re.ASCII)
    return int(float(match[1]) * _UNITS[match[2]]) if match else 0


def tell_on_stderr(message: str) -> bool:
    """Write a line to the monitor's own log. False when that can't be written either."""
    try:
        os.write(2, f"{now()} {message}\n".encode())
    except OSError:
        return False
    return True


class LogWriter:
    """Turns chunks of output into log lines. The file is made by the first line: a silent container has none.

    A full disk does not stop the container. What could not be written is lost and counted; that it was is told once,
    and once more when lines are written again.

    Attributes:
        failure: what the last attempt to write ended with; None when it succeeded.
        lost: lines that were lost since the last success.
    """

    def __init__(
        self,
        path: Path,
        options: LogOptions = _DEFAULTS,
        tell: Callable[[str], bool] = tell_on_stderr,
    ) -> None:
        self.path = path
        self.options = options
        self.failure: OSError | None = None
        self.lost = 0
        self._tell = tell
        self._told = False
        self._fd = -1
        self._size = 0
        self._partial = dict.fromkeys(STREAMS, b"")

    def write(self, stream: int, data: bytes) -> None:
        """Log a chunk of stream 1 or 2; what follows its last newline waits for the rest of its line."""
        if self.options.driver == NONE:
            return
        *lines, rest = (self._partial[stream] + data).split(b"\n")
        pieces = [piece for line in lines for piece in _pieces(line + b"\n")]
        *more, rest = _pieces(rest)
        self._partial[stream] = rest
        self._append(stream, pieces + more)

    def close(self) -> None:
        """Log what has no newline at its end, and close."""
        for stream, rest in self._partial.items():
            self._append(stream, [rest] if rest else [])
            self._partial[stream] = b""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, stream: int, pieces: list[bytes]) -> None:
        if pieces and self._fd < 0:
            self._size = _size_of(self.path)
        time = now()
        batch: list[bytes] = []
        pending = 0
        for piece in pieces:
            if 0 < self.options.max_size <= self._size + pending:
                self._flush(batch)
                self._rotate()
                batch, pending = [], 0
            entry = Entry(piece.decode(errors="replace"), STREAMS[stream], self.options.attrs, time)
            batch.append(msgspec.json.encode(entry) + b"\n")
            pending += len(batch[-1])
        self._flush(batch)

    def _flush(self, batch: list[bytes]) -> None:
        """Write lines, or as many of them as there is room for: never a part of one."""
        if not batch:
            return
        data = b"".join(batch)
        written = 0
        try:
            if self._fd < 0:
                self._open()
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError as problem:
            whole = data.rfind(b"\n", 0, written) + 1
            with suppress(OSError):
                os.ftruncate(self._fd, self._size + whole)
            self._size += whole
            self._fail(problem, data.count(b"\n", whole))
        else:
            self._size += len(data)
            self._recover()

    def _open(self) -> None:
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._fd).st_size
        # A monitor that was killed may have left half a line, to which the next one must not be joined.
        if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
            self._size += os.write(self._fd, b"\n")

    def _rotate(self) -> None:
        """Begin a new file: the present one becomes log.1, or goes when it is the only one that may be."""
        try:
            if self.options.max_files < 2:
                self.path.unlink(missing_ok=True)
            else:
                for number in range(self._first_free(), 0, -1):
                    with suppress(FileNotFoundError):
                        os.rename(older(self.path, number - 1), older(self.path, number))
        except OSError as problem:  # the present one just grows on
            self._fail(problem, 0)
            return
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._size = -1, 0

    def _first_free(self) -> int:
        """The number that the files before it may move up to; the highest one allowed when all are taken."""
        number = 1
        while number < self.options.max_files - 1 and older(self.path, number).exists():
            number += 1
        return number

    def _fail(self, problem: OSError, lost: int) -> None:
        self.failure = problem
        self.lost += lost
        if not self._told:
            self._told = self._tell(f"the container's log can't be written ({problem.strerror}): its output is lost")

    def _recover(self) -> None:
        if self._told:
            self._tell(f"the container's log is written again; {self.lost} lines were lost")
        self.failure, self.lost, self._told = None, 0, False


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def older(path: Path, number: int) -> Path:
    """Where the log lies that was begun `number` files ago; 0 for the one that is being written."""
    return path.with_name(f"{path.name}.{number}") if number else path


def _pieces(line: bytes) -> list[bytes]:
    """Cut a line into parts of at most MAX_LINE bytes: at least one, and no character in two if it is UTF-8."""
    pieces = []
    while len(line) > MAX_LINE:
        # A byte that continues a character is 10xxxxxx, and a character has at most four.
        end = next((MAX_LINE - back for back in range(4) if line[MAX_LINE - back] & 0xC0 != 0x80), MAX_LINE)
        pieces.append(line[:end])
        line = line[end:]
    return [*pieces, line]
