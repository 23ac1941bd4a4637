"""The volumes of a store: one directory each, volumes/<name>/, drawn in docs/decisions/0013.

A volume is made complete under tmp/ and published by rename; it is taken away by rename, too. Whoever makes or starts
a container holds `volumes.lock` shared while it looks for its volumes, whoever removes one holds it alone.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from .. import atomic, events, idmap, locks, room
from ..errors import InvalidError, NotFoundError, StoreError
from ..paths import Paths
from ..storage.layers import let_through
from ..storage.remove import remove_tree
from . import options as local

DRIVER = "local"
DATA = "_data"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_LONGEST = 255  # NAME_MAX


class Document(msgspec.Struct, frozen=True, omit_defaults=True):
    """volume.json, written once.

    Attributes:
        created: RFC 3339, UTC.
        options: of --opt, as given.
        anonymous: nobody gave it a name.
    """

    created: str
    driver: str = DRIVER
    labels: dict[str, str] = {}
    options: dict[str, str] = {}
    anonymous: bool = False


class Volume(msgspec.Struct, frozen=True):
    """One volume."""

    name: str
    directory: Path
    document: Document

    @property
    def device(self) -> local.Device | None:
        """The directory of the machine's that it stands for; None when it has its own."""
        return local.device(self.document.options)

    @property
    def data(self) -> Path:
        """What is mounted: the volume's own directory, or the machine's that its options name."""
        return Path(self.device.path) if self.device else self.directory / DATA

    @property
    def own_data(self) -> bool:
        """Whether its content lies in the store."""
        return self.device is None and not self.in_memory

    @property
    def in_memory(self) -> bool:
        """Whether it is a tmpfs, from the first start that has it to the last end (memory.py)."""
        return local.is_tmpfs(self.document.options)


def validate(name: str) -> str:
    """A name as Docker takes it.

    Raises:
        InvalidError: it can't be one; in Docker's words.
    """
    if len(name) == 1:
        raise InvalidError(
            f"create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )
    if not _NAME.fullmatch(name):
        raise InvalidError(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )
    if len(name) > _LONGEST:
        raise InvalidError(f"create {name}: file name too long")
    return name


def new_name() -> str:
    """A name for a volume that was given none."""
    return os.urandom(32).hex()


class Volumes:
    """All volumes of a store."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths

    @contextmanager
    def using(self) -> Iterator[None]:
        """While the block runs no volume is removed."""
        self.paths.store.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locks.lock(self.paths.volumes_lock, shared=True):
            yield

    def create(
        self,
        name: str,
        *,
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
        anonymous: bool = False,
    ) -> Volume:
        """The volume of this name, made if there is none. What one that is there was made with stays.

        Raises:
            InvalidError: a name or an option that can't be one; in Docker's words.
        """
        validate(name)
        with suppress(NotFoundError):
            return self.get(name)
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        checked = local.check(options or {})
        document = Document(created, labels=dict(labels or {}), options=checked, anonymous=anonymous)
        if self._publish(name, document):
            events.emit(self.paths, "volume", "create", name, {"driver": DRIVER})
        return self.get(name)

    def _publish(self, name: str, document: Document) -> bool:
        """Make the volume's directory; False when somebody else was faster."""
        map_ = idmap.detect()
        self.paths.volumes.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.paths.tmp.mkdir(mode=0o700, exist_ok=True)
        let_through(self.paths.volumes, map_)
        draft = atomic.new_name(self.paths.tmp, name)
        draft.mkdir(mode=0o700)
        try:
            _furnish(draft, document, map_)
            os.rename(draft, self.paths.volumes / name)
        except OSError as problem:
            remove_tree(draft, self._room, tmp=self.paths.tmp)
            if problem.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise StoreError(f"create {name}: {(problem.strerror or '').lower()}") from problem
            return False
        atomic.sync_directory(self.paths.volumes)
        return True

    def get(self, name: str) -> Volume:
        """The volume of this name.

        Raises:
            NotFoundError: there is none; in Docker's words.
            StoreError: its volume.json is damaged.
        """
        missing = NotFoundError(f"get {name}: no such volume")
        if not _NAME.fullmatch(name) or len(name) > _LONGEST:
            raise missing
        directory = self.paths.volumes / name
        try:
            data = (directory / "volume.json").read_bytes()
        except FileNotFoundError:
            raise missing from None
        try:
            return Volume(name, directory, msgspec.json.decode(data, type=Document))
        except msgspec.MsgspecError as problem:
            raise StoreError(
                f"{directory}/volume.json is damaged ({problem})", hint=f"its files are in {directory}/{DATA}"
            ) from problem

    def all(self) -> list[Volume]:
        """Every readable volume, by name."""
        try:
            names = sorted(os.listdir(self.paths.volumes))
        except FileNotFoundError:
            return []
        found = []
        for name in names:
            with suppress(NotFoundError, StoreError):
                found.append(self.get(name))
        return found

    def remove(self, name: str, users: Callable[[str], list[str]]) -> None:
        """Remove a volume and what is in it.

        Args:
            users: gives the ids of the containers that have it; called while none can be made.

        Raises:
            NotFoundError, StoreError: as `get`.
            ConflictError: it is in use; in Docker's words.
        """
        from ..errors import ConflictError

        with self.changing():
            volume = self.get(name)
            if ids := users(name):
                raise ConflictError(f"remove {name}: volume is in use - [{', '.join(ids)}]")
            draft = atomic.new_name(self.paths.tmp, name)
            self.paths.tmp.mkdir(mode=0o700, exist_ok=True)
            os.rename(volume.directory, draft)
        remove_tree(draft, self._room, tmp=self.paths.tmp)
        events.emit(self.paths, "volume", "destroy", name, {"driver": DRIVER})

    @contextmanager
    def changing(self) -> Iterator[None]:
        """While the block runs no container is made or started that has volumes."""
        self.paths.store.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locks.lock(self.paths.volumes_lock):
            yield

    def _room(self) -> int:
        return room.open_room(self.paths, idmap.detect())


def _furnish(draft: Path, document: Document, map_: idmap.IdMap) -> None:
    """Everything of a new volume. Its data belong to container root, and so does the directory around them: PID 1 of a
    container that fills it works in there."""
    atomic.write(draft / "volume.json", msgspec.json.encode(document), tmp=draft)
    (draft / DATA).mkdir()
    (draft / DATA).chmod(0o755)
    for name in "lock", "users":
        (draft / name).touch(mode=0o600)
    owner = map_.uids[0].outside, map_.gids[0].outside
    if os.geteuid() != owner[0]:  # real root's containers belong to a subordinate id
        for path in draft / DATA, draft / "lock", draft / "users", draft:
            os.chown(path, *owner)
