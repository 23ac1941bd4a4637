"""Many at once on the cache of unpacked layers, kills, full disks, large layers."""

from __future__ import annotations

import gzip
import io
import os
import random
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from rootless import locks, room
from rootless.errors import StoreError
from rootless.idmap import IdMap
from rootless.kernel import mount, namespaces
from rootless.paths import Paths
from rootless.storage import unpacking
from rootless.storage.layers import Layers
from rootless.storage.remove import remove_tree, sweep
from tests.storage.archives import END, Archive, header, padded
from tests.storage.shelf import leftovers, stored


def in_processes(count: int, work: Callable[[int], None]) -> list[int]:
    """Run `work` in so many forked processes at once: their exit codes."""
    ready, go = os.pipe()
    pids = []
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                os.close(go)
                os.read(ready, 1)  # the end of the pipe is the starting shot
                work(number)
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    os.close(ready)
    os.close(go)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


@pytest.mark.parametrize("kind", ["mapped", "owned"])
def test_many_at_once_unpack_once(kind: Any, paths: Paths, idmap: IdMap, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten `run` of a new image: one unpacks each layer, the others wait for it."""
    chain = [stored(paths, Archive().file(f"f{n}", os.urandom(1 << 20))) for n in range(3)]
    log = paths.store / "log"
    fill = Layers._fill

    def logged(self: Layers, *arguments: Any) -> bytes:
        with log.open("a") as file:
            file.write(".")
        return fill(self, *arguments)

    monkeypatch.setattr(Layers, "_fill", logged)

    def work(number: int) -> None:
        links = Layers(paths, idmap).ensure(chain, kind)
        assert all((paths.store / link).is_dir() for link in links)

    assert in_processes(10, work) == [0] * 10
    assert log.read_text() == "..." and leftovers(paths) == []


def test_who_waited_for_a_layer_that_was_removed_makes_it_again(paths: Paths, layers: Layers, idmap: IdMap) -> None:
    """The lock file goes with the layer: whoever waited for it holds a lock on nothing, and must notice."""
    source = stored(paths, Archive().file("f"))
    layers.ensure([source])
    locked, tell = os.pipe()
    waiting = os.fork()
    if waiting == 0:
        code = 1
        try:
            os.close(tell)
            os.read(locked, 1)
            remove_tree(layers.path(source.diff_id, "mapped"), lambda: room.open_room(paths, idmap))
            Layers(paths, idmap).ensure([source])
            code = 0
        finally:
            os._exit(code)
    with layers._locked(source.diff_id):
        os.close(locked)
        os.close(tell)
        directory = paths.layers / source.diff_id[7:]
        time.sleep(0.5)  # now it waits
        for name in "lock", "size":
            (directory / name).unlink()
        directory.rmdir()
    assert os.waitpid(waiting, 0)[1] == 0
    assert layers.path(source.diff_id, "mapped").is_dir()
    assert locks.try_lock(directory / "lock") is not None


def large() -> bytes:
    archive = Archive()
    for n in range(400):
        archive.file(f"d{n % 20}/f{n}", b"%d" % n * 50, uid=n % 50).symlink(f"l{n}", f"d{n % 20}/f{n}", uid=3)
    return archive.bytes()


def killed_now_and_then(paths: Paths, idmap: IdMap, times: int, seed: int) -> None:
    source = stored(paths, large())
    chance = random.Random(seed)
    started = time.monotonic()
    Layers(paths, idmap).ensure([source], "mapped")
    whole = time.monotonic() - started
    for number in range(times):
        kind: Any = ("mapped", "owned")[number % 2]
        Layers(paths, idmap).remove(source.diff_id)
        pid = os.fork()
        if pid == 0:
            try:
                os.setpgid(0, 0)
                Layers(paths, idmap).ensure([source], kind)
            finally:
                os._exit(0)
        time.sleep(chance.uniform(0, whole * 1.2))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        wait_for_group(pid)
        sweep(paths.tmp, lambda: room.open_room(paths, idmap))
        assert leftovers(paths) == []
        (link,) = Layers(paths, idmap).ensure([source], kind)
        check_large(paths, idmap, link, kind)


def wait_for_group(pid: int) -> None:
    """The child in the room is killed with its parent, a moment later."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.killpg(pid, 0)
        except (ProcessLookupError, PermissionError):
            return
        time.sleep(0.005)
    raise AssertionError("a child outlived the process that was killed")


def check_large(paths: Paths, idmap: IdMap, link: str, kind: str) -> None:
    root = paths.store / link
    assert len(list(root.glob("*/*"))) == 400 and len(list(root.glob("l*"))) == 400
    for n in range(400):
        assert (root / f"d{n % 20}/f{n}").read_bytes() == b"%d" % n * 50
    if kind == "owned":
        assert len((root.resolve().parent / "owners.jsonl").read_text().splitlines()) == 400
    else:
        owner = idmap.uids[-1].outside + 48
        assert (root / "d9/f49").stat().st_uid == owner


def test_killed_at_some_points(paths: Paths, idmap: IdMap) -> None:
    """kill -9 anywhere: the next command sweeps what is left, and gets a whole layer."""
    killed_now_and_then(paths, idmap, 6, seed=1)


@pytest.mark.long
def test_killed_at_many_points(paths: Paths, idmap: IdMap) -> None:
    killed_now_and_then(paths, idmap, 200, seed=int(time.time()))


def test_no_room_on_the_disk(paths: Paths, idmap: IdMap, room_fd: int) -> None:
    """The store's fault, not the archive's: said so, with what to do."""
    data = Archive().file("dir/large", os.urandom(4 << 20)).bytes()
    target = paths.store / "small"
    target.mkdir()

    def fill() -> None:
        namespaces.unshare(namespaces.CLONE_NEWNS)
        mount.mount("tmpfs", str(target), "tmpfs", 0, "size=1m,mode=755")
        unpacking.mapped(unpacking.Job(io.BytesIO(data), os.open(target, os.O_PATH), [], "sha256"), idmap)

    with pytest.raises(StoreError, match="dir/large can't be unpacked: No space left on device; make room"):
        room.call(room_fd, fill)


def test_memory_does_not_grow_with_the_layer(paths: Paths, idmap: IdMap, room_fd: int) -> None:
    """A layer of 300 MB, and one of 30,000 files: 32 MiB more than at the start are enough for both."""
    import resource

    big = io.BytesIO()
    with gzip.open(big, "wb", 1) as file:
        file.write(header(b"big", size=b"%011o\0" % (300 << 20)))
        for _ in range(300):
            file.write(bytes(1 << 20))
        file.write(END)
    many = b"".join(header(b"d%d/f%d" % (n % 10, n), size=b"%011o\0" % 1) + padded(b"x") for n in range(30_000)) + END
    target = paths.store / "t"

    def peak(data: bytes) -> Callable[[], int]:
        def run() -> int:
            unpacking.mapped(unpacking.Job(io.BytesIO(data), os.open(target, os.O_PATH), [], "sha256"), idmap)
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        return run

    for data in big.getvalue(), many:
        target.mkdir()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert room.call(room_fd, peak(data)) - before < 32 * 1024
        remove_tree(target, lambda: os.dup(room_fd))
