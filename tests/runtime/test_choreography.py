"""The choreography the engine stands on, proved with nothing of the engine in it.

Every fact that the design takes from the kernel is danced here once with bare system calls: the room (one user
namespace, kept alive by a descriptor), a container's user namespace nested in it with the same map, overlayfs mounted
inside it, a FUSE mount whose descriptor travels to a server outside the container's mount and pid namespaces, PID 1 as
the monitor's own child, and what remains when each party is killed. When one of these fails on a new kernel, the
engine's own failures follow from it.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_PARENT = 0x20000, 0x10000000, 0x20000000, 0x8000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
SYS_CLONE = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
FUSE_INIT = 26

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def clone(flags: int) -> int:
    """fork(2) with namespaces: no stack given, so the child goes on here with a copy of ours."""
    return check(libc.syscall(SYS_CLONE, flags | signal.SIGCHLD, 0, 0, 0, 0))


def mount(source: str, target: str, fstype: str, flags: int = 0, data: str = "") -> None:
    check(libc.mount(source.encode(), target.encode(), fstype.encode(), ctypes.c_ulong(flags), data.encode() or None))


def child(body: Callable[[], int]) -> int:
    """Fork, run `body` as the child and leave with what it returns (99 when it raises)."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os._exit(body())
    except BaseException as problem:
        sys.stderr.write(f"child: {problem!r}\n")
        os._exit(99)


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def first_subid(path: str) -> int | None:
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    for line in Path(path).read_text().splitlines() if Path(path).exists() else []:
        name, start, _count = line.split(":")
        if name == user:
            return int(start)
    return None


@pytest.fixture
def room() -> int:
    """A descriptor on a user namespace with 65537 ids; nobody lives in it, the descriptor alone keeps it."""
    if os.getuid() == 0:
        pytest.skip("the room of an unprivileged caller is what is proved here")
    uids, gids = first_subid("/etc/subuid"), first_subid("/etc/subgid")
    if uids is None or gids is None:
        pytest.skip("no subordinate ids for this user")
    ready_read, ready_write = os.pipe()
    done_read, done_write = os.pipe()

    def first() -> int:
        check(libc.unshare(CLONE_NEWUSER))
        os.write(ready_write, b"x")
        os.close(done_write)
        os.read(done_read, 1)
        return 0

    pid = child(first)
    os.read(ready_read, 1)
    subprocess.run(["newuidmap", str(pid), "0", str(os.getuid()), "1", "1", str(uids), "65536"], check=True)
    subprocess.run(["newgidmap", str(pid), "0", str(os.getgid()), "1", "1", str(gids), "65536"], check=True)
    fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)
    os.close(done_write)
    assert exit_code(pid) == 0
    return fd


def enter_nested(
    room: int, flags: int, body: Callable[[], int], server: Callable[[], int] | None = None
) -> tuple[int, int]:
    """The stage's work: PID 1 (and a server in its user namespace only) as children of *this* process; both pids.

    The stage enters the room, clones PID 1 with CLONE_PARENT, writes its map from inside the room (the kernel lets only
    a process in the parent namespace do it), and ends: the monitor needs no helper program for a nested map.
    """
    go_read, go_write = os.pipe()
    report_read, report_write = os.pipe()

    def stage() -> int:
        check(libc.setns(room, CLONE_NEWUSER))
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        one = clone(flags | CLONE_NEWUSER | CLONE_PARENT)
        if one == 0:
            try:
                os.close(go_write)
                os.read(go_read, 1)
                os.setresgid(0, 0, 0)
                os.setresuid(0, 0, 0)
                check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
                os._exit(body())
            except BaseException as problem:
                sys.stderr.write(f"pid 1: {problem!r}\n")
                os._exit(99)
        # A range that spans two extents of the parent's map is refused (EPERM): one line for each of its lines.
        for kind in "uid_map", "gid_map":
            with open(f"/proc/{one}/{kind}", "w") as file:
                file.write("0 0 1\n1 1 65536\n")
        other = 0
        if server is not None:
            user = os.open(f"/proc/{one}/ns/user", os.O_RDONLY)
            other = clone(CLONE_PARENT)
            if other == 0:
                try:
                    check(libc.setns(user, CLONE_NEWUSER))
                    os._exit(server())
                except BaseException as problem:
                    sys.stderr.write(f"server: {problem!r}\n")
                    os._exit(99)
        os.write(report_write, struct.pack("ii", one, other))
        os.write(go_write, b"x")
        return 0

    assert exit_code(child(stage)) == 0
    os.close(go_write)
    return struct.unpack("ii", os.read(report_read, 8))


