"""What a container has mounted beside its image, as steps of the plan: volumes, the machine's directories, overlays.

All of them are ordered by the depth of their targets, whatever the order in which they were asked for: what is mounted
deeper would be hidden by what is mounted above it later.
"""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import msgspec

from ..container.mounts import Mount
from ..container.record import Record
from ..errors import InvalidError, RootlessError
from ..idmap import IdMap
from ..kernel import fs
from ..kernel import mount as m
from ..volumes.options import Backing, Device, Memory
from .mountpoint import MountPoint, Root, attach_tree, open_inside
from .ownership import Giver
from .rootfs import Bind, Operation
from .tmpfs import Tmpfs

PROPAGATION = {
    "": m.MS_PRIVATE,
    "private": m.MS_PRIVATE,
    "rprivate": m.MS_PRIVATE,
    "slave": m.MS_SLAVE,
    "rslave": m.MS_SLAVE,
    "shared": m.MS_SHARED,
    "rshared": m.MS_SHARED,
}
FLAGS = {"noexec": m.MOUNT_ATTR_NOEXEC, "nosuid": m.MOUNT_ATTR_NOSUID, "nodev": m.MOUNT_ATTR_NODEV}

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


class Fill(msgspec.Struct, frozen=True):
    """Lock a volume until execve(2), and fill it if it is empty and the image holds something at one of `targets`."""

    volume: str
    directory: str
    targets: tuple[str, ...] = ()
    device: str = ""

    def describe(self) -> str:
        return f"fill volume {self.volume} from {', '.join(self.targets)}" if self.targets else f"lock {self.volume}"

    def execute(self, root: Root) -> None:
        # The descriptor of the lock is left open: execve(2) closes it, when the monitor has its own.
        from ..volumes import fill  # loaded by `fills` already: here nothing can be any more

        sources = [partial(open_inside, root.fd, target, _DIRECTORY) for target in self.targets]
        fill.settle(self.directory, sources, self.device)


class Host(msgspec.Struct, frozen=True):
    """A directory or file of the machine's, or of a volume, at `mount.target`.

    Attributes:
        source: a path of the machine's, or one relative to the store.
        giver: gives the source to the container's user first; None for no change.
        memory: the tmpfs of a volume in memory.
    """

    mount: Mount
    source: str
    giver: Giver | None = None
    memory: Memory | None = None

    def describe(self) -> str:
        how = [self.mount.type, "ro" if self.mount.read_only else "", self.mount.propagation, self.mount.recursive]
        return f"{','.join(filter(None, [*how, *self.mount.flags]))} {self.source} on {self.mount.target}"

    def execute(self, root: Root) -> None:
        mount = self.mount
        with self._tree(root) as tree:
            if self.giver is not None:
                self.giver.give(tree, root, self.source)
            try:
                attach_tree(
                    tree,
                    root,
                    mount.target,
                    attributes=_attributes(mount),
                    deep=mount.recursive != "writable",
                    propagation=PROPAGATION[mount.propagation],
                )
            except NotADirectoryError as problem:
                raise _mismatch(self.source, mount.target) from problem

    @contextmanager
    def _tree(self, root: Root) -> Iterator[int]:
        """A detached copy of the source."""
        if self.key in root.borrowed:
            yield root.borrowed[self.key]
            return
        with self._open() as source:
            tree = self.copy(source, "", m.AT_EMPTY_PATH)
        try:
            yield tree
        finally:
            os.close(tree)

    @property
    def key(self) -> str:
        """What a copy that was made beforehand is called among `Root.borrowed`."""
        return f"machine:{self.mount.target}"

    def copy_of_memory(self) -> int:
        """The same of a volume in memory, by a process in the room."""
        from ..volumes import memory

        assert self.memory is not None
        try:
            return memory.copy(self.memory.namespace, self.mount.subpath)
        except OSError as problem:
            raise _no_subpath(self.mount, problem) from problem

    def copy(self, dirfd: int, path: str, flags: int = 0) -> int:
        """open_tree(2), with what is mounted below unless that shall be left out."""
        flags |= m.OPEN_TREE_CLONE | (0 if self.mount.recursive == "disabled" else m.AT_RECURSIVE)
        try:
            return m.open_tree(dirfd, path, flags)
        except OSError as problem:
            if problem.errno == errno.EINVAL and self.mount.recursive == "disabled":
                raise _locked_below(self.source) from problem
            raise

    @contextmanager
    def _open(self) -> Iterator[int]:
        with _opened(self.source) as top:
            if not self.mount.subpath:
                yield top
                return
            try:
                below = fs.openat2(
                    top, self.mount.subpath, os.O_PATH, resolve=fs.RESOLVE_BENEATH | fs.RESOLVE_NO_MAGICLINKS
                )
            except OSError as problem:
                raise _no_subpath(self.mount, problem) from problem
            try:
                yield below
            finally:
                os.close(below)


