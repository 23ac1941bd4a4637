"""How pyfuse3 is driven, on a real mount: the fall-back under trio, unforeseen exceptions, the price of a start."""

from __future__ import annotations

import os
import resource
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from rootless.fuse import server
from tests.drivers.arena import Arena
from tests.drivers.cases import CASES
from tests.drivers.test_semantics import setup
from tests.drivers.trial import Trial


def act_all() -> list[object]:
    """A few cases in a row."""
    trial = Trial()
    for name in ("append_copies_up", "attributes_of_lower_files", "sparse_files", "rename_new_directories"):
        CASES[name](trial)
    return trial.results


def test_another_pyfuse3_runs_under_trio(arena: Arena, room: int) -> None:
    """One that wants a name of trio's that the stand-in has not: slower, and the same filesystem."""
    setup(arena)

    def config() -> server.Config:
        from rootless.fuse import engine

        complete = engine.stand_in

        def incomplete(session: engine.Session | None) -> object:
            module = complete(session)
            del module.Lock  # type: ignore[attr-defined]
            return module

        engine.stand_in = incomplete  # type: ignore[assignment]
        return arena.config()

    found = arena.container("cow", act_all, config=config)
    other = Arena(room, arena.base / "again", ["middle", "lower"])
    other.base.mkdir()
    setup(other)
    assert found == other.container("cow", act_all)
    assert arena.log is not None
    assert "plain pyfuse3 under trio: pyfuse3 uses trio.Lock" in arena.log.read_text()


def test_a_bug_is_an_errno_and_a_traceback_in_the_log(arena: Arena) -> None:
    """The mount goes on."""
    setup(arena)

    def config() -> server.Config:
        from rootless.fuse.files import Files

        def broken(self: object, node: object, name: bytes) -> bytes:
            raise ZeroDivisionError("a bug")

        Files.getxattr = broken  # type: ignore[assignment,method-assign]
        return arena.config()

    def work() -> int | None:
        try:
            os.getxattr("file", "user.x")
        except OSError as problem:
            assert Path("file").read_text() == "bottom\n"
            return problem.errno
        return None

    assert arena.container("cow", work, config=config) == 5
    assert arena.log is not None
    assert "ZeroDivisionError: a bug" in arena.log.read_text()
    arena.log.unlink()


def test_a_start_imports_neither_trio_nor_metadata() -> None:
    """Each costs more than the first file that is read."""
    code = "import sys; from rootless.fuse import server; server.prepare(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "pyfuse3" in loaded
    assert not loaded & {"trio", "importlib.metadata", "rich", "ssl", "asyncio", "msgspec"}


def test_the_first_byte_comes_soon_after_the_mount(arena: Arena) -> None:
    """Within 0.1 s where the processor is free (docs/performance.md). How busy it is says nothing about the server:
    here its processor time counts, which includes the imports before the mount."""
    setup(arena)
    is_read, go_on = os.pipe(), os.pipe()
    times: list[float] = []

    def work() -> None:
        Path("file").read_bytes()
        os.write(is_read[1], b"x")
        os.read(go_on[0], 1)

    def started(_: int, daemon: int) -> None:
        os.read(is_read[0], 1)
        times.append(int(Path(f"/proc/{daemon}/schedstat").read_text().split()[0]) / 1e9)
        os.write(go_on[1], b"x")

    while len(times) < 10 and min(times, default=1) >= 0.15:
        arena.container("cow", work, started=started)
    for descriptor in (*is_read, *go_on):
        os.close(descriptor)
    assert min(times) < 0.15, times


def resident(pid: int) -> tuple[int, int]:
    """Resident kilobytes of a process, and how many descriptors it may have open at once."""
    found = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
    (files,) = [line.split()[3] for line in limits if line.startswith("Max open files")]
    return int(found["VmRSS"].split()[0]), int(files)


def walk(arena: Arena, directories: int, files: int, descriptors: int) -> tuple[int, int]:
    """The server's resident kilobytes before and after everything in an image was looked at."""

    def make() -> None:
        for number in range(directories):
            os.makedirs(f"lower/many/{number}")
            for name in range(files):
                os.close(os.open(f"lower/many/{number}/{name}", os.O_CREAT))

    def config() -> server.Config:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
        return arena.config()

    here, there = socket.socketpair()

    def started(one: int, daemon: int) -> None:
        """Answers from outside: the container's /proc does not show the server."""
        if os.fork() == 0:
            here.close()
            while there.recv(1):
                there.sendall(struct.pack("QQ", *resident(daemon)))
            os._exit(0)
        there.close()

    def ask() -> int:
        here.sendall(b"x")
        kilobytes, limit = struct.unpack("QQ", here.recv(16))
        assert limit == descriptors
        return int(kilobytes)

    def work() -> tuple[int, int]:
        there.close()
        os.stat("file")
        before = ask()
        seen = 0
        for directory, _, names in os.walk("many"):
            seen += len([os.lstat(f"{directory}/{name}") for name in names])
        assert seen == directories * files
        return before, ask()

    setup(arena)
    arena.in_room(make)
    try:
        return arena.container("cow", work, started=started, config=config)
    finally:
        here.close()


def test_memory_follows_what_the_kernel_remembers(arena: Arena) -> None:
    """A walk over 20,000 files: a bounded price each, and an idle server is small."""
    before, after = walk(arena, 200, 100, 1024)
    assert before - resident(os.getpid())[0] < 16_000, "more than this interpreter, from which it was forked: pyfuse3"
    assert (after - before) * 1024 / 20_200 < 2000, "bytes for each file that the kernel may ask for"


@pytest.mark.long
def test_a_million_files(arena: Arena) -> None:
    """With no more descriptors than a login shell's."""
    before, after = walk(arena, 5000, 200, 1024)
    print(f"resident before {before} KB, after {after} KB")
    assert after - before < 600_000
