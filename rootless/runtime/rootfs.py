"""What a container's file system is made of: a plan of mounts as data, and its execution.

The plan is made before any namespace exists; `--debug` prints it and the tests compare it. PID 1 executes it in its own
mount namespace, still seeing the host's files. Every mount point is opened inside the container's root first
(openat2(2), RESOLVE_IN_ROOT) and the mount goes onto that descriptor: a symbolic link in the image leads nowhere else.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..container import sysctl
from ..errors import RootlessError
from ..kernel import fs
from ..kernel import mount as m


@dataclass(frozen=True)
class Root:
    """The mounted root of the container, by a descriptor (O_PATH) below which everything is looked up.

    `borrowed`: descriptors on detached mounts of other containers, by their path there.
    """

    fd: int
    borrowed: Mapping[str, int] = field(default_factory=dict)


class Operation(Protocol):
    """One step of the plan."""

    def describe(self) -> str:
        """The step as a line for people."""

    def execute(self, root: Root) -> None:
        """Do it.

        Raises:
            OSError, RootlessError: it failed; nothing that was done before is undone, the namespace goes as a whole.
        """


@dataclass(frozen=True)
class FileSystem:
    """Mount a kernel file system of `fstype` at `target`."""

    fstype: str
    target: str
    flags: int = 0
    data: str = ""
    optional: bool = False

    def describe(self) -> str:
        return f"mount {self.fstype} on {self.target} {_flag_names(self.flags)} {self.data}".rstrip()

    def execute(self, root: Root) -> None:
        with _MountPoint(root, self.target) as point:
            try:
                m.mount(self.fstype, point.path, self.fstype, self.flags, self.data or None)
            except OSError:
                if not self.optional:
                    raise


@dataclass(frozen=True)
class Bind:
    """Bind `source`, a path of the host's, to `target`, with flags set on the new mount alone.

    Attributes:
        optional: pass over it when there is no such source.
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
            is_directory = stat.S_ISDIR(os.stat(self.source).st_mode)
        except FileNotFoundError:
            if self.optional:
                return
            raise
        with _MountPoint(root, self.target, directory=is_directory) as point:
            m.mount(self.source, point.path, None, m.MS_BIND | (m.MS_REC if self.recursive else 0))
        if self.flags:
            with _MountPoint(root, self.target, directory=is_directory) as point:
                point.set_flags(self.flags, recursive=self.recursive)


@dataclass(frozen=True)
class Borrowed:
    """Put a copy of another container's mount of `target` there (joining.py)."""

    target: str

    def describe(self) -> str:
        return f"borrow {self.target}"

    def execute(self, root: Root) -> None:
        with _MountPoint(root, self.target) as point:
            m.move_mount(root.borrowed[self.target], point.fd)


@dataclass(frozen=True)
class Sysctl:
    """Set a kernel parameter (sysctl(8)) of a namespace that is the container's own. It comes after /proc."""

    name: str
    value: str

    def describe(self) -> str:
        return f"sysctl {self.name}={self.value}"

    def execute(self, root: Root) -> None:
        path = f"/proc/sys/{sysctl.path(self.name)}"
        with open(fs.openat2(root.fd, path, os.O_WRONLY, resolve=fs.RESOLVE_IN_ROOT), "w") as file:
            file.write(self.value)


@dataclass(frozen=True)
class Link:
    """A symbolic link at `target`."""

    value: str
    target: str

    def describe(self) -> str:
        return f"link {self.target} -> {self.value}"

    def execute(self, root: Root) -> None:
        parent, name = posixpath.split(self.target)
        with _MountPoint(root, parent) as point:
            os.symlink(self.value, name, dir_fd=point.fd)


@dataclass(frozen=True)
class ReadOnly:
    """Make what lies at `target` a read-only mount of its own."""

    target: str

    def describe(self) -> str:
        return f"read-only {self.target}"

    def execute(self, root: Root) -> None:
        with _MountPoint(root, self.target, missing_ok=True) as point:
            if point.fd < 0:
                return
            m.mount(point.path, point.path, None, m.MS_BIND | m.MS_REC)
        with _MountPoint(root, self.target) as point:
            point.set_flags(m.MS_RDONLY)


@dataclass(frozen=True)
class ReadOnlyRoot:
    """Make the root file system read-only, but not what is mounted in it."""

    def describe(self) -> str:
        return "read-only /"

    def execute(self, root: Root) -> None:
        m.mount_setattr(root.fd, "", m.AT_EMPTY_PATH, m.MOUNT_ATTR_RDONLY)


@dataclass(frozen=True)
class Mask:
    """Hide what lies at `target`: an empty read-only directory over a directory, the null device over a file."""

    target: str

    def describe(self) -> str:
        return f"mask {self.target}"

    def execute(self, root: Root) -> None:
        with _MountPoint(root, self.target, missing_ok=True) as point:
            if point.fd < 0:
                return
            if os.path.isdir(point.path):
                m.mount("tmpfs", point.path, "tmpfs", m.MS_RDONLY, "size=0k")
            else:
                m.mount("/dev/null", point.path, None, m.MS_BIND)


def _flag_names(flags: int) -> str:
    known = {"ro": m.MS_RDONLY, "nosuid": m.MS_NOSUID, "nodev": m.MS_NODEV, "noexec": m.MS_NOEXEC}
    return ",".join(name for name, bit in known.items() if flags & bit)