class Overlay(msgspec.Struct, frozen=True):
    """A directory of the machine's below a writable layer: what is changed there is changed in `upper`."""

    mount: Mount
    upper: str
    work: str
    giver: Giver | None = None

    def describe(self) -> str:
        return f"overlay {self.mount.source} below {self.upper} on {self.mount.target}"

    def execute(self, root: Root) -> None:
        with _opened(self.mount.source) as lower, _opened(self.upper) as upper, _opened(self.work) as work:
            parts = {"lowerdir": lower, "upperdir": upper, "workdir": work}
            data = ",".join(f"{name}=/proc/self/fd/{fd}" for name, fd in parts.items())
            flags = m.MS_RDONLY if self.mount.read_only and self.giver is None else 0
            with MountPoint(root, self.mount.target) as point:
                try:
                    m.mount("overlay", point.path, "overlay", flags | _mount_flags(self.mount), f"{data},userxattr")
                except OSError as problem:
                    raise _overlay_refused(self.mount.source, problem) from problem
        if self.giver is not None:
            self._give(root)

    def _give(self, root: Root) -> None:
        """Above the overlay: what belongs to the caller on the machine stays as it is."""
        assert self.giver is not None
        with MountPoint(root, self.mount.target) as point:
            self.giver.give(point.fd, root, self.mount.source)
            if self.mount.read_only:
                m.mount_setattr(point.fd, "", m.AT_EMPTY_PATH, m.MOUNT_ATTR_RDONLY)


def copies_of_memory(plan: Iterable[Operation]) -> dict[str, int]:
    """Descriptors on detached copies of volumes in memory, made by a process that is in the room."""
    return {op.key: op.copy_of_memory() for op in plan if isinstance(op, Host) and op.memory is not None}


def copies_for_root(plan: Iterable[Operation]) -> dict[str, int]:
    """Descriptors on detached copies of the machine's directories, made by real root before it enters the room: the
    subordinate id that its containers' root is may not walk to all of them. For others there are none: they are made
    inside, where the kernel locks what must not be changed there."""
    if os.geteuid() != 0:
        return {}
    hosts = [op for op in plan if isinstance(op, Host) and os.path.isabs(op.source)]
    return {host.key: host.copy(m.AT_FDCWD, host.source) for host in hosts}


def _attributes(mount: Mount) -> int:
    return (m.MOUNT_ATTR_RDONLY if mount.read_only else 0) | sum(
        FLAGS[flag] for flag in set(mount.flags) if flag in FLAGS
    )


def _mount_flags(mount: Mount) -> int:
    known = {"noexec": m.MS_NOEXEC, "nosuid": m.MS_NOSUID, "nodev": m.MS_NODEV}
    return sum(known[flag] for flag in set(mount.flags) if flag in known)


@contextmanager
def _opened(path: str) -> Iterator[int]:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        raise InvalidError(f'invalid mount config for type "bind": bind source path does not exist: {path}') from None
    except OSError as problem:
        raise RootlessError(f"{path} can't be mounted: {(problem.strerror or '').lower()}") from problem
    try:
        yield fd
    finally:
        os.close(fd)


