"""Whose namespaces a container has, and which ids: what the options mean, without any namespace."""

from __future__ import annotations

import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.cli.namespace_options import read_namespaces
from rootless.container import sharing, sysctl, userns
from rootless.errors import RootlessError, UnavailableError, UsageError
from rootless.idmap import Extent, IdMap, keeping
from rootless.runtime.kernelfs import Kernel

ROOM = IdMap((Extent(0, 1015, 1), Extent(1, 100000, 65536)), (Extent(0, 1015, 1), Extent(1, 100000, 65536)))


@pytest.mark.parametrize(
    ("option", "text"), [("pid", "host"), ("ipc", "shareable"), ("pid", "container:x"), ("uts", "")]
)
def test_modes(option: str, text: str) -> None:
    assert sharing.check(option, text) == text


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("pid", "private", "--pid: invalid PID mode"),
        ("pid", "container:", "--pid: invalid PID mode"),
        ("uts", "container:x", "--uts: invalid UTS mode"),
        ("cgroupns", "x", "--cgroupns: invalid CGROUP mode"),
        ("ipc", "what", "invalid IPC mode: what"),
    ],
)
def test_modes_that_are_none(option: str, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sharing.check(option, text)


def test_a_donor_is_kept_by_its_id() -> None:
    assert sharing.resolved("container:web", lambda name: f"id of {name}") == "container:id of web"
    assert sharing.resolved("host", lambda _: "never") == "host"


@given(st.integers(0, 70000))
def test_keep_id_gives_each_id_of_the_room_one_place(kept: int) -> None:
    """The kernel takes no map in which two lines overlap, and no line that spans two of the room's."""
    extents = keeping(ROOM, kept, kept).uids
    inside = [number for e in extents for number in (e.inside, e.inside + e.count - 1)]
    assert inside == sorted(inside)
    assert all(a.inside + a.count <= b.inside for a, b in itertools.pairwise(extents))
    assert sorted((e.outside, e.count) for e in extents if e.outside == 0) == [(0, 1)]
    covered = sorted((e.outside, e.count) for e in extents if e.outside)
    assert sum(count for _, count in covered) == 65536
    assert covered[0][0] == 1
    (mine,) = [e for e in extents if e.outside == 0]
    assert mine.inside == kept


@pytest.mark.parametrize("uid", [1000, 70000])
def test_keep_id_texts(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(os, "getegid", lambda: 100)
    mode = userns.parse("keep-id")
    assert userns.kept(mode) == userns.Ids(uid, 100)
    assert userns.default_user(mode) == f"{uid}:100"
    assert userns.parse(mode) == mode, "a record's text is one that could be given"
    assert userns.kept(userns.parse("keep-id:gid=7,uid=5")) == userns.Ids(5, 7)
    assert (userns.kept(userns.parse("host")), userns.default_user("")) == (None, "")
    for wrong in "auto", "keep-ids", "private", "container:x":
        with pytest.raises(UsageError, match="--userns: invalid USER mode"):
            userns.parse(wrong)
    for wrong in "keep-id:uid=-1", "keep-id:size=3", "keep-id:uid":
        with pytest.raises(UsageError, match="unknown option specified"):
            userns.parse(wrong)


def test_root_and_a_single_id_have_no_keep_id(monkeypatch: pytest.MonkeyPatch) -> None:
    single = IdMap((Extent(0, 1015, 1),), (Extent(0, 1015, 1),), "no ranges")
    with pytest.raises(UnavailableError, match="needs more ids than the one there is; no ranges"):
        userns.nested("keep-id:uid=1015,gid=1015", single)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(UnavailableError, match="only supported in rootless mode"):
        userns.parse("keep-id")
    with pytest.raises(UnavailableError, match="root of the machine"):
        userns.parse("host")


@pytest.mark.parametrize(
    ("text", "name", "path"),
    [
        ("net.ipv4.ip_forward=1", "net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/core/somaxconn=1", "net.core.somaxconn", "net/core/somaxconn"),
        ("net.ipv4.conf.eth0/1.forwarding=1", "net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ("fs.mqueue.msg_max=1", "fs.mqueue.msg_max", "fs/mqueue/msg_max"),
    ],
)
def test_sysctls(text: str, name: str, path: str) -> None:
    assert sysctl.parse(text) == (name, "1")
    assert sysctl.path(name) == path


@pytest.mark.parametrize(
    "text", ["kernel.panic=1", "net.ipv4.ip_forward", "kernel.shm=1", "net.//.//.kernel.panic=1", "net..x=1", "=1", ""]
)
def test_sysctls_that_are_nobodys_to_give(text: str) -> None:
    with pytest.raises(UsageError, match="is not allowed"):
        sysctl.parse(text)


def test_sysctls_of_the_callers_namespaces() -> None:
    with pytest.raises(UsageError, match="not allowed in host network namespace"):
        sysctl.require_own({"net.x": "1"}, network="host", ipc="")
    with pytest.raises(UsageError, match="not allowed in host ipc namespace"):
        sysctl.require_own({"kernel.sem": "1"}, network="none", ipc="host")


def options(**given: object) -> dict[str, object]:
    nothing: dict[str, object] = {"pid": "", "ipc": "", "uts": "", "cgroupns": "", "userns": "", "hostname": ""}
    return read_namespaces(nothing | {"sysctl": (), "device": (), "annotation": ()} | given)


def test_devices() -> None:
    (one,) = options(device=("/dev/null:/dev/nothing:rwm",))["devices"]  # type: ignore[misc]
    assert (one.host, one.container) == ("/dev/null", "/dev/nothing")
    (plain,) = options(device=("/dev/null:rw",))["devices"]  # type: ignore[misc]
    assert (plain.host, plain.container) == ("/dev/null", "/dev/null")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"device": ("/dev/null:r",)}, "a device can't be limited to 'r'"),
        ({"device": ("null",)}, "bad format for path"),
        ({"device": ("/dev/nosuch",)}, 'adding custom device "/dev/nosuch": no such file or directory'),
        ({"device": ("/etc/passwd",)}, "not a device node"),
        ({"uts": "host", "hostname": "x"}, "conflicting options: hostname and the UTS mode"),
        ({"annotation": ("=x",)}, "the empty string is not permitted as an annotation key"),
    ],
)
def test_what_can_not_be_meant(given: dict[str, object], message: str) -> None:
    with pytest.raises(RootlessError, match=message):
        options(**given)


