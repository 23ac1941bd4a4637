"""RUN --mount=type=cache: directories that outlive a build, one or more for each id.

    build/mounts/<32 hex of the id>/id          the id
    build/mounts/<32 hex of the id>/lock-<n>    flock: shared by who uses data-<n> together, exclusive by who does alone
    build/mounts/<32 hex of the id>/data-<n>/   what is mounted; belongs to ids of the container

`shared` and `locked` are about data-0; `private` takes the first one that nobody has.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .. import locks, room
from ..idmap import IdMap
from ..paths import Paths
from ..storage.layers import let_through
from ..storage.remove import remove_tree
from ..storage.usage import tree_size


@dataclass(frozen=True)
class CacheMount:
    """What is asked of a cache.

    Attributes:
        mode, uid, gid: of a directory that has to be made.
        fill: puts something into a new one, given its path; None leaves it empty.
    """

    id: str
    sharing: str
    mode: int
    uid: int
    gid: int
    fill: Callable[[Path], None] | None = None


class CacheMounts:
    """The caches of one store."""

    def __init__(self, paths: Paths, idmap: IdMap) -> None:
        self._paths, self._idmap = paths, idmap

    @contextmanager
    def use(self, wanted: CacheMount) -> Iterator[Path]:
        """The directory of a cache, for the block."""
        directory = self._paths.build_mounts / hashlib.sha256(wanted.id.encode()).hexdigest()[:32]
        while (held := self._hold(directory, wanted)) is None:
            pass  # who held the lock has removed the cache, and the lock with it
        number, fd = held
        try:
            data = directory / f"data-{number}"
            if not data.exists():
                self._make(data, wanted)
            yield data
        finally:
            os.close(fd)

    def _hold(self, directory: Path, wanted: CacheMount) -> tuple[int, int] | None:
        """A directory's number, and the descriptor that holds its lock."""
        for made in self._paths.build_mounts.parent, self._paths.build_mounts, directory:
            made.mkdir(mode=0o700, exist_ok=True)
            let_through(made, self._idmap)
        with suppress(FileNotFoundError):
            (directory / "id").write_text(wanted.id)
            number, fd = self._lock(directory, wanted.sharing)
            if _is_at(directory / f"lock-{number}", fd):
                return number, fd
            os.close(fd)
        return None

    @staticmethod
    def _lock(directory: Path, sharing: str) -> tuple[int, int]:
        if sharing == "private":
            for number in itertools.count():
                fd = locks.try_lock(directory / f"lock-{number}")
                if fd is not None:
                    return number, fd
        with locks.lock(directory / "lock-0", shared=sharing != "locked") as fd:
            return 0, os.dup(fd)  # the lock belongs to the open file, which the copy keeps open (flock(2))

    def _make(self, data: Path, wanted: CacheMount) -> None:
        """Under another name first: of two that share a new cache, the second sees it whole."""
        draft = data.with_name(f"{data.name}.{os.urandom(4).hex()}")
        draft.mkdir(mode=0o700)
        try:
            if os.geteuid() != self._idmap.uids[0].outside:
                os.chown(draft, self._idmap.uids[0].outside, self._idmap.gids[0].outside)
            if wanted.fill is not None:
                wanted.fill(draft)
            self._inside(lambda: _own(draft, wanted))
            with suppress(OSError):  # ENOTEMPTY: the other one was faster
                os.rename(draft, data)
        finally:
            remove_tree(draft, self._room)

    def _inside(self, work: Callable[[], None]) -> None:
        fd = self._room()
        try:
            room.call(fd, work)
        finally:
            os.close(fd)

    def _room(self) -> int:
        return room.open_room(self._paths, self._idmap)

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Each cache's name on disk and how many bytes it takes."""
        with suppress(FileNotFoundError):
            for directory in sorted(self._paths.build_mounts.iterdir()):
                yield directory.name, tree_size(directory, self._room)

    def remove(self, name: str) -> int | None:
        """Remove a cache that nobody uses: how many bytes it took; None when somebody does."""
        directory = self._paths.build_mounts / name
        held = [locks.try_lock(path) for path in sorted(directory.glob("lock-*"))]
        try:
            if None in held:
                return None
            size = tree_size(directory, self._room)
            remove_tree(directory, self._room, tmp=self._paths.tmp)
            return size
        finally:
            for fd in held:
                if fd is not None:
                    os.close(fd)


def _own(path: Path, wanted: CacheMount) -> None:
    if wanted.uid or wanted.gid:
        os.chown(path, wanted.uid, wanted.gid)
    os.chmod(path, wanted.mode)


def _is_at(path: Path, fd: int) -> bool:
    """Whether the file behind a descriptor still has its name."""
    try:
        return path.stat().st_ino == os.fstat(fd).st_ino
    except FileNotFoundError:
        return False
