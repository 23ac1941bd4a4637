"""Random operations, the same on `cow` and on the kernel's overlayfs, compared after every step.

Each example mounts both over the same layers and drives them side by side. What the two are known to differ in is left
out: a rename that overlayfs refuses with EXDEV (see test_cow), and readers of a file that is copied up under them.
"""

from __future__ import annotations

import errno
import itertools
import os
import pickle
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from rootless.kernel import fs
from tests.drivers.arena import Arena
from tests.drivers.layers import make_layers
from tests.drivers.trial import attributes, manifest


class Hands:
    """Acts inside one container, on request."""

    def __init__(self) -> None:
        self.fds: dict[int, int] = {}

    def call(self, name: str, *arguments: Any) -> Any:
        """The value of an operation, or the name of its errno."""
        try:
            return getattr(self, name)(*arguments)
        except OSError as problem:
            return errno.errorcode.get(problem.errno or 0)

    def append(self, path: str, text: str) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(fd, text.encode())
        os.close(fd)

    def overwrite(self, path: str, text: str) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
        os.write(fd, text.encode())
        os.close(fd)

    def create(self, path: str) -> None:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))

    def hold(self, number: int, path: str) -> None:
        self.drop(number)
        self.fds[number] = os.open(path, os.O_RDWR)

    def drop(self, number: int) -> None:
        if number in self.fds:
            os.close(self.fds.pop(number))

    def write_held(self, number: int, offset: int, text: str) -> object:
        if number not in self.fds:
            return None
        os.pwrite(self.fds[number], text.encode(), offset)
        status = os.fstat(self.fds[number])
        return status.st_size, status.st_nlink, os.pread(self.fds[number], 100, 0)

    def chmod_held(self, number: int, mode: int) -> object:
        if number not in self.fds:
            return None
        os.fchmod(self.fds[number], mode)
        return os.fstat(self.fds[number]).st_mode

    def rename(self, one: str, other: str, flags: int) -> None:
        fs.renameat2(fs.AT_FDCWD, one, fs.AT_FDCWD, other, flags)

    def mkdir(self, path: str) -> None:
        os.mkdir(path, 0o755)

    def rmdir(self, path: str) -> None:
        os.rmdir(path)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def link(self, one: str, other: str) -> None:
        os.link(one, other, follow_symlinks=False)

    def symlink(self, target: str, path: str) -> None:
        os.symlink(target, path)

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(path, mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        os.chown(path, uid, gid, follow_symlinks=False)

    def truncate(self, path: str, size: int) -> None:
        os.truncate(path, size)

    def setxattr(self, path: str, name: str, value: bytes) -> None:
        os.setxattr(path, name, value, follow_symlinks=False)

    def removexattr(self, path: str, name: str) -> None:
        os.removexattr(path, name, follow_symlinks=False)

    def look(self, path: str) -> object:
        return attributes(path), sorted(os.listdir(path)) if os.path.isdir(path) else None

    def everything(self) -> dict[str, object]:
        return manifest(".")


class Side:
    """One driver, mounted in a container of its own, with `Hands` in it."""

    def __init__(self, arena: Arena, driver: str) -> None:
        self.driver = driver
        self.socket, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                self.socket.close()
                arena.container(driver, partial(self._serve, far))
                code = 0
            finally:
                os._exit(code)
        far.close()
        self._reader = self.socket.makefile("rb")

    @staticmethod
    def _serve(far: socket.socket) -> None:
        hands = Hands()
        with far.makefile("rb") as reader:
            while True:
                name, arguments = pickle.load(reader)
                if name == "stop":  # the end of the file never comes: the other side's processes hold copies of it
                    return
                far.sendall(pickle.dumps(hands.call(name, *arguments)))

    def call(self, name: str, *arguments: Any) -> Any:
        self.socket.sendall(pickle.dumps((name, arguments)))
        return pickle.load(self._reader)

    def close(self) -> int:
        self.socket.sendall(pickle.dumps(("stop", ())))
        self._reader.close()
        self.socket.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


PATHS = st.sampled_from(
    "file other masked deleted empty big hardlink symlink suid dir dir/a dir/b dir/sub dir/sub/c dir/sub/deep both "
    "both/name both/below both/below/x both/above both/above/z hidden hidden/shown hidden/inside setgid setgid/n "
    "tree/one tree/one/two tree/one/two/three new new/a new/b new/new new/new/a dir/n both/n hidden/n".split()
)
NUMBERS = st.integers(0, 2)
TEXT = st.sampled_from(["", "x", "hello\n", "y" * 5000])
ROOM: list[int] = []
COUNTER = itertools.count()


class Drivers(RuleBasedStateMachine):
    """Two mounts of the same layers."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp(prefix="rootless-random-"))
        self.base.chmod(0o755)
        self.arenas = []
        for name in "overlay", "cow":
            arena = Arena(ROOM[0], self.base / name, ["middle", "lower"], self.base / "log")
            arena.base.mkdir()
            arena.prepare()
            arena.in_room(make_layers)
            self.arenas.append(arena)
        self.overlay = Side(self.arenas[0], "overlay")
        self.cow = Side(self.arenas[1], "cow")

    def both(self, name: str, *arguments: Any) -> None:
        expected = self.overlay.call(name, *arguments)
        if name == "rename" and expected == "EXDEV":
            return
        found = self.cow.call(name, *arguments)
        assert found == expected, f"{name}{arguments}: cow {found}, overlay {expected}"

    @rule(path=PATHS, text=TEXT)
    def append(self, path: str, text: str) -> None:
        self.both("append", path, text)

    @rule(path=PATHS, text=TEXT)
    def overwrite(self, path: str, text: str) -> None:
        self.both("overwrite", path, text)

    @rule(path=PATHS)
    def create(self, path: str) -> None:
        self.both("create", path)

    @rule(path=PATHS)
    def unlink(self, path: str) -> None:
        self.both("unlink", path)

    @rule(path=PATHS)
    def mkdir(self, path: str) -> None:
        self.both("mkdir", path)

    @rule(path=PATHS)
    def rmdir(self, path: str) -> None:
        self.both("rmdir", path)

    @rule(one=PATHS, other=PATHS, flags=st.sampled_from([0, 0, 0, 1, 2]))
    def rename(self, one: str, other: str, flags: int) -> None:
        self.both("rename", one, other, flags)

    @rule(one=PATHS, other=PATHS)
    def link(self, one: str, other: str) -> None:
        self.both("link", one, other)

    @rule(path=PATHS)
    def symlink(self, path: str) -> None:
        self.both("symlink", "file", path)

    @rule(path=PATHS, mode=st.sampled_from([0o600, 0o4755, 0o2755, 0o1777]))
    def chmod(self, path: str, mode: int) -> None:
        self.both("chmod", path, mode)

    @rule(path=PATHS, uid=NUMBERS, gid=NUMBERS)
    def chown(self, path: str, uid: int, gid: int) -> None:
        self.both("chown", path, uid, gid)

    @rule(path=PATHS, size=st.sampled_from([0, 3, 10000]))
    def truncate(self, path: str, size: int) -> None:
        self.both("truncate", path, size)

    @rule(path=PATHS, name=st.sampled_from(["user.a", "user.overlay.b"]), value=st.sampled_from([b"", b"1"]))
    def setxattr(self, path: str, name: str, value: bytes) -> None:
        self.both("setxattr", path, name, value)

    @rule(path=PATHS, name=st.sampled_from(["user.a", "user.color", "user.kind"]))
    def removexattr(self, path: str, name: str) -> None:
        self.both("removexattr", path, name)

    @rule(number=NUMBERS, path=PATHS)
    def hold(self, number: int, path: str) -> None:
        self.both("hold", number, path)

    @rule(number=NUMBERS)
    def drop(self, number: int) -> None:
        self.both("drop", number)

    @rule(number=NUMBERS, offset=st.sampled_from([0, 2, 9000]), text=TEXT)
    def write_held(self, number: int, offset: int, text: str) -> None:
        self.both("write_held", number, offset, text)

    @rule(number=NUMBERS, mode=st.sampled_from([0o600, 0o6755]))
    def chmod_held(self, number: int, mode: int) -> None:
        self.both("chmod_held", number, mode)

    @rule(path=PATHS)
    def look(self, path: str) -> None:
        self.both("look", path)

    @invariant()
    def the_same_tree(self) -> None:
        self.both("everything")

    def teardown(self) -> None:
        codes = self.overlay.close(), self.cow.close()
        try:
            assert codes == (0, 0)
            assert "Traceback" not in (self.base / "log").read_text()
            self._compare_remounted()
        finally:
            for arena in self.arenas:
                arena.in_room(partial(shutil.rmtree, arena.base, ignore_errors=True))
            shutil.rmtree(self.base)

    def _compare_remounted(self) -> None:
        """The upper directories mean the same to either driver."""
        see: Callable[[], dict[str, object]] = partial(manifest, ".")
        expected = self.arenas[0].container("overlay", see)
        assert self.arenas[1].container("cow", see) == expected
        assert self.arenas[1].container("overlay", see) == expected
        assert self.arenas[0].container("cow", see) == expected


def check(room: int, examples: int, steps: int) -> None:
    """Run the state machine."""
    ROOM[:] = [room]
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Drivers, settings=chosen)  # type: ignore[no-untyped-call]


def test_random_operations(room: int) -> None:
    check(room, examples=12, steps=30)


@pytest.mark.long
def test_many_random_operations(room: int) -> None:
    check(room, examples=400, steps=60)
