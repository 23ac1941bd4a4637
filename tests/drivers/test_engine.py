"""How pyfuse3 is driven, on a real mount: the fall-back under trio, unforeseen exceptions, the price of a start."""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from rootless.fuse import server
from tests.drivers.arena import Arena, wait_for
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


def test_a_start_imports_neither_trio_nor_metadata(arena: Arena) -> None:
    """Each costs more than the first file that is read."""
    setup(arena)
    seen = arena.base.parent / "modules"
    arena.base.parent.chmod(0o777)

    def config() -> server.Config:
        from rootless.fuse import engine

        drive = engine._drive

        def report(api: object, session: engine.Session) -> None:
            seen.write_text("\n".join(sys.modules.keys() - before))
            drive(api, session)

        for name in [name for name in sys.modules if name.split(".")[0] in ("trio", "asyncio", "msgspec", "ssl")]:
            del sys.modules[name]
        sys.modules.pop("importlib.metadata", None)
        before = set(sys.modules)
        engine._drive = report
        return arena.config()

    arena.container("cow", lambda: os.stat("file"), config=config)
    loaded = set(seen.read_text().split())
    assert "pyfuse3" in loaded
    assert not loaded & {"trio", "importlib.metadata", "rich", "ssl", "asyncio", "msgspec"}


def test_the_first_byte_comes_soon(arena: Arena) -> None:
    """Within 100 ms of the mount on the slowest of the machines this was measured on; here with room for a busy one."""
    setup(arena)

    def work() -> float:
        start = time.monotonic()
        Path("file").read_bytes()
        return time.monotonic() - start

    times = [arena.container("cow", work) for _ in range(5)]
    assert min(times) < 0.3, times


def test_a_listing_is_asked_for_once(arena: Arena) -> None:
    """The kernel keeps it until the directory changes; a live layer's it must not keep."""
    setup(arena)
    asked = arena.base.parent / "asked"
    asked.touch()
    asked.chmod(0o666)

    def config(live: bool) -> server.Config:
        from rootless.fuse import operations

        plain = operations.Operations.readdir

        async def counting(self: operations.Operations, handle: int, offset: int, token: object) -> None:
            with asked.open("a") as file:
                file.write("x")
            await plain(self, handle, offset, token)

        operations.Operations.readdir = counting  # type: ignore[assignment,method-assign]
        made = arena.config()
        return replace(made, lowers=tuple(replace(layer, live=live) for layer in made.lowers))

    def work() -> list[tuple[list[str], int]]:
        steps = []
        for change in (lambda: None, lambda: None, lambda: open("dir/new", "x").close(), lambda: os.unlink("dir/a")):
            before = asked.stat().st_size
            change()
            steps.append((sorted(os.listdir("dir")), asked.stat().st_size - before))
        return steps

    names = [["a", "b", "sub"], ["a", "b", "sub"], ["a", "b", "new", "sub"], ["b", "new", "sub"]]
    found = arena.container("cow", work, config=partial(config, False))
    assert [step[0] for step in found] == names
    assert [step[1] > 0 for step in found] == [True, False, True, True]
    arena.in_room(lambda: shutil.rmtree("upper/dir"))
    found = arena.container("cow", work, config=partial(config, True))
    assert [step[0] for step in found] == names
    assert all(step[1] > 0 for step in found)


def resident(pid: int) -> int:
    """Resident kilobytes of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def test_memory_follows_what_the_kernel_remembers(arena: Arena) -> None:
    """A walk over 20,000 files: a bounded price each, and an idle server is small."""
    setup(arena)

    def many() -> None:
        for number in range(200):
            os.makedirs(f"lower/many/{number}")
            for name in range(100):
                os.close(os.open(f"lower/many/{number}/{name}", os.O_CREAT))

    arena.in_room(many)
    pids: list[int] = []
    read, write = os.pipe()

    def started(one: int, daemon: int) -> None:
        os.write(write, str(daemon).encode())

    def work() -> tuple[int, int]:
        os.stat("file")
        pid = int(os.read(read, 20))
        # proc of this pid namespace does not show the server; its pid is looked up where the layers lie
        before = int(ask(pid))
        for _, _, names in os.walk("many"):
            for name in names:
                del name
        return before, int(ask(pid))

    def ask(pid: int) -> str:
        (top / "ask").write_text(str(pid))
        assert wait_for((top / "answer").exists)
        text = (top / "answer").read_text()
        (top / "answer").unlink()
        return text

    top = arena.base.parent
    top.chmod(0o777)
    answering = os.fork()
    if answering == 0:
        for _ in range(2):
            wait_for((top / "ask").exists, 30)
            time.sleep(0.05)
            answer = str(resident(int((top / "ask").read_text())))
            (top / "ask").unlink()
            (top / "half").write_text(answer)
            (top / "half").rename(top / "answer")
        os._exit(0)
    pids.append(answering)
    before, after = arena.container("cow", work, started=started)
    os.waitpid(answering, 0)
    assert before - resident(os.getpid()) < 16_000, "more than this interpreter, from which it was forked: pyfuse3"
    assert (after - before) * 1024 / 20_200 < 2000, "bytes for each file that the kernel may ask for"
