"""Unpacked layers: a cache, always derivable from the blobs, each layer once however many images share it.

    layers/<chain hex>/lock                       held while one of the following is made or removed
    layers/<chain hex>/mapped-<8 hex>/            the layer, with the real ids of one id map
    layers/<chain hex>/owned/                     the layer, belonging wholly to the caller
    layers/<chain hex>/size                       bytes of its regular files, in decimal digits
    layers/<chain hex>/owners.jsonl               what the files of `owned/` could not say themselves
    l/<10 base32>  ->  ../layers/<chain hex>/...  a short name for mount(2), whose options have one page
    tmp/layer.<pid>.<random>/                     being unpacked

The name is the chain id, not the layer's own: the same archive on another base may need other parent directories.
What is published is complete, verified against its diff id, and on the disk.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple, Protocol

import msgspec

from .. import atomic, locks, room
from ..errors import InvalidError, StoreError, UnavailableError
from ..hashes import sha256
from ..idmap import IdMap
from ..kernel import fs
from ..paths import Paths
from . import digest as digests
from .blobs import Blobs, make_store
from .remove import remove_tree, rename, sweep

if TYPE_CHECKING:
    from .driver import LayerKind
    from .unpacking import Job, Unpacked

Kind = Literal["owned", "mapped"]


class LayerSource(msgspec.Struct, frozen=True):
    """One layer of an image.

    Attributes:
        diff_id: digest of the uncompressed archive.
        blob: digest of the blob that holds it, compressed or not.
    """

    diff_id: str
    blob: str


class Stack(NamedTuple):
    """Unpacked layers.

    Attributes:
        links: `l/XXXXXXXXXX`, relative to the store, top first.
    """

    kind: Kind
    links: list[str]


class BlobSource(Protocol):
    """Gives blobs by their digest."""

    def open(self, digest: str) -> BinaryIO:
        """The blob for reading. It may still be growing: then reads wait."""

    def size(self, digest: str) -> int:
        """Bytes of the whole blob."""


class Layers:
    """The unpacked layers of one store, for one id map."""

    def __init__(self, paths: Paths, idmap: IdMap, blobs: BlobSource | None = None) -> None:
        """
        Args:
            blobs: where the blobs come from, the store's own by default.
        """
        self._paths = paths
        self._idmap = idmap
        self._blobs = blobs or Blobs(paths)

    def ensure(self, chain: Sequence[LayerSource], kind: LayerKind = "auto") -> list[str]:
        """`stack(chain, kind).links`."""
        return self.stack(chain, kind).links

    def stack(self, chain: Sequence[LayerSource], kind: LayerKind = "auto") -> Stack:
        """Unpack what is missing of a stack of layers, given from the bottom up.

        Several processes may want the same at once: one unpacks, the others wait for it.

        Args:
            kind: `auto` is `mapped`, or `owned` where there is one id only or a file belongs to an id outside the map.

        Raises:
            UnmappedIdError: such a file, and `kind` is `mapped`.
            InvalidError: a blob is no layer, or not the one that its diff id names.
            NotFoundError: a blob is missing.
            StoreError: no room on the disk.
        """
        if kind != "auto":
            return self._stack(chain, kind)
        ids = digests.chain_ids([source.diff_id for source in chain])
        if self._idmap.single or (self._complete(ids, "owned") and not self._complete(ids, "mapped")):
            return self._stack(chain, "owned")
        try:
            return self._stack(chain, "mapped")
        except UnavailableError as problem:
            from .owners import UnmappedIdError  # brings much along that most calls never need

            if not isinstance(problem, UnmappedIdError):
                raise
        return self._stack(chain, "owned")

    def present(self) -> list[str]:
        """The chain ids of all layers that are unpacked, of whatever kind, or were begun."""
        try:
            names = sorted(os.listdir(self._paths.layers))
        except FileNotFoundError:
            return []
        algorithms = {length: algorithm for algorithm, length in digests.ALGORITHMS.items()}
        return [f"{algorithms[len(name)]}:{name}" for name in names if len(name) in algorithms]

    def remove(self, chain_id: str) -> None:
        """Remove a layer in every kind; nothing happens when it is not there. It must be in no mounted stack.

        Raises:
            StoreError: it holds files of another id map, which this caller's room can't remove.
        """
        directory = self._directory(chain_id)
        if not directory.is_dir():
            return
        with self._locked(chain_id):
            for link in self._paths.links.glob("*"):
                if link.is_symlink() and os.readlink(link).startswith(f"../layers/{directory.name}/"):
                    link.unlink(missing_ok=True)
            for tree in directory.iterdir():
                if tree.name != "lock":
                    remove_tree(tree, self._room, tmp=self._paths.tmp)
            _remove_if_unused(directory)

    def sweep(self) -> None:
        """Remove the drafts that killed commands have left.

        Raises:
            StoreError: one holds files of another id map.
        """
        sweep(self._paths.tmp, self._room)

    def path(self, chain_id: str, kind: Kind) -> Path:
        """Where the layer is when it is unpacked."""
        return self._directory(chain_id) / ("owned" if kind == "owned" else f"mapped-{self._idmap.tag}")

    def _directory(self, chain_id: str) -> Path:
        return self._paths.layers / digests.parse(chain_id)[1]

    def _complete(self, ids: Sequence[str], kind: Kind) -> bool:
        return all(self.path(chain_id, kind).is_dir() for chain_id in ids)

    def _stack(self, chain: Sequence[LayerSource], kind: Kind) -> Stack:
        ids = digests.chain_ids([source.diff_id for source in chain])
        for height, (chain_id, source) in enumerate(zip(ids, chain, strict=True)):
            if not self.path(chain_id, kind).is_dir():
                self._make_directories()
                self._unpack(chain_id, source, ids[:height][::-1], kind)
        return Stack(kind, [self._link(self.path(chain_id, kind)) for chain_id in reversed(ids)])

    def _make_directories(self) -> None:
        make_store(self._paths)
        for directory in (self._paths.layers, self._paths.links):
            directory.mkdir(mode=0o700, exist_ok=True)
        for directory in (self._paths.store, self._paths.layers, self._paths.links):
            let_through(directory, self._idmap)

    def _unpack(self, chain_id: str, source: LayerSource, below: Sequence[str], kind: Kind) -> None:
        with self._locked(chain_id):
            target = self.path(chain_id, kind)
            if target.is_dir():
                return  # another process was faster
            draft = atomic.new_name(self._paths.tmp, "layer")
            draft.mkdir(mode=0o700)
            try:
                size, records = self._fill(draft, source, below, kind)
                atomic.write(target.parent / "size", b"%d" % size, tmp=self._paths.tmp, durable=False)
                self._flush()
                if kind == "owned":
                    atomic.write(self._owner_file(chain_id), records, tmp=self._paths.tmp)
                rename(draft, target, self._room)
            except BaseException:
                remove_tree(draft, self._room)
                _remove_if_unused(target.parent)
                raise

    def _fill(self, draft: Path, source: LayerSource, below: Sequence[str], kind: Kind) -> tuple[int, bytes]:
        """Unpack into the draft and verify: (bytes of its files, for `owned` what belongs into the owners' file)."""
        from . import unpacking

        with ExitStack() as opened:
            job = unpacking.Job(
                blob=opened.enter_context(self._blobs.open(source.blob)),
                root=opened.enter_context(_opened(draft)),
                lower=[opened.enter_context(_opened(self.path(chain, kind))) for chain in below],
                algorithm=digests.parse(source.diff_id)[0],
                blob_size=self._blobs.size(source.blob),
            )
            if kind == "mapped":
                found, records = self._unpack_mapped(job, draft), b""
            else:
                found, records = unpacking.owned(job, [self._owner_file(chain) for chain in below])
        if found.diff_id != source.diff_id:
            raise InvalidError(f"layer {source.blob} unpacks to {found.diff_id}, but the image says {source.diff_id}")
        return found.size, records

    def size(self, chain_id: str) -> int | None:
        """Bytes of the regular files of a layer, as they were counted when it was unpacked; None when it never was."""
        try:
            return int((self._directory(chain_id) / "size").read_bytes())
        except (OSError, ValueError):
            return None

    def _unpack_mapped(self, job: Job, draft: Path) -> Unpacked:
        from . import unpacking

        owner, group = self._idmap.uids[0].outside, self._idmap.gids[0].outside
        if os.geteuid() != owner:
            os.chown(draft, owner, group)  # real root's container root is another
        fd = self._room()
        try:
            return room.call(fd, lambda: unpacking.mapped(job, self._idmap))
        finally:
            os.close(fd)

    def _room(self) -> int:
        return room.open_room(self._paths, self._idmap)

    def _owner_file(self, chain_id: str) -> Path:
        return self._directory(chain_id) / "owners.jsonl"

    def _flush(self) -> None:
        """A power cut must not leave empty files behind a name that promises a whole layer: a journal may have the
        rename on the disk before the data."""
        fd = os.open(self._paths.tmp, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fs.syncfs(fd)
        finally:
            os.close(fd)

    @contextmanager
    def _locked(self, chain_id: str) -> Iterator[None]:
        """Be the only one who makes or removes this layer."""
        while (held := self._try_to_lock(self._directory(chain_id))) is None:
            pass
        with held:
            yield

    def _try_to_lock(self, directory: Path) -> ExitStack | None:
        """Hold the lock; None when who held it has meanwhile removed the layer and the lock file with it."""
        directory.mkdir(mode=0o700, exist_ok=True)
        with ExitStack() as held, suppress(FileNotFoundError):
            let_through(directory, self._idmap)
            fd = held.enter_context(locks.lock(directory / "lock"))
            if (directory / "lock").stat().st_ino == os.fstat(fd).st_ino:
                return held.pop_all()
        return None

    def _link(self, tree: Path) -> str:
        """The layer's short name. Ten characters can collide, so each must lead to this layer."""
        target = f"../layers/{tree.parent.name}/{tree.name}"
        for attempt in range(100):
            name = _short_name(f"{target} {attempt}")
            link = self._paths.links / name
            with suppress(FileExistsError):
                if not link.is_symlink():
                    link.symlink_to(target)
            if os.readlink(link) == target:
                return f"l/{name}"
        raise StoreError(
            f"{self._paths.links} has no free name for a layer", hint="remove that directory; it is made again"
        )


def _remove_if_unused(directory: Path) -> None:
    """Remove a layer's directory, whose lock is held, when there is no tree in it."""
    files = list(directory.iterdir())
    if not any(file.is_dir() for file in files):
        for file in sorted(files, key=lambda file: file.name == "lock"):
            file.unlink()
        with suppress(OSError):  # somebody who waited for the lock may have made it anew
            directory.rmdir()


def _short_name(text: str) -> str:
    return base64.b32encode(sha256(text.encode()).digest())[:10].decode()


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def let_through(directory: Path, idmap: IdMap) -> None:
    """Let container root walk through a directory of the store, where it is not the caller (under real root).

    The group of its id may pass, nobody else: below lie set-user-id programs that belong to a subordinate id, and
    whoever could start one would be the owner of all containers.
    """
    status = directory.stat()
    group = idmap.gids[0].outside
    if (
        os.geteuid() == idmap.uids[0].outside
        or status.st_mode & 0o001
        or (status.st_gid == group and status.st_mode & 0o010)
    ):
        return
    os.chown(directory, -1, group)
    directory.chmod(status.st_mode & 0o7700 | 0o010)
