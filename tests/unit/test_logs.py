"""The log of a container: what was written is read, whatever happened to the file in between."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.cli.log_options import read_log_options
from rootless.container.record import LogConfig, Spec
from rootless.errors import UsageError
from rootless.runtime import log_reader
from rootless.runtime.log_reader import LogReader, Part
from rootless.runtime.logs import MAX_LINE, LogOptions, LogWriter, log_options

SECOND = 10**9
DEFAULT = LogOptions()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def read(log: Path, **part: int) -> list[str]:
    return [entry.log for entry in LogReader(log, Part(**part)).read()]


def write_lines(log: Path, count: int, options: LogOptions = DEFAULT, first: int = 0) -> list[str]:
    writer = LogWriter(log, options)
    lines = [f"line {number}\n" for number in range(first, first + count)]
    for line in lines:
        writer.write(1, line.encode())
    writer.close()
    return lines


def lines_at(log: Path, *moments: str) -> None:
    """A log with a line for each moment, saying it."""
    entries = (
        {"log": f"{moment}\n", "stream": "stdout", "time": f"2026-01-02T{moment}.000000000Z"} for moment in moments
    )
    log.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


# --- the writer and the format ---------------------------------------------------------------------------------------


def test_the_format_is_dockers(log: Path) -> None:
    writer = LogWriter(log, LogOptions(attrs={"colour": "green"}))
    writer.write(2, b'a "quoted" line\n')
    writer.close()
    entry = json.loads(log.read_text())
    moment = entry.pop("time")
    assert entry == {"log": 'a "quoted" line\n', "stream": "stderr", "attrs": {"colour": "green"}}
    assert len(moment) == len("2026-01-02T03:04:05.000000006Z")


def test_a_silent_container_has_no_log(log: Path) -> None:
    writer = LogWriter(log)
    writer.write(1, b"")
    writer.close()
    assert not log.exists()
    assert read(log) == []


@given(chunks=st.lists(st.tuples(st.sampled_from([1, 2]), st.text("ab\nö€𝄞\0", max_size=40)), max_size=30))
def test_streams_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[tuple[int, str]]
) -> None:
    """Whatever the pieces they arrived in; characters may be torn between two pieces, too."""
    log = tmp_path_factory.mktemp("log") / "log"
    writer = LogWriter(log)
    written = {1: b"", 2: b""}
    for stream, text in chunks:
        data = text.encode()
        written[stream] += data
        cut = random.Random(len(data)).randint(0, len(data))
        writer.write(stream, data[:cut])
        writer.write(stream, data[cut:])
    writer.close()
    entries = list(LogReader(log, Part()).read())
    for number, name in (1, "stdout"), (2, "stderr"):
        assert "".join(e.log for e in entries if e.stream == name).encode() == written[number]


@pytest.mark.parametrize("length", [MAX_LINE - 1, MAX_LINE, MAX_LINE + 1, 3 * MAX_LINE, 100_000])
@pytest.mark.parametrize("character", ["x", "ö", "€", "𝄞"])
def test_a_long_line_is_cut_between_characters(log: Path, length: int, character: str) -> None:
    line = "-" * (length % 4) + character * length + "\n"
    writer = LogWriter(log)
    for start in range(0, len(line.encode()), 65536):
        writer.write(1, line.encode()[start : start + 65536])
    writer.close()
    pieces = read(log)
    assert "".join(pieces) == line
    assert all(len(piece.encode()) <= MAX_LINE for piece in pieces)
    assert [piece.endswith("\n") for piece in pieces] == [False] * (len(pieces) - 1) + [True]


def test_bytes_that_are_no_text_do_not_stop_it(log: Path) -> None:
    writer = LogWriter(log)
    writer.write(1, b"\xff\xfe\x80" * 20000 + b"\n")
    writer.close()
    assert "".join(read(log)) == "\ufffd" * 60000 + "\n"


def test_none_keeps_nothing(log: Path) -> None:
    write_lines(log, 10, LogOptions(driver="none"))
    assert not log.exists()


# --- rotation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [1, 2, 5])
def test_rotation_keeps_the_newest_files(log: Path, files: int) -> None:
    lines = write_lines(log, 500, LogOptions(max_size=1000, max_files=files))
    names = sorted(path.name for path in log.parent.iterdir())
    assert names == ["log", *(f"log.{number}" for number in range(1, files))]
    for path in log.parent.iterdir():
        assert path.stat().st_size < 1000 + 100, "a new file is begun by the line after the limit, as in Docker"
    kept = read(log)
    assert kept == lines[-len(kept) :]
    assert len(kept) >= (files - 1) * 10


@pytest.mark.parametrize("chunk", [1, 7, 1000, 100_000])
def test_every_file_but_the_last_is_full(log: Path, chunk: int) -> None:
    """Also when a container writes much at once."""
    writer = LogWriter(log, LogOptions(max_size=1000, max_files=100))
    data = b"".join(b"line %d\n" % number for number in range(300))
    for start in range(0, len(data), chunk):
        writer.write(1, data[start : start + chunk])
    writer.close()
    sizes = {path.name: path.stat().st_size for path in log.parent.iterdir()}
    del sizes["log"]
    assert len(sizes) > 20
    assert all(1000 <= size < 1100 for size in sizes.values())
    assert read(log) == [f"line {number}\n" for number in range(300)]


def test_rotation_goes_on_after_a_restart(log: Path) -> None:
    """Each run of a container has a writer of its own; the limit is that of the file."""
    options = LogOptions(max_size=1000, max_files=3)
    lines = [line for run in range(100) for line in write_lines(log, 5, options, first=5 * run)]
    assert all(path.stat().st_size < 1000 + 5 * 100 for path in log.parent.iterdir())
    kept = read(log)
    assert kept == lines[-len(kept) :]


def test_a_rotation_that_was_killed_leaves_a_gap(log: Path) -> None:
    lines = write_lines(log, 60, LogOptions(max_size=1000, max_files=9))
    for number in range(9, 1, -1):
        if (source := log.with_name(f"log.{number - 1}")).exists():
            source.rename(log.with_name(f"log.{number}"))
    assert not log.with_name("log.1").exists()
    assert read(log) == lines
    log.rename(log.with_name("log.1"))
    assert read(log) == lines, "and what was written is found although nothing is being written"


# --- the reader ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [7, 100, 65536])
@pytest.mark.parametrize("max_size", [0, 500])
def test_tail(log: Path, chunk: int, max_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one file and over several, wherever the blocks end in which it is read from the end."""
    monkeypatch.setattr(log_reader, "_CHUNK", chunk)
    lines = write_lines(log, 40, LogOptions(max_size=max_size, max_files=50))
    for tail in (0, 1, 2, 9, 39, 40, 41, 1000):
        assert read(log, tail=tail) == (lines[-tail:] if tail else [])


