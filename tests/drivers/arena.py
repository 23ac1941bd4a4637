"""Where the drivers are compared: layers on disk, and a container's namespaces to mount them in and act on them.

As in the engine, a room (user namespace with the caller's subordinate ids) is made once; what happens "inside" happens
in a user namespace nested in it, with mount and pid namespaces of its own, and the cow server outside of those two.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rootless.fuse import server
from rootless.kernel import mount, namespaces, process

T = TypeVar("T")

DRIVERS = ("overlay", "cow", "fuse-overlayfs")


def first_subid(path: str) -> int | None:
    """The start of the caller's first range in /etc/subuid or /etc/subgid."""
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    for line in Path(path).read_text().splitlines() if Path(path).exists() else []:
        name, start, count = line.split(":")
        if name == user and int(count) >= 65536:
            return int(start)
    return None


def make_room() -> int:
    """A descriptor on a user namespace in which the caller is root and has 65536 more ids."""
    uids, gids = first_subid("/etc/subuid"), first_subid("/etc/subgid")
    assert uids is not None and gids is not None
    ready_read, ready_write = os.pipe()
    done_read, done_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(done_write)
        namespaces.unshare(namespaces.CLONE_NEWUSER)
        os.write(ready_write, b"x")
        os.read(done_read, 1)
        os._exit(0)
    os.read(ready_read, 1)
    subprocess.run(["newuidmap", str(pid), "0", str(os.getuid()), "1", "1", str(uids), "65536"], check=True)
    subprocess.run(["newgidmap", str(pid), "0", str(os.getgid()), "1", "1", str(gids), "65536"], check=True)
    fd = namespaces.open_namespace(pid, namespaces.CLONE_NEWUSER)
    for each in ready_read, ready_write, done_read, done_write:
        os.close(each)
    os.waitpid(pid, 0)
    return fd


def become_root() -> None:
    """Root of the user namespace that was just entered."""
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def deliver(write: int, work: Callable[[], object]) -> None:
    """Run `work` in this child and send its result (or what it raised) through `write`. Never returns."""
    try:
        try:
            answer = pickle.dumps((True, work()))
        except BaseException as problem:
            text = "".join(traceback.format_exception(problem))
            answer = pickle.dumps((False, text))
        with open(write, "wb") as file:
            file.write(answer)
    finally:
        os._exit(0)


def receive(read: int) -> Any:
    """The result of `deliver`."""
    with open(read, "rb") as file:
        answer = file.read()
    assert answer, "the child ended without an answer"
    succeeded, value = pickle.loads(answer)
    if not succeeded:
        raise AssertionError(f"in the container:\n{value}")
    return value


