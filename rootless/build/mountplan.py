"""The steps of a container's plan that only builds have: files that exist in memory alone, and layers as a mount.

PID 1 executes them with the store as its working directory, like all others (runtime/rootfs.py). What they need for a
moment is mounted on a directory of the container's own, in its mount namespace: pivot_root(2) takes that out of sight,
and only what was attached to the root file system stays.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field

from ..errors import InvalidError, UnavailableError
from ..kernel import mount as m
from ..runtime.mountpoint import Root, attach, open_inside


@dataclass(frozen=True)
class Memory:
    """An empty file system in memory at `directory`, out of the container's sight."""

    directory: str

    def describe(self) -> str:
        return f"mount tmpfs on {self.directory}"

    def execute(self, root: Root) -> None:
        m.mount("tmpfs", self.directory, "tmpfs", m.MS_NOSUID | m.MS_NODEV, "mode=700")


@dataclass(frozen=True)
class File:
    """A read-only file at `target` whose content is on no disk.

    Attributes:
        path: where it is made, below a `Memory`.
        mode, uid, gid: as the container sees it.
    """

    path: str
    target: str
    mode: int
    uid: int
    gid: int
    content: bytes = field(repr=False)

    def describe(self) -> str:
        return f"file of {self.uid}:{self.gid} {self.mode:04o} on {self.target}"

    def execute(self, root: Root) -> None:
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(self.content)
            os.fchown(fd, self.uid, self.gid)
            os.fchmod(fd, self.mode)
        _attach(self.path, root, self.target, read_only=True)


@dataclass(frozen=True)
class Place:
    """A path of the machine's, or one relative to the store, at `target`; `inside` is looked up below `source`."""

    source: str
    target: str
    read_only: bool
    inside: str = ""

    def describe(self) -> str:
        return f"bind{',ro' if self.read_only else ''} {self.source} {self.inside} on {self.target}"

    def execute(self, root: Root) -> None:
        _attach(self.source, root, self.target, read_only=self.read_only, inside=self.inside)


@dataclass(frozen=True)
class Layers:
    """What unpacked layers show, at `target`.

    Attributes:
        links: the layers, top first, relative to the store.
        scratch: an empty directory to mount them on first.
        inside: the path in them that is meant.
        upper, work: directories for what is written, which is thrown away; empty for a read-only mount.
    """

    links: tuple[str, ...]
    scratch: str
    target: str
    inside: str
    upper: str = ""
    work: str = ""

    def describe(self) -> str:
        return f"layers {':'.join(self.links)} {self.inside} on {self.target}"

    def execute(self, root: Root) -> None:
        if len(self.links) == 1 and not self.upper:
            _attach(self.links[0], root, self.target, read_only=True, inside=self.inside)
            return
        options = f"lowerdir={':'.join(self.links)}"
        if self.upper:
            options += f",upperdir={self.upper},workdir={self.work}"
        try:
            m.mount("overlay", self.scratch, "overlay", 0, f"{options},userxattr")
        except OSError as problem:
            raise UnavailableError(
                f"the files of another stage can't be mounted: {problem.strerror}",
                hint="it takes the kernel's overlayfs; --storage-driver cow does without",
            ) from problem
        _attach(self.scratch, root, self.target, read_only=not self.upper, inside=self.inside)


def _attach(source: str, root: Root, target: str, *, read_only: bool, inside: str = "") -> None:
    """Mount what is at `inside` below `source`, found as in a root directory, at `target`."""
    top = os.open(source, os.O_PATH | os.O_CLOEXEC)
    try:
        fd = open_inside(top, inside, os.O_PATH) if inside.strip("/.") else os.dup(top)
    except FileNotFoundError:
        raise InvalidError(f'"/{inside.lstrip("/")}": not found') from None
    finally:
        os.close(top)
    try:
        attributes = m.MOUNT_ATTR_RDONLY if read_only else 0
        attach(fd, root, target, attributes=attributes, recursive=True)
    except OSError as problem:
        if problem.errno != errno.ENOTDIR:
            raise
        raise InvalidError(f"{target}: a directory can't be mounted on a file, nor a file on a directory") from problem
    finally:
        os.close(fd)