def test_tail_of_a_huge_file_reads_its_end_only(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with log.open("wb") as file:
        file.truncate(1 << 40)
        file.seek(0, os.SEEK_END)
        file.write(b"\n")
    write_lines(log, 100)
    amount = 0
    pread = os.pread

    def counting(fd: int, size: int, offset: int) -> bytes:
        nonlocal amount
        amount += size
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", counting)
    assert read(log, tail=3) == ["line 97\n", "line 98\n", "line 99\n"]
    assert amount <= 4 * 65536


def test_since_and_until(log: Path) -> None:
    lines_at(log, "10:00:00", "10:00:01", "10:00:02", "10:00:03")
    ten = 1_767_348_000 * SECOND  # 2026-01-02T10:00:00Z
    assert read(log, since=ten + SECOND) == ["10:00:01\n", "10:00:02\n", "10:00:03\n"]
    assert read(log, since=ten + SECOND + 1) == ["10:00:02\n", "10:00:03\n"]
    assert read(log, until=ten + SECOND) == ["10:00:00\n", "10:00:01\n"]
    assert read(log, since=ten + SECOND, until=ten + 2 * SECOND) == ["10:00:01\n", "10:00:02\n"]
    assert read(log, tail=2, until=ten + 2 * SECOND) == ["10:00:02\n"], "as in Docker: the last two, and of these"
    assert read(log, since=-5) == read(log)
    assert read(log, until=-5) == []


def test_older_files_are_not_read_for_what_is_newer(log: Path) -> None:
    write_lines(log, 100, LogOptions(max_size=1000, max_files=50))
    for path in log.parent.iterdir():
        if path.name != "log":
            os.utime(path, (1, 1))
    found = read(log, since=1000 * SECOND)
    assert found[-1] == "line 99\n"
    assert len(found) < 20


def test_a_line_that_is_not_finished_waits(log: Path) -> None:
    write_lines(log, 2)
    whole = log.read_bytes()
    log.write_bytes(whole[:-10])
    assert read(log) == ["line 0\n"]
    assert read(log, tail=1) == ["line 0\n"]
    turns = iter([whole[-10:-5], whole[-5:], b""])

    def wait() -> bool:
        with log.open("ab") as file:
            return bool(file.write(next(turns)))

    assert [e.log for e in LogReader(log, Part(tail=0)).follow(wait)] == ["line 1\n"]


def test_the_half_line_of_a_killed_monitor_spoils_no_other(log: Path) -> None:
    write_lines(log, 2)
    log.write_bytes(log.read_bytes()[:-10])
    write_lines(log, 1, first=7)
    reader = LogReader(log, Part())
    assert [e.log for e in reader.read()] == ["line 0\n", "line 7\n"]
    assert reader.damaged == 1


@pytest.mark.parametrize(
    "rubbish", [b"\0" * 5000 + b"\n", b"\n", b"{}\n", b"[1]\n", b'{"log": 3, "stream": 4}\n', b"\xff\n"]
)
def test_rubbish_is_left_out_and_counted(log: Path, rubbish: bytes) -> None:
    write_lines(log, 2)
    with log.open("ab") as file:
        file.write(rubbish)
    write_lines(log, 1, first=2)
    reader = LogReader(log, Part())
    assert [e.log for e in reader.read()] == ["line 0\n", "line 1\n", "line 2\n"]
    assert reader.damaged == 1


def test_follow_ends_after_what_came_last(log: Path) -> None:
    """The writer closes the log before anybody can know that the container has ended."""
    write_lines(log, 1)

    def wait() -> bool:
        write_lines(log, 1, first=1)
        return False

    assert [e.log for e in LogReader(log, Part()).follow(wait)] == ["line 0\n", "line 1\n"]


def test_follow_of_a_log_that_is_not_there_yet(log: Path) -> None:
    assert [e.log for e in LogReader(log, Part()).follow(lambda: bool(write_lines(log, 1)) and False)] == ["line 0\n"]


def test_follow_ends_at_its_moment(log: Path) -> None:
    until = time.time_ns() + SECOND // 5
    waits = []
    assert list(LogReader(log, Part(until=until)).follow(lambda: waits.append(time.sleep(0.05)) is None)) == []
    assert 3 <= len(waits) <= 6
    write_lines(log, 3)
    assert list(LogReader(log, Part(until=until)).follow(lambda: pytest.fail("it is over"))) == []


def test_somebody_empties_the_file(log: Path) -> None:
    write_lines(log, 5)

    def wait() -> bool:
        if log.stat().st_size > 200:
            os.truncate(log, 0)
            write_lines(log, 1, first=9)
            return True
        return False

    assert [e.log for e in LogReader(log, Part(tail=0)).follow(wait)] == ["line 9\n"]


def follow_a_writer(log: Path, count: int, options: LogOptions) -> list[int]:
    """The numbers of the lines that a reader gets while a process writes and rotates as fast as it can."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            write_lines(log, count, options)
            code = 0
        finally:
            os._exit(code)
    ended = threading.Event()
    status: list[int] = []
    waiter = threading.Thread(target=lambda: (status.append(os.waitpid(pid, 0)[1]), ended.set()))
    waiter.start()
    reader = LogReader(log, Part())
    got = [int(e.log.split()[1]) for e in reader.follow(lambda: not ended.wait(0.0005))]
    waiter.join()
    assert status == [0]
    assert reader.damaged == 0
    return got


@pytest.mark.parametrize(("count", "max_size"), [(5000, 3000), (150, 1)])
def test_follow_misses_nothing_while_files_are_rotated(log: Path, count: int, max_size: int) -> None:
    options = LogOptions(max_size=max_size, max_files=1000)
    assert follow_a_writer(log, count, options) == list(range(count))


@pytest.mark.parametrize("max_files", [1, 2, 5])
def test_follow_goes_on_after_what_was_removed_before_it_was_read(log: Path, max_files: int) -> None:
    """Who is slower than the rotation misses lines, as everywhere, but gets none twice and the last one for certain."""
    got = follow_a_writer(log, 3000, LogOptions(max_size=300, max_files=max_files))
    assert got == sorted(set(got))
    assert got[-1] == 2999


# --- a full disk -----------------------------------------------------------------------------------------------------


def in_a_child(work: Callable[[], None]) -> None:
    """Run `work` where it can limit itself. An exception in it fails the test."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            work()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_no_more_room_is_told_once_and_survived(log: Path) -> None:
    """A limit on the file's size (setrlimit(2)) fails as a full disk does: a part of the write, and then an error."""

    def work() -> None:
        told: list[str] = []
        writer = LogWriter(log, tell=lambda message: told.append(message) is None)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        for number in range(100):
            writer.write(1, b"line %d\nagain %d\n" % (number, number))
        assert writer.failure is not None
        assert writer.failure.strerror == "File too large"
        assert told == ["the container's log can't be written (File too large): its output is lost"]
        lost = writer.lost
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        writer.write(1, b"at last\n")
        assert told[1:] == [f"the container's log is written again; {lost} lines were lost"]
        assert (writer.failure, writer.lost) == (None, 0)
        writer.close()
        reader = LogReader(log, Part())
        kept = [entry.log for entry in reader.read()]
        assert reader.damaged == 0, "no half line was left"
        assert kept[-1] == "at last\n"
        assert len(kept) - 1 + lost == 200
        assert kept[:-1] == [f"{w} {n}\n" for n in range(100) for w in ("line", "again")][: len(kept) - 1]

    in_a_child(work)


def test_what_could_not_be_told_is_told_later(log: Path) -> None:
    """The file that it is told in lies on the same full disk."""

    def work() -> None:
        attempts: list[bool] = []
        writer = LogWriter(log, tell=lambda _: attempts.append(len(attempts) > 2) or attempts[-1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        for _ in range(10):
            writer.write(1, b"x\n")
        assert attempts == [False, False, False, True]

    in_a_child(work)


def test_a_log_that_can_not_be_opened(log: Path) -> None:
    told: list[str] = []
    log.mkdir()
    writer = LogWriter(log, tell=lambda message: told.append(message) is None)
    writer.write(1, b"x\n")
    writer.write(1, b"y\n")
    assert told == ["the container's log can't be written (Is a directory): its output is lost"]
    log.rmdir()
    writer.write(1, b"z\n")
    writer.close()
    assert read(log) == ["z\n"]


# --- options ---------------------------------------------------------------------------------------------------------


def spec(config: LogConfig) -> Spec:
    return Spec(
        image="a", image_id="b", argv=("c",), log=config, labels={"tier": "front", "x": "y"}, env=("A=1=2", "B=3")
    )


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], LogOptions()),
        (["max-size=10m"], LogOptions(max_size=10_000_000)),
        (["max-size=1.5k", "max-file=3"], LogOptions(max_size=1500, max_files=3)),
        (["max-size=2GB"], LogOptions(max_size=2_000_000_000)),
        (["max-size=5", "max-size=7"], LogOptions(max_size=7)),
        (["labels=tier,other"], LogOptions(attrs={"tier": "front"})),
        (["env=A,C", "labels=x"], LogOptions(attrs={"x": "y", "A": "1=2"})),
    ],
)
def test_options(texts: list[str], expected: LogOptions) -> None:
    assert log_options(spec(read_log_options("json-file", texts))) == expected


def test_driver_none() -> None:
    assert log_options(spec(read_log_options("none", []))).driver == "none"


@pytest.mark.parametrize(
    ("driver", "text", "message"),
    [
        ("syslog", "", "logger: no log driver named 'syslog' is registered"),
        ("json-file", "compress=true", "unknown log opt 'compress' for json-file log driver"),
        ("none", "max-size=1m", "unknown log opt 'max-size' for none log driver"),
        ("json-file", "max-size=0", "max-size must be a positive number"),
        ("json-file", "max-size=-1", "max-size must be a positive number"),
        ("json-file", "max-size=much", "max-size must be a positive number"),
        ("json-file", "max-size", "max-size must be a positive number"),
        ("json-file", "max-file=0", "max-file cannot be less than 1"),
        ("json-file", "max-file=x", "max-file cannot be less than 1"),
    ],
)
def test_options_that_mean_nothing(driver: str, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_log_options(driver, [text] if text else [])