def overlay_tree(tmp_path: Path) -> Path:
    for name in "lower", "upper", "work", "merged":
        (tmp_path / name).mkdir()
    (tmp_path / "lower/hello").write_text("from the image\n")
    return tmp_path


def test_pid_one_is_the_monitors_own_child_and_its_exit_status_arrives(room: int) -> None:
    """CLONE_PARENT out of a stage that has already entered the room: waitpid here, no relay."""
    pid, _ = enter_nested(room, CLONE_NEWPID, lambda: os.getpid() * 7)
    assert exit_code(pid) == 7


def test_overlay_mounts_in_the_nested_namespace(room: int, tmp_path: Path) -> None:
    """A whiteout and a copy-up land in the upper directory; the lower one is never touched."""
    tree = overlay_tree(tmp_path)

    def body() -> int:
        mount("", "/", "", MS_REC | MS_PRIVATE)
        os.chdir(tree)
        mount("overlay", "merged", "overlay", 0, "lowerdir=lower,upperdir=upper,workdir=work,userxattr")
        assert Path("merged/hello").read_text() == "from the image\n"
        os.chown("merged/hello", 1, 1)
        os.unlink("merged/hello")
        return 0

    pid, _ = enter_nested(room, CLONE_NEWPID | CLONE_NEWNS, body)
    assert exit_code(pid) == 0
    assert (tree / "lower/hello").read_text() == "from the image\n"
    status = (tree / "upper/hello").lstat()
    assert (status.st_mode & 0o170000, status.st_rdev) == (0o020000, 0), "an overlay whiteout is char 0:0"


def answer_init(device: int) -> int:
    """Answer the kernel's FUSE_INIT, then ENOSYS until the mount is gone; the bare protocol, no libfuse."""
    served = 0
    while True:
        try:
            request = os.read(device, 1 << 20)
        except OSError as problem:
            if problem.errno in (2, 4):
                continue
            return 0 if problem.errno == 19 and served else 3  # ENODEV: unmounted
        _length, opcode, unique, node = struct.unpack_from("<IIQQ", request)
        served += 1
        if opcode == FUSE_INIT:
            reply = struct.pack("<IIIIHHIIHHIIH", 7, 31, 0, 0, 16, 12, 65536, 1, 16, 0, 0, 0, 0).ljust(64, b"\0")
        elif opcode == 3:  # GETATTR: the root is a directory
            attributes = (node, 0, 0, 0, 0, 0, 0, 0, 0, 0o040751, 2, 0, 0, 0, 512, 0)
            reply = struct.pack("<QII", 0, 0, 0) + struct.pack("<QQQQQQIIIIIIIIII", *attributes)
        else:
            os.write(device, struct.pack("<IiQ", 16, -38, unique))
            continue
        os.write(device, struct.pack("<IiQ", 16 + len(reply), 0, unique) + reply)


