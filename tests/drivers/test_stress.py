"""Many processes at once: the tree is the same before and after a remount, and the server is alive."""

from __future__ import annotations

import os
import random
from functools import partial
from pathlib import Path

import pytest

from rootless.kernel import fs
from tests.drivers.arena import Arena
from tests.drivers.test_semantics import setup
from tests.drivers.trial import attributes, manifest

DIRECTORIES = ["", "dir", "dir/sub", "both", "both/below", "hidden", "tree/one", "n0", "n1", "n0/n1"]
NAMES = ["a", "b", "c", "file", "name", "x", "n1", "l"]


def namespace_operation(source: random.Random) -> None:
    """One random change of names; what fails because of another process is no matter."""
    one = os.path.join(source.choice(DIRECTORIES), source.choice(NAMES))
    other = os.path.join(source.choice(DIRECTORIES), source.choice(NAMES))
    kind = source.randrange(11)
    if kind == 0:
        os.mkdir(one)
    elif kind == 1:
        os.rename(one, other)
    elif kind == 2:
        os.unlink(one)
    elif kind == 3:
        os.rmdir(one)
    elif kind == 4:
        os.link(one, other, follow_symlinks=False)
    elif kind == 5:
        os.symlink("file", one)
    elif kind == 6:
        fs.renameat2(fs.AT_FDCWD, one, fs.AT_FDCWD, other, source.choice([1, 2]))
    elif kind == 7:
        os.chmod(one, source.choice([0o700, 0o755, 0o777]))
    elif kind == 8:
        os.listdir(os.path.dirname(one) or ".")
    elif kind == 9:
        os.setxattr(one, "user.x", b"1")
    else:
        with open(one, "a") as file:
            file.write("x" * source.randrange(100))


def worker(seed: int, count: int) -> int:
    """`count` random operations. The number of errors that must never come: EIO and its like."""
    source = random.Random(seed)
    bad = 0
    for _ in range(count):
        try:
            namespace_operation(source)
        except OSError as problem:
            if problem.errno in (5, 9, 107, 116, 18):  # EIO, EBADF, ENOTCONN, ESTALE, EXDEV
                bad += 1
    return bad


def crowd(workers: int, count: int) -> dict[str, object]:
    """Several processes at once, then what the mount shows."""
    pids = []
    for seed in range(workers):
        pid = os.fork()
        if pid == 0:
            os._exit(min(worker(seed, count), 100))
        pids.append(pid)
    bad = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert not any(bad), f"unexpected errors: {bad}"
    for directory, names, _ in os.walk("."):
        for name in names:  # link counts too, which must be right while mounted
            attributes(os.path.join(directory, name))
    return manifest(".")


def stress(arena: Arena, workers: int, count: int) -> None:
    setup(arena)
    before = arena.container("cow", partial(crowd, workers, count))
    after = arena.container("cow", partial(manifest, "."))
    assert before == after, "what the server believed is what the layers say"
    assert arena.container("overlay", partial(manifest, ".")) == after
    assert arena.in_room(lambda: os.listdir("work/cow")) == [] or all(
        name.startswith("w") for name in arena.in_room(lambda: os.listdir("work/cow"))
    ), "nothing is left in the work directory but the shared whiteout"


def test_concurrent_namespace_operations(arena: Arena) -> None:
    stress(arena, workers=4, count=800)


@pytest.mark.long
def test_many_concurrent_namespace_operations(arena: Arena) -> None:
    stress(arena, workers=8, count=10000)


def test_few_descriptors(arena: Arena) -> None:
    """Under a hard limit that is far below what is open at once."""
    import resource

    setup(arena)
    made = arena.config

    def config() -> object:
        # What this process has from the tests before is not the server's, which begins with its own alone.
        limit = 128 + len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        return made()

    def work() -> int:
        for number in range(300):
            os.makedirs(f"many/{number}/below")
            Path(f"many/{number}/below/file").write_text(str(number))
        held = [os.open(f"many/{number}/below/file", os.O_RDWR) for number in range(300)]
        for number, fd in enumerate(held):
            os.pwrite(fd, b"again", 10)
            assert os.pread(fd, 3, 0)[: len(str(number))] == str(number).encode()
        os.rename("many", "moved")
        for number, fd in enumerate(held):
            assert os.pread(fd, 100, 10) == b"again", number
        return len(held)

    assert arena.container("cow", work, config=config) == 300  # type: ignore[arg-type]
