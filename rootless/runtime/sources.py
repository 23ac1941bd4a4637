"""What the monitor sees to before a start: that what shall be mounted is there, and stays while the container runs."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .. import atomic
from ..container.container import Container
from ..container.mounts import Mount, require_source
from ..errors import InvalidError, NotFoundError
from ..idmap import IdMap
from ..kernel.mount import propagation
from ..volumes.options import Backing, Device, Memory

if TYPE_CHECKING:
    from ..volumes.store import Volume


class Sources:
    """The sources of one container's mounts, under its monitor.

    Attributes:
        devices: what volumes stand for that have no directory of their own, by the volumes' names.
        warnings: what was asked for and can't be, each a line.
    """

    def __init__(self, container: Container, idmap: IdMap) -> None:
        self._container, self._idmap = container, idmap
        self._held: dict[str, int] = {}
        self._in_memory: list[Volume] = []
        self.devices: dict[str, Backing] = {}
        self.warnings: tuple[str, ...] = ()

    def prepare(self, room_fd: int = -1) -> None:
        """Make what is missing and may be made: volumes, directories of the machine's, writable layers of overlays.

        Args:
            room_fd: the room, for a container that is about to run; -1 for one whose files are only looked at.

        Raises:
            NotFoundError: a source that has to be there is not; in Docker's words.
        """
        mounts = self._container.spec.mounts
        self.warnings = ()
        if any(mount.type == "volume" for mount in mounts):
            self._prepare_volumes(mounts, room_fd)
        for number, mount in enumerate(mounts):
            if mount.type == "bind":
                prepare_bind(mount, self._idmap)
                _require_propagation(mount)
            elif mount.type == "overlay":
                self._prepare_overlay(number, mount)
            device = self.devices.get(mount.source)
            self.warnings += tuple(locked(mount, device.path if isinstance(device, Device) else mount.source))

    def _prepare_volumes(self, mounts: tuple[Mount, ...], room_fd: int) -> None:
        from ..container import volume_use
        from ..volumes.store import Volumes

        volumes = Volumes(self._container.paths)
        with volumes.using():
            volume_use.ensure(volumes, mounts)
            for mount in mounts:
                if mount.type == "volume":
                    volume = volumes.get(mount.source)
                    if volume.device:
                        self.devices[volume.name] = volume.device
                    if volume.in_memory:
                        self._prepare_memory(volume, room_fd)

    def _prepare_memory(self, volume: Volume, room_fd: int) -> None:
        from ..volumes import memory

        if room_fd < 0:
            self.devices[volume.name] = Memory()
        elif volume not in self._in_memory:
            fd = memory.take(self._container.paths, self._idmap, room_fd, volume)
            self.devices[volume.name] = Memory(fd)
            self._in_memory.append(volume)

    def release(self) -> None:
        """The container does not run any more: what no other one has in memory is gone."""
        for volume in self._in_memory:
            from ..volumes import memory

            memory.leave(self._container.paths, self._idmap, volume)
            backing = self.devices.pop(volume.name)
            assert isinstance(backing, Memory)
            os.close(backing.namespace)
        self._in_memory = []

    def _prepare_overlay(self, number: int, mount: Mount) -> None:
        require_source(mount)
        mode = stat.S_IMODE(os.stat(mount.source).st_mode)
        place = self._container.directory / "overlays" / str(number)
        if (place / "since").exists():
            return
        for name, bits in ("upper", mode), ("work", 0o700):
            (place / name).mkdir(parents=True, exist_ok=True)
            (place / name).chmod(bits)
            _give_to_root(place / name, self._idmap)
        since = str(time.time_ns()).encode()
        atomic.write(
            place / "since", since, tmp=self._container.paths.tmp, durable=not self._container.spec.auto_remove
        )

    def cloned(self, pid: int, namespaces: Mapping[str, int]) -> None:
        """Nothing is to be done yet."""

    def prepared(self) -> None:
        """Let everybody know that the volumes are mounted (volumes/fill.py). Lasts as long as this process."""
        for mount in self._container.spec.mounts:
            if mount.type == "volume" and mount.source not in self._held:
                path = self._container.paths.volumes / mount.source / "users"
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                fcntl.flock(fd, fcntl.LOCK_SH)
                self._held[mount.source] = fd


def prepare_bind(mount: Mount, idmap: IdMap) -> None:
    """Make the directory that `-v` names when there is nothing.

    Raises:
        NotFoundError: it must not be made (`--mount`).
        InvalidError: it can't be.
    """
    try:
        require_source(mount)
        return
    except NotFoundError:
        if not mount.create:
            raise
    new = [p for p in (Path(mount.source), *Path(mount.source).parents) if not os.path.lexists(p)]
    try:
        os.makedirs(mount.source, 0o755, exist_ok=True)
    except OSError as problem:
        reason = (problem.strerror or "").lower()
        raise InvalidError(
            f"error while creating mount source path '{mount.source}': mkdir {problem.filename}: {reason}"
        ) from problem
    for path in new:
        _give_to_root(path, idmap)


def _require_propagation(mount: Mount) -> None:
    """Raise Docker's InvalidError where nothing can come from the machine, or, for `shared`, go there."""
    if "slave" not in mount.propagation and "shared" not in mount.propagation:
        return
    point, fields = propagation(os.path.realpath(mount.source))
    if "shared:" in fields or ("slave" in mount.propagation and "master:" in fields):
        return
    kind = "shared or slave" if "slave" in mount.propagation else "shared"
    raise InvalidError(f"path {mount.source} is mounted on {point} but it is not a {kind} mount")


_LOCKS = {"exec": os.ST_NOEXEC, "suid": os.ST_NOSUID, "dev": os.ST_NODEV}


def locked(mount: Mount, source: str) -> Iterator[str]:
    """What was asked of a mount that the machine's own forbids: a user namespace may not clear such a flag
    (mount_namespaces(7)), so it stays."""
    asked = [flag for flag in mount.flags if flag in _LOCKS]
    if not asked or not os.path.isabs(source):
        return
    flags = os.statvfs(source).f_flag
    for flag in asked:
        if flags & _LOCKS[flag]:
            yield f"{source} is mounted no{flag} on this machine, and stays so at {mount.target}"


def _give_to_root(path: Path, idmap: IdMap) -> None:
    """What is made for a container belongs to its root, where that is not the caller."""
    owner = idmap.uids[0].outside, idmap.gids[0].outside
    if os.geteuid() == 0 and owner[0]:
        os.chown(path, *owner)
