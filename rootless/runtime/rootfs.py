"""What a container's file system is made of: a plan of mounts as data, and its execution.

The plan is made before any namespace exists; `--debug` prints it and the tests compare it. PID 1 executes it in its own
mount namespace, still seeing the host's files. Every mount point is opened inside the container's root first
(openat2(2), RESOLVE_IN_ROOT) and the mount goes onto that descriptor: a symbolic link in the image leads nowhere else.
"""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Sequence
from typing import Protocol

import msgspec

from ..container import sysctl
from ..errors import RootlessError
from ..kernel import mount as m
from .mountpoint import MountPoint, Root, attach, attributes, make_missing, open_inside


class Operation(Protocol):
    """One step of the plan."""

    def describe(self) -> str:
        """The step as a line for people."""

    def execute(self, root: Root) -> None:
        """Do it.

        Raises:
            OSError, RootlessError: it failed; nothing that was done before is undone, the namespace goes as a whole.
        """


class FileSystem(msgspec.Struct, frozen=True):
    """Mount a kernel file system of `fstype` at `target`."""

    fstype: str
    target: str
    flags: int = 0
    data: str = ""
    optional: bool = False

    def describe(self) -> str:
        return f"mount {self.fstype} on {self.target} {_flag_names(self.flags)} {self.data}".rstrip()

    def execute(self, root: Root) -> None:
        with MountPoint(root, self.target) as point:
            try:
                m.mount(self.fstype, point.path, self.fstype, self.flags, self.data or None)
            except OSError:
                if not self.optional:
                    raise


class Bind(msgspec.Struct, frozen=True):
    """Bind `source`, a path of the host's, to `target`, with flags set on the new mount alone.

    Attributes:
        optional: pass over it when there is no such source, or no place for it in what is mounted read-only.
        recursive: bring the submounts of `source` along; `flags` then reach them too.
    """

    source: str
    target: str
    flags: int = 0
    recursive: bool = False
    optional: bool = False

    def describe(self) -> str:
        return (
            f"{'rbind' if self.recursive else 'bind'} {self.source} on {self.target} {_flag_names(self.flags)}".rstrip()
        )

    def execute(self, root: Root) -> None:
        try:
            source = os.open(self.source, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            if self.optional:
                return
            raise
        try:
            attach(source, root, self.target, attributes=attributes(self.flags), recursive=self.recursive)
        except OSError as problem:
            if not (self.optional and problem.errno == errno.EROFS):
                raise
        finally:
            os.close(source)


class Borrowed(msgspec.Struct, frozen=True):
    """Put a copy of another container's mount of `target` there (joining.py)."""

    target: str

    def describe(self) -> str:
        return f"borrow {self.target}"

    def execute(self, root: Root) -> None:
        with MountPoint(root, self.target) as point:
            m.move_mount(root.borrowed[self.target], point.fd)


class Sysctl(msgspec.Struct, frozen=True):
    """Set a kernel parameter (sysctl(8)) of a namespace that is the container's own. It comes after /proc."""

    name: str
    value: str
    optional: bool = False

    def describe(self) -> str:
        return f"sysctl {self.name}={self.value}"

    def execute(self, root: Root) -> None:
        path = f"/proc/sys/{sysctl.path(self.name)}"
        try:
            fd = open_inside(root.fd, path, os.O_WRONLY)
        except FileNotFoundError:
            if self.optional:  # a kernel without IPv6
                return
            raise
        with open(fd, "w") as file:
            file.write(self.value)


class Link(msgspec.Struct, frozen=True):
    """A symbolic link at `target`."""

    value: str
    target: str

    def describe(self) -> str:
        return f"link {self.target} -> {self.value}"

    def execute(self, root: Root) -> None:
        parent, name = posixpath.split(self.target)
        with MountPoint(root, parent) as point:
            os.symlink(self.value, name, dir_fd=point.fd)


class Directory(msgspec.Struct, frozen=True):
    """Make the directory `target`, and what is missing above it, where it is not there."""

    target: str

    def describe(self) -> str:
        return f"make the directory {self.target}"

    def execute(self, root: Root) -> None:
        make_missing(root.fd, self.target, directory=True)


class ReadOnly(msgspec.Struct, frozen=True):
    """Make what lies at `target` a read-only mount of its own."""

    target: str

    def describe(self) -> str:
        return f"read-only {self.target}"

    def execute(self, root: Root) -> None:
        with MountPoint(root, self.target, missing_ok=True) as point:
            if point.fd < 0:
                return
            attach(point.fd, root, self.target, attributes=m.MOUNT_ATTR_RDONLY, recursive=True, deep=False)


class ReadOnlyRoot(msgspec.Struct, frozen=True):
    """Make the root file system read-only, but not what is mounted in it."""

    def describe(self) -> str:
        return "read-only /"

    def execute(self, root: Root) -> None:
        m.mount_setattr(root.fd, "", m.AT_EMPTY_PATH, m.MOUNT_ATTR_RDONLY)


class Mask(msgspec.Struct, frozen=True):
    """Hide what lies at `target`: an empty read-only directory over a directory, the null device over a file."""

    target: str

    def describe(self) -> str:
        return f"mask {self.target}"

    def execute(self, root: Root) -> None:
        with MountPoint(root, self.target, missing_ok=True) as point:
            if point.fd < 0:
                return
            if os.path.isdir(point.path):
                m.mount("tmpfs", point.path, "tmpfs", m.MS_RDONLY, "size=0k")
            else:
                m.mount("/dev/null", point.path, None, m.MS_BIND)


def _flag_names(flags: int) -> str:
    known = {"ro": m.MS_RDONLY, "nosuid": m.MS_NOSUID, "nodev": m.MS_NODEV, "noexec": m.MS_NOEXEC}
    return ",".join(name for name, bit in known.items() if flags & bit)


def execute(plan: Sequence[Operation], root: Root) -> None:
    """Run the plan in order.

    Raises:
        RootlessError: names the step that failed and the kernel's reason.
    """
    for operation in plan:
        try:
            operation.execute(root)
        except OSError as problem:
            raise RootlessError(f"{operation.describe()}: {problem.strerror}") from problem