def _no_subpath(mount: Mount, problem: OSError) -> RootlessError:
    reason = "it leads out of the volume" if problem.errno == errno.EXDEV else (problem.strerror or "").lower()
    return RootlessError(f"cannot access path {mount.subpath} of volume {mount.source}: {reason}")


def _mismatch(source: str, target: str) -> RootlessError:
    return RootlessError(
        f'error mounting "{source}" to rootfs at "{target}": not a directory: Are you trying to mount a directory '
        "onto a file (or vice-versa)? Check if the specified host path exists and is the expected type"
    )


def _locked_below(source: str) -> RootlessError:
    return RootlessError(
        f"{source} can't be mounted without what is mounted below it: a user namespace may not take that away",
        hint="leave bind-recursive=disabled out, or name a directory without submounts",
    )


def _overlay_refused(source: str, problem: OSError) -> RootlessError:
    if problem.errno == errno.EINVAL:
        return RootlessError(
            f"no overlay can be made over {source}: {(problem.strerror or '').lower()}",
            hint="something may be mounted below it, or the store's file system can't hold a writable layer",
        )
    return RootlessError(f"no overlay can be made over {source}: {(problem.strerror or '').lower()}")


def fills(record: Record, devices: Mapping[str, Backing], *, first: bool) -> list[Operation]:
    """What comes before all mounts: volumes are locked, in the order of their names so that no two containers wait for
    each other, and at a container's `first` start they may be filled. One in memory is not, as in Docker."""
    targets: dict[str, list[str]] = {}
    for mount in record.spec.mounts:
        if mount.type == "volume":
            found = targets.setdefault(mount.source, [])
            if first and not (mount.no_copy or mount.subpath or isinstance(devices.get(mount.source), Memory)):
                found.append(mount.target)
    if targets:
        from ..volumes import fill  # noqa: F401 - only where there are some: it takes 3 ms
    return [_fill(name, found, devices.get(name)) for name, found in sorted(targets.items())]


def _fill(name: str, targets: list[str], backing: Backing | None) -> Fill:
    if not isinstance(backing, Device):
        return Fill(name, f"volumes/{name}", tuple(targets))
    return Fill(name, f"volumes/{name}", () if backing.read_only else tuple(targets), backing.path)


def by_depth(record: Record, idmap: IdMap, own: Iterable[Bind], devices: Mapping[str, Backing]) -> list[Operation]:
    """The mounts that were asked for, and those of the engine's `own` that they leave room for.

    Args:
        devices: what volumes stand for that have no directory of their own, by the volumes' names.
    """
    spec = record.spec
    wanted: list[tuple[str, Operation]] = [(path, Tmpfs(path, options)) for path, options in spec.tmpfs.items()]
    for number, mount in enumerate(spec.mounts):
        wanted.append((mount.target, _operation(record, idmap, number, mount, devices)))
    taken = {posixpath.normpath(target) for target, _ in wanted}
    wanted = [(bind.target, bind) for bind in own if bind.target not in taken] + wanted
    return [operation for _, operation in sorted(wanted, key=lambda pair: depth(pair[0]))]


def depth(target: str) -> int:
    """How many names lead to a path."""
    return len([part for part in target.split("/") if part])


def _operation(record: Record, idmap: IdMap, number: int, mount: Mount, devices: Mapping[str, Backing]) -> Operation:
    spec = record.spec
    giver = Giver(spec.user, spec.group_add, idmap) if mount.own else None
    match mount.type:
        case "tmpfs":
            return Tmpfs(mount.target, mount.options)
        case "volume":
            device = devices.get(mount.source)
            if device is None:
                return Host(mount, f"volumes/{mount.source}/_data", giver)
            if isinstance(device, Memory):
                return Host(mount, f"volumes/{mount.source}", giver, memory=device)
            read_only, flags = mount.read_only or device.read_only, (*mount.flags, *device.flags)
            return Host(msgspec.structs.replace(mount, read_only=read_only, flags=flags), device.path, giver)
        case "overlay":
            own = f"containers/{record.id}/overlays/{number}"
            return Overlay(mount, mount.upper or f"{own}/upper", mount.work or f"{own}/work", giver)
        case _:
            return Host(mount, mount.source, giver)