@pytest.mark.parametrize(
    ("kernel", "there", "not_there"),
    [
        (Kernel(), ["mount proc on /proc", "mount sysfs on /sys", "mask /proc/kcore"], ["bind /dev/shm"]),
        (Kernel(pid=False), ["rbind /proc on /proc"], ["mount proc"]),
        (Kernel(network=False), ["rbind /sys on /sys"], ["mount sysfs"]),
        (
            Kernel(ipc=False),
            ["bind /dev/shm on /dev/shm", "bind /dev/mqueue"],
            ["mount mqueue", "mount tmpfs on /dev/shm"],
        ),
        (Kernel(cgroup=False), ["rbind /sys/fs/cgroup"], ["mount cgroup2"]),
        (Kernel(shm_size=0), ["mount mqueue"], ["/dev/shm"]),
        (Kernel(borrowed=frozenset({"/dev/shm", "/sys"})), ["borrow /dev/shm", "borrow /sys"], ["mount sysfs"]),
        (Kernel(unmasked=True), ["mount proc"], ["mask", "read-only /proc"]),
        (Kernel(sysctls={"net.x": "1"}), ["sysctl net.x=1"], ["ip_forward"]),
        (Kernel(own_network=True), ["sysctl net.ipv4.ip_forward=0", "sysctl net.ipv6.conf.all.forwarding=0"], []),
    ],
)
def test_the_kernels_file_systems(kernel: Kernel, there: list[str], not_there: list[str]) -> None:
    plan = "\n".join(operation.describe() for operation in kernel.plan())
    assert [text for text in there if text not in plan] == []
    assert [text for text in not_there if text in plan] == []


def test_sysctls_come_before_proc_becomes_read_only() -> None:
    plan = [operation.describe() for operation in Kernel(sysctls={"net.x": "1"}).plan()]
    assert plan.index("sysctl net.x=1") < plan.index("read-only /proc/sys")
