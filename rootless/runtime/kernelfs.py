"""The kernel's own file systems and the devices that every container has, as a part of its plan of mounts (rootfs.py).

proc, sysfs, mqueue and cgroup2 show the namespace of whoever mounts them, and only its owner may. Where a container has
the caller's namespace, the caller's mount is bound; where it has another container's, that one's is borrowed.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..container import sysctl
from ..kernel import mount as m
from .rootfs import Bind, Borrowed, FileSystem, Link, Mask, Operation, ReadOnly, Sysctl

MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
"""What Docker hides: it tells of the host or gives power over it, whatever the capabilities."""

READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
"""What Docker lets a container see and not write."""

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
"""A user namespace may not make device nodes: these are the host's own, bound."""

COMMON = m.MS_NOSUID | m.MS_NOEXEC | m.MS_NODEV


class Kernel(msgspec.Struct, frozen=True):
    """What a container sees of the kernel.

    Attributes:
        shm_size: bytes of /dev/shm; 0 for no such directory.
        tty_group: give terminals to group 5 (tty); needs that group to be in the id map.
        pid, network, ipc, cgroup: whether these namespaces are not the caller's.
        own_network: the network namespace is nobody else's either: it is no router unless `sysctls` says so.
        borrowed: paths at which another container's mount is to be.
        sysctls: kernel parameters.
        writable: /sys can be written as far as the user namespace allows.
        unmasked: nothing is hidden, and /proc/sys can be written as far as the user namespace allows.
    """

    shm_size: int = 64 << 20
    tty_group: bool = True
    pid: bool = True
    network: bool = True
    ipc: bool = True
    cgroup: bool = True
    own_network: bool = False
    borrowed: frozenset[str] = frozenset()
    sysctls: Mapping[str, str] = msgspec.field(default_factory=dict)
    writable: bool = False
    unmasked: bool = False

    def plan(self) -> list[Operation]:
        """The mounts, in order."""
        sys_flags = COMMON | (0 if self.writable else m.MS_RDONLY)
        plan = [
            FileSystem("proc", "/proc", COMMON) if self.pid else Bind("/proc", "/proc", COMMON, recursive=True),
            *self._dev(),
            *self._sys(sys_flags),
            *(Sysctl(name, "0", optional=True) for name in (sysctl.NO_ROUTER if self.own_network else ())),
            *(Sysctl(name, value) for name, value in self.sysctls.items()),
        ]
        if not self.unmasked:
            plan += [ReadOnly(path) for path in READ_ONLY]
            plan += [Mask(path) for path in MASKED]
        return plan

    def _dev(self) -> list[Operation]:
        pts = "newinstance,ptmxmode=0666,mode=0620" + (",gid=5" if self.tty_group else "")
        return [
            FileSystem("tmpfs", "/dev", m.MS_NOSUID | m.MS_STRICTATIME, "mode=755,size=65536k"),
            FileSystem("devpts", "/dev/pts", m.MS_NOSUID | m.MS_NOEXEC, pts),
            *self._shm(),
            *self._mqueue(),
            *(Bind(f"/dev/{name}", f"/dev/{name}", optional=True) for name in DEVICES),
            Link("pts/ptmx", "/dev/ptmx"),
            Link("/proc/self/fd", "/dev/fd"),
            Link("/proc/self/fd/0", "/dev/stdin"),
            Link("/proc/self/fd/1", "/dev/stdout"),
            Link("/proc/self/fd/2", "/dev/stderr"),
            Link("/proc/kcore", "/dev/core"),
        ]

    def _shm(self) -> list[Operation]:
        """POSIX shared memory is a directory, not a part of the namespace: whoever shares one must see the other."""
        if "/dev/shm" in self.borrowed:
            return [Borrowed("/dev/shm")]
        if not self.ipc:
            return [Bind("/dev/shm", "/dev/shm", COMMON)]
        return [FileSystem("tmpfs", "/dev/shm", COMMON, f"mode=1777,size={self.shm_size}")] if self.shm_size else []

    def _mqueue(self) -> list[Operation]:
        if "/dev/mqueue" in self.borrowed:
            return [Borrowed("/dev/mqueue")]
        if not self.ipc:
            return [Bind("/dev/mqueue", "/dev/mqueue", COMMON, optional=True)]
        return [FileSystem("mqueue", "/dev/mqueue", COMMON)]

    def _sys(self, flags: int) -> list[Operation]:
        if "/sys" in self.borrowed:
            sys: Operation = Borrowed("/sys")
        elif self.network:
            sys = FileSystem("sysfs", "/sys", flags)
        else:
            sys = Bind("/sys", "/sys", flags, recursive=True)
        if self.cgroup:
            # A kernel without cgroup v2 refuses; a container lives well without this directory.
            return [sys, FileSystem("cgroup2", "/sys/fs/cgroup", flags, optional=True)]
        return [sys, Bind("/sys/fs/cgroup", "/sys/fs/cgroup", flags, recursive=True, optional=True)]