class _MountPoint:
    """A path inside the container's root, opened so that it can't lead out of it, and made when it is missing."""

    def __init__(self, root: Root, target: str, *, directory: bool = True, missing_ok: bool = False) -> None:
        self.root, self.target = root, target
        self.directory, self.missing_ok = directory, missing_ok
        self.fd = -1

    def __enter__(self) -> _MountPoint:
        try:
            self.fd = self._open()
        except FileNotFoundError:
            if not self.missing_ok:
                make_missing(self.root.fd, self.target, directory=self.directory)
                self.fd = self._open()
        return self

    def _open(self) -> int:
        return fs.openat2(self.root.fd, self.target, os.O_PATH, resolve=fs.RESOLVE_IN_ROOT | fs.RESOLVE_NO_MAGICLINKS)

    @property
    def path(self) -> str:
        """The magic link of the descriptor: the one path that no rename or link can turn elsewhere."""
        return f"/proc/self/fd/{self.fd}"

    def set_flags(self, flags: int, *, recursive: bool = False) -> None:
        """Add MS_ flags to the mount here; those that an outer namespace locked stay (mount_namespaces(7))."""
        attributes = 0
        for bit, attribute in _ATTRIBUTES.items():
            attributes |= attribute if flags & bit else 0
        m.mount_setattr(self.fd, "", m.AT_EMPTY_PATH | (m.AT_RECURSIVE if recursive else 0), attributes)

    def __exit__(self, *_: object) -> None:
        if self.fd >= 0:
            os.close(self.fd)


_ATTRIBUTES = {
    m.MS_RDONLY: m.MOUNT_ATTR_RDONLY,
    m.MS_NOSUID: m.MOUNT_ATTR_NOSUID,
    m.MS_NODEV: m.MOUNT_ATTR_NODEV,
    m.MS_NOEXEC: m.MOUNT_ATTR_NOEXEC,
}


MAX_LINKS = 40
"""How many symbolic links one path may lead through (path_resolution(7))."""


def make_missing(root_fd: int, target: str, *, directory: bool, mode: int = 0o755, links: int = MAX_LINKS) -> None:
    """Make the missing part of `target` inside the root: directories, and at its end a directory or an empty file.

    Existing parts are followed as the container itself would follow them, symbolic links inside the root. Where one
    leads to nowhere, what is missing there is made: /etc/resolv.conf may be a link into /run, which is empty.

    Raises:
        RootlessError: a part of the way is a file, or the links have no end.
    """
    parts = [p for p in target.split("/") if p and p != "."]
    where = fs.openat2(root_fd, ".", os.O_PATH | os.O_DIRECTORY)
    try:
        for depth, part in enumerate(parts):
            last = depth == len(parts) - 1
            so_far = "/" + "/".join(parts[: depth + 1])
            try:
                step = fs.openat2(root_fd, so_far, os.O_PATH, resolve=fs.RESOLVE_IN_ROOT | fs.RESOLVE_NO_MAGICLINKS)
            except FileNotFoundError:
                try:
                    _make(where, part, mode, directory=directory or not last)
                except FileExistsError:
                    if not links:
                        raise RootlessError(f"{so_far} in the container is a link without an end") from None
                    rest = (posixpath.dirname(so_far), os.readlink(part, dir_fd=where), *parts[depth + 1 :])
                    make_missing(root_fd, posixpath.join(*rest), directory=directory, mode=mode, links=links - 1)
                    return
                step = fs.openat2(where, part, os.O_PATH, resolve=fs.RESOLVE_NO_SYMLINKS)
            os.close(where)
            where = step
    except NotADirectoryError:
        raise RootlessError(f"{target} in the container leads through a file", hint="name another path") from None
    finally:
        os.close(where)


def _make(where: int, name: str, mode: int, *, directory: bool) -> None:
    if directory:
        os.mkdir(name, mode, dir_fd=where)
    else:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=where))


def user_tmpfs(tmpfs: dict[str, str]) -> list[Operation]:
    """`--tmpfs PATH[:OPTIONS]`, nosuid, nodev and noexec unless the options say otherwise, as Docker mounts it."""
    return [_tmpfs(path, options) for path, options in sorted(tmpfs.items(), key=lambda item: item[0].count("/"))]


_TMPFS_FLAGS = {
    "ro": (m.MS_RDONLY, True),
    "rw": (m.MS_RDONLY, False),
    "nosuid": (m.MS_NOSUID, True),
    "suid": (m.MS_NOSUID, False),
    "nodev": (m.MS_NODEV, True),
    "dev": (m.MS_NODEV, False),
    "noexec": (m.MS_NOEXEC, True),
    "exec": (m.MS_NOEXEC, False),
    "noatime": (m.MS_NOATIME, True),
    "relatime": (m.MS_RELATIME, True),
}
_TMPFS_DATA = ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "huge", "mpol")


def _tmpfs(path: str, options: str) -> FileSystem:
    flags, data = parse_tmpfs_options(options)
    return FileSystem("tmpfs", path, flags, data)


def parse_tmpfs_options(options: str) -> tuple[int, str]:
    """The options of --tmpfs as (mount flags, the file system's own option string); tmpfs(5).

    Raises:
        RootlessError: an option that tmpfs does not have.
    """
    flags = m.MS_NOSUID | m.MS_NODEV | m.MS_NOEXEC
    data = []
    for option in filter(None, options.split(",")):
        if option in _TMPFS_FLAGS:
            bit, on = _TMPFS_FLAGS[option]
            flags = flags | bit if on else flags & ~bit
        elif option.partition("=")[0] in _TMPFS_DATA and "=" in option:
            data.append(option)
        else:
            raise RootlessError(f'invalid tmpfs option "{option}"', hint="see tmpfs(5)")
    return flags, ",".join(data)


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
