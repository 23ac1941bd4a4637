"""RUN --mount=type=cache: directories that outlive a build, one or more for each cache.

    build/mounts/<32 hex>/id          the cache's id
    build/mounts/<32 hex>/lock        flock: shared by who uses any of what follows, exclusive to remove it
    build/mounts/<32 hex>/lock-<n>    flock: shared by who uses data-<n> together, exclusive by who does alone
    build/mounts/<32 hex>/data-<n>/   what is mounted; belongs to ids of the container
    build/mounts/<32 hex>/filling     flock: exclusive by who makes a data-<n>
    build/mounts/<32 hex>/data-<n>.*  one in the making; what a killed build has left goes with the next

`shared` and `locked` are about data-0; `private` takes the first one that nobody has. Whoever wants several caches
takes them in the order of their names, so that no two wait for each other.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from .. import locks, room
from ..idmap import IdMap
from ..paths import Paths
from ..storage.layers import let_through
from ..storage.remove import remove_tree
from ..storage.usage import tree_size

STRICTNESS = ("shared", "private", "locked")
"""From sharing with everybody to sharing with nobody: of two mounts of one cache in a RUN the stricter one counts."""


@dataclass(frozen=True)
class CacheMount:
    """What is asked of a cache.

    Attributes:
        mode, uid, gid: of its directory, when it is made; None for 0755 and root, or what it begins with.
        origin, source: the chain id of what it begins with, and the path there; both empty for nothing.
        fill: puts that into a new one, given its path; None leaves it empty.
    """

    id: str
    sharing: str
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    origin: str = ""
    source: str = ""
    fill: Callable[[Path], None] | None = None

    @property
    def name(self) -> str:
        """What it is called on disk. Of one id there are as many caches as ways to begin one, as in BuildKit."""
        begins = [self.origin, self.source, self.mode, self.uid, self.gid]
        asked = any(part not in (None, "") for part in begins)
        text = json.dumps([self.id, *begins]) if asked else self.id
        return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]


def joined(wanted: Iterable[CacheMount]) -> list[CacheMount]:
    """Each cache once, in the order in which they must be taken."""
    found: dict[str, CacheMount] = {}
    for each in wanted:
        other = found.setdefault(each.name, each)
        sharing = max(each.sharing, other.sharing, key=STRICTNESS.index)
        found[each.name] = replace(other, sharing=sharing)
    return [found[name] for name in sorted(found)]


class CacheMounts:
    """The caches of one store."""

    def __init__(self, paths: Paths, idmap: IdMap) -> None:
        self._paths, self._idmap = paths, idmap

    @contextmanager
    def use(self, wanted: CacheMount) -> Iterator[Path]:
        """The directory of a cache, for the block."""
        directory = self._paths.build_mounts / wanted.name
        with ExitStack() as held:
            while not self._enter(directory, held):
                pass  # who held the lock has removed the cache, and the lock with it
            (directory / "id").write_text(wanted.id, errors="surrogateescape")
            number, fd = self._lock(directory, wanted.sharing)
            held.callback(os.close, fd)
            data = directory / f"data-{number}"
            if not data.exists():
                self._make(data, wanted)
            yield data

    def _enter(self, directory: Path, held: ExitStack) -> bool:
        """Keep a cache from being removed; False when just that has happened."""
        for made in self._paths.build_mounts.parent, self._paths.build_mounts, directory:
            made.mkdir(mode=0o700, exist_ok=True)
            with suppress(FileNotFoundError):
                let_through(made, self._idmap)
        with suppress(FileNotFoundError), ExitStack() as here:
            fd = here.enter_context(locks.lock(directory / "lock", shared=True))
            if _is_at(directory / "lock", fd):
                held.enter_context(here.pop_all())
                return True
        return False

    @staticmethod
    def _lock(directory: Path, sharing: str) -> tuple[int, int]:
        """A directory's number, and the descriptor that holds its lock."""
        if sharing == "private":
            for number in itertools.count():
                fd = locks.try_lock(directory / f"lock-{number}")
                if fd is not None:
                    return number, fd
        with locks.lock(directory / "lock-0", shared=sharing != "locked") as fd:
            return 0, os.dup(fd)  # the lock belongs to the open file, which the copy keeps open (flock(2))

    def _make(self, data: Path, wanted: CacheMount) -> None:
        """Under another name first, so that one that has its name is whole."""
        with locks.lock(data.with_name("filling")):
            for left in data.parent.glob(f"{data.name}.*"):
                remove_tree(left, self._room)
            if data.exists():  # the other one was faster
                return
            draft = data.with_name(f"{data.name}.{os.urandom(4).hex()}")
            draft.mkdir(mode=0o700)
            try:
                if os.geteuid() != self._idmap.uids[0].outside:
                    os.chown(draft, self._idmap.uids[0].outside, self._idmap.gids[0].outside)
                if wanted.fill is not None:
                    wanted.fill(draft)
                self._inside(lambda: _own(draft, wanted))
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
        """Remove a cache that nobody uses: how many bytes it took; None when somebody does, or it has gone."""
        directory = self._paths.build_mounts / name
        try:
            fd = locks.try_lock(directory / "lock")
        except FileNotFoundError:
            return None
        if fd is None:
            return None
        try:
            size = tree_size(directory, self._room)
            remove_tree(directory, self._room, tmp=self._paths.tmp)
            return size
        finally:
            os.close(fd)


def _own(path: Path, wanted: CacheMount) -> None:
    if wanted.uid or wanted.gid:
        os.chown(path, wanted.uid or 0, wanted.gid or 0)
    if wanted.fill is None or wanted.mode is not None:  # what it begins with brings its own along
        os.chmod(path, 0o755 if wanted.mode is None else wanted.mode)


def _is_at(path: Path, fd: int) -> bool:
    """Whether the file behind a descriptor still has its name."""
    try:
        return path.stat().st_ino == os.fstat(fd).st_ino
    except FileNotFoundError:
        return False