def fuse_container(room: int, tree: Path, then: Callable[[], int]) -> tuple[int, int]:
    """PID 1 mounts /dev/fuse that it opened itself and passes the descriptor to the server; returns (PID 1, server)."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def body() -> int:
        there.close()
        mount("", "/", "", MS_REC | MS_PRIVATE)
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
        mount("cow", str(tree / "merged"), "fuse", 0, options)
        socket.send_fds(here, [b"fuse"], [device])
        os.close(device)  # a duplicate left here would hang every client after the server's death
        here.close()
        return then()

    def server() -> int:
        here.close()
        _, fds, _, _ = socket.recv_fds(there, 16, 1)
        there.close()
        return answer_init(fds[0])

    pids = enter_nested(room, CLONE_NEWPID | CLONE_NEWNS, body, server)
    here.close()
    there.close()
    return pids


def test_a_fuse_mount_is_served_from_outside_and_ends_with_the_container(room: int, tmp_path: Path) -> None:
    """The server sees ENODEV and ends by itself when the container's mount namespace goes."""
    tree = overlay_tree(tmp_path)
    if not os.access("/dev/fuse", os.W_OK):
        pytest.skip("/dev/fuse may not be opened")
    pid, server = fuse_container(room, tree, lambda: 0 if os.stat(tree / "merged").st_mode == 0o040751 else 5)
    assert exit_code(pid) == 0
    assert exit_code(server) == 0


def test_a_killed_fuse_server_leaves_enotconn_and_not_a_hang(room: int, tmp_path: Path) -> None:
    tree = overlay_tree(tmp_path)
    if not os.access("/dev/fuse", os.W_OK):
        pytest.skip("/dev/fuse may not be opened")
    go_read, go_write = os.pipe()
    served_read, served_write = os.pipe()

    def then() -> int:
        os.stat(tree / "merged")
        os.write(served_write, b"x")
        os.read(go_read, 1)
        try:
            os.stat(tree / "merged")
        except OSError as problem:
            return problem.errno or 1
        return 0

    pid, server = fuse_container(room, tree, then)
    assert os.read(served_read, 1) == b"x"
    os.kill(server, signal.SIGKILL)
    assert exit_code(server) == -9
    os.write(go_write, b"x")
    assert exit_code(pid) == 107, "ENOTCONN"


def test_pid_one_dies_with_its_monitor(room: int) -> None:
    """PR_SET_PDEATHSIG, armed after the last change of credentials, reaches PID 1 of another pid namespace."""
    read, write = os.pipe()

    def monitor() -> int:
        pid, _ = enter_nested(room, CLONE_NEWPID, lambda: time.sleep(60) or 0)
        time.sleep(0.05)
        os.write(write, struct.pack("i", pid))
        time.sleep(60)
        return 0

    check(libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
    pid = child(monitor)
    (one,) = struct.unpack("i", os.read(read, 4))
    pidfd = os.pidfd_open(one)
    os.kill(pid, signal.SIGKILL)
    assert exit_code(pid) == -9
    assert select.select([pidfd], [], [], 5)[0], "PID 1 outlived its monitor"
    os.waitpid(one, 0)
    os.close(pidfd)
    check(libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0))


def test_kill_of_pid_one_takes_the_whole_container(room: int) -> None:
    """The kernel ends every process of a pid namespace with its PID 1: the pipe's last writer is gone."""
    read, write = os.pipe()

    def body() -> int:
        for _ in range(3):
            if os.fork() == 0:
                time.sleep(60)
        os.write(write, b"x")
        time.sleep(60)
        return 0

    pid, _ = enter_nested(room, CLONE_NEWPID, body)
    os.close(write)
    assert os.read(read, 1) == b"x"
    os.kill(pid, signal.SIGKILL)
    assert exit_code(pid) == -9
    assert select.select([read], [], [], 5)[0] and os.read(read, 1) == b""


def test_the_room_is_entered_through_another_processes_descriptor(room: int) -> None:
    """How a second container finds the room: /proc/<monitor>/fd/<n> of one that holds it; no daemon, no pin."""
    again = os.open(f"/proc/{os.getpid()}/fd/{room}", os.O_RDONLY)
    assert os.fstat(again).st_ino == os.fstat(room).st_ino
    pid, _ = enter_nested(again, CLONE_NEWPID, lambda: 3)
    assert exit_code(pid) == 3