@dataclass
class Arena:
    """Layers below `base`, and the room."""

    room: int
    base: Path
    lowers: list[str] = field(default_factory=lambda: ["lower"])
    log: Path | None = None
    volatile: bool = False

    def prepare(self) -> None:
        """The directories of a mount."""
        for name in (*self.lowers, "upper", "work", "merged"):
            (self.base / name).mkdir(parents=True, exist_ok=True)

    def in_room(self, work: Callable[[], T]) -> T:
        """Run `work` as root of the room, with the layers' parent directory as the current one."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            namespaces.setns(self.room, namespaces.CLONE_NEWUSER)
            become_root()
            os.umask(0o022)
            os.chdir(self.base)
            deliver(write, work)
        os.close(write)
        try:
            result: T = receive(read)
        finally:
            os.waitpid(pid, 0)
        return result

    def config(self) -> server.Config:
        """What the cow server is told."""
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if self.log else None
        return server.Config(
            lowers=tuple(server.LayerSpec(str(self.base / name)) for name in self.lowers),
            upper=server.LayerSpec(str(self.base / "upper")),
            work=str(self.base / "work"),
            volatile=self.volatile,
            log=log,
        )

    def container(
        self,
        driver: str,
        work: Callable[[], T],
        *,
        config: Callable[[], server.Config] | None = None,
        started: Callable[[int, int], None] | None = None,
        outside: bool = False,
    ) -> T:
        """Mount with `driver` in a container's namespaces, run `work` there with the mount as the current directory.

        Args:
            config: for cow, makes the server's configuration (in the server's process).
            outside: leave the cow server in the initial user namespace, as the caller.
            started: told the pids of PID 1 and of the server (0 without one), while `work` goes on.
        """
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        read, write = os.pipe()
        report_read, report_write = os.pipe()
        keeper = self._serve_outside(here, there, (read, write, report_read, report_write), config) if outside else 0
        stage = os.fork()
        if stage == 0:
            try:
                os.close(read)
                served = None if outside else config or self.config
                os._exit(self._stage(driver, work, here, there, write, served, report_write))
            except BaseException:
                traceback.print_exc()
                os._exit(99)
        for each in write, report_write:
            os.close(each)
        here.close()
        there.close()
        pids = os.read(report_read, 8)
        os.close(report_read)
        if started is not None and len(pids) == 8:
            started(*struct.unpack("ii", pids))
        try:
            result: T = receive(read)
        finally:
            status = os.waitstatus_to_exitcode(os.waitpid(stage, 0)[1])
            if keeper:
                status = status or os.waitstatus_to_exitcode(os.waitpid(keeper, 0)[1])
        assert status == 0, f"the stage ended with {status}"
        return result

    def _stage(
        self,
        driver: str,
        work: Callable[[], object],
        here: socket.socket,
        there: socket.socket,
        write: int,
        config: Callable[[], server.Config] | None,
        report: int,
    ) -> int:
        """The stage: enters the room, makes PID 1 and the server, waits for both. Gives the server's exit code."""
        namespaces.setns(self.room, namespaces.CLONE_NEWUSER)
        become_root()
        process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
        go_read, go_write = os.pipe()
        flags = namespaces.CLONE_NEWUSER | namespaces.CLONE_NEWNS | namespaces.CLONE_NEWPID
        one = namespaces.clone(flags)
        if one == 0:
            os.close(go_write)
            os.close(report)
            there.close()
            os.read(go_read, 1)
            become_root()
            process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
            deliver(write, lambda: self._inside(driver, work, here))
        for kind in "uid_map", "gid_map":
            Path(f"/proc/{one}/{kind}").write_text("0 0 1\n1 1 65536\n")
        daemon = 0
        if driver == "cow" and config is not None:
            user = namespaces.open_namespace(one, namespaces.CLONE_NEWUSER)
            daemon = os.fork()
            if daemon == 0:
                os.close(write)
                os.close(report)
                os.close(go_write)
                self._serve(user, here, there, config)
        os.write(report, struct.pack("ii", one, daemon))
        os.close(report)
        os.close(write)
        here.close()
        there.close()
        os.write(go_write, b"x")
        os.waitpid(one, 0)
        if not daemon:
            return 0
        status = os.waitstatus_to_exitcode(os.waitpid(daemon, 0)[1])
        return 0 if status == -signal.SIGKILL else status

    def _serve_outside(
        self,
        here: socket.socket,
        there: socket.socket,
        unwanted: tuple[int, ...],
        config: Callable[[], server.Config] | None,
    ) -> int:
        pid = os.fork()
        if pid == 0:
            for each in unwanted:
                os.close(each)
            here.close()
            server.prepare()
            _, fds, _, _ = socket.recv_fds(there, 16, 1)
            there.close()
            server.serve(fds[0], (config or self.config)())
        return pid

    @staticmethod
    def _serve(user: int, here: socket.socket, there: socket.socket, config: Callable[[], server.Config]) -> None:
        namespaces.setns(user, namespaces.CLONE_NEWUSER)
        os.close(user)
        here.close()
        server.prepare()
        _, fds, _, _ = socket.recv_fds(there, 16, 1)
        there.close()
        server.serve(fds[0], config())

    def _inside(self, driver: str, work: Callable[[], T], here: socket.socket) -> T:
        mount.mount(None, "/", None, mount.MS_REC | mount.MS_PRIVATE)
        mount.mount("proc", "/proc", "proc")
        os.chdir(self.base)
        options = f"lowerdir={':'.join(self.lowers)},upperdir=upper,workdir=work"
        options += ",volatile" if self.volatile else ""
        if driver == "overlay":
            mount.mount("overlay", "merged", "overlay", 0, f"{options},userxattr")
        elif driver == "cow":
            device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
            mount.mount("cow", "merged", "fuse", 0, server.mount_options(device))
            socket.send_fds(here, [b"fuse"], [device])
            os.close(device)
        else:
            subprocess.run(["fuse-overlayfs", "-o", options, "merged"], check=True)
        here.close()
        os.chdir("merged")
        os.umask(0o022)
        try:
            return work()
        finally:
            os.chdir("/")
            if driver == "fuse-overlayfs":
                mount.umount(str(self.base / "merged"), mount.MNT_DETACH)
            sys.stdout.flush()


def wait_for(condition: Callable[[], bool], seconds: float = 5) -> bool:
    """Poll until `condition` holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return condition()
