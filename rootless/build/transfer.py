"""COPY and ADD as steps: what they take, the key of that, and the layer that they make."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, cast

from ..errors import InvalidError, NotFoundError
from ..image.store import Image, Layer
from ..storage.tarwriter import Sink
from . import cache as caching
from . import layering, modes, packing, sources
from .copying import Plan, Wish, plan
from .instructions import Add, Copy, Inline
from .packing import Packer, Rules
from .sources import Item, Source
from .tree import Entry, Tree

if TYPE_CHECKING:
    from .builder import Builder, Common
    from .downloads import Download

INLINE_MODE = 0o644
DOWNLOAD_MODE = 0o600


@dataclass
class Chosen:
    """What a COPY or ADD takes, in the order of its words.

    Attributes:
        sources: files of the tree.
        inline: here-documents; downloads: what URLs led to; both likewise with a place in the image.
        archives: archives to be unpacked.
    """

    sources: list[Source] = field(default_factory=list)
    inline: list[Inline] = field(default_factory=list)
    downloads: list[Download] = field(default_factory=list)
    archives: list[Archive] = field(default_factory=list)

    def parts(self, *, ids: bool) -> list[object]:
        """All of it as a part of a key."""
        inline = [[each.name, hashlib.sha256(each.content.encode()).hexdigest()] for each in self.inline]
        downloads = [[each.name, each.digest] for each in self.downloads]
        archives = [each.digest for each in self.archives]
        return [[sources.digest(each, ids=ids) for each in self.sources], inline, downloads, archives]

    def single(self) -> list[Source]:
        """Everything that is placed as a source is: the files of the tree, then here-documents, then downloads."""
        made = [(each.name, len(each.content.encode())) for each in self.inline]
        made += [(each.name, 0) for each in self.downloads]
        return [*self.sources, *(_alone(name, size) for name, size in made)]


@dataclass
class Archive:
    """An archive that ADD unpacks, out of the tree or downloaded.

    Attributes:
        names: its entries' names, and whether they are directories.
    """

    digest: str
    names: dict[bytes, bool]
    origin: Entry | Download

    @contextmanager
    def chunks(self, tree: Tree | None) -> Iterator[Iterator[bytes]]:
        """Its bytes, as it is compressed."""
        if isinstance(self.origin, Entry):
            assert tree is not None
            with tree.open(self.origin) as content:
                yield content.chunks()
        else:
            yield self.origin.chunks()


def _alone(name: str, size: int) -> Source:
    return Source(name, False, False, [Item(Entry(name, 0o100644, 0, 0, size, 0), "")])


class Transfer:
    """One COPY or ADD of a stage."""

    def __init__(self, builder: Builder, instruction: Copy | Add, number: int) -> None:
        self._builder, self._instruction, self._number = builder, instruction, number
        self._common = builder.common
        draft = builder.draft
        self._below = tuple(draft.layers)
        self._destination = draft.resolve(instruction.destination)
        self._mode = modes.parse(instruction.chmod) if instruction.chmod else None
        self._parents = isinstance(instruction, Copy) and instruction.parents
        origin = instruction.origin if isinstance(instruction, Copy) else ""
        self._origin = _layers(builder.origin(origin)) if origin else None

    def take(self) -> None:
        """The layer, known or made."""
        builder, instruction = self._builder, self._instruction
        if self._origin is None:
            chosen = self._from_context()
            key = self._key("copy", chosen.parts(ids=False))
            builder.take(key, self._number, instruction.text, self._created_by(), lambda: self._make(chosen))
            return
        # What an image or a stage holds is fixed by its chain id: mostly its files need not be read for a key.
        chain = self._origin[-1].chain_id if self._origin else ""
        inline = [repr(each) for each in instruction.inline]
        key = self._key("copy from", [chain, instruction.sources, instruction.exclude, inline, self._parents])
        builder.take(key, self._number, instruction.text, self._created_by(), self._from_origin, self._closer_key)

    def _closer_key(self) -> str:
        """By the files themselves: a stage that has changed may still have come to the same ones."""
        return self._key("copy", self._in_origin().parts(ids=True))

    def _key(self, kind: str, what: list[object]) -> str:
        instruction = self._instruction
        below = "" if instruction.link else self._builder.draft.chain_id
        how = [instruction.link, self._destination, instruction.chown, instruction.chmod]
        return caching.key(kind, below, *how, what, self._common.request.epoch)

    def _created_by(self) -> str:
        instruction = self._instruction
        flags = ["--parents"] if self._parents else []
        flags += [
            f"--{name}={value}" for name, value in (("chown", instruction.chown), ("chmod", instruction.chmod)) if value
        ]
        names = [*instruction.sources, *(f"<<{each.name}" for each in instruction.inline)]
        return " ".join([instruction.word, *flags, *names, instruction.destination, "# buildkit"])

    # --- what is taken -------------------------------------------------------------------------------------------

    def _from_context(self) -> Chosen:
        """Chosen once, in whichever process comes here first."""
        position = self._builder.position
        if position not in self._builder.chosen:
            self._builder.chosen[position] = self._choose(self._common.files)
        return self._builder.chosen[position]

    def _choose(self, files: Callable[[], Tree]) -> Chosen:
        instruction = self._instruction
        _check(instruction)
        chosen = Chosen(inline=list(instruction.inline))
        where = f"stage or image {origin}" if (origin := getattr(instruction, "origin", "")) else "the context"
        for word in instruction.sources:
            if isinstance(instruction, Add) and _is_remote(word):
                self._download(word, instruction, chosen)
                continue
            tree = files()
            found = sources.select(tree, [word], parents=self._parents, exclude=instruction.exclude, where=where)
            sources.fill(tree, found)
            if isinstance(instruction, Add) and instruction.unpack is not False:
                found = _without_archives(tree, found, chosen)
            chosen.sources += found
        return chosen

    def _download(self, url: str, instruction: Add, chosen: Chosen) -> None:
        from . import downloads

        found = downloads.Download(url, instruction.checksum, self._common.engine.paths.tmp)
        if not found.digest:
            self._builder.require_work()
            found.fetch()
        if not instruction.unpack:
            chosen.downloads.append(found)
            return
        self._builder.require_work()
        found.fetch()
        names = _names(found.chunks())
        if names is None:
            raise InvalidError(f"{url} is not an archive that could be unpacked")
        chosen.archives.append(Archive(found.digest, names, found))

    # --- the layer -----------------------------------------------------------------------------------------------

    def _in_origin(self) -> Chosen:
        """Chosen among the files of a stage or an image, once; in a worker."""
        if not self._origin:
            raise NotFoundError(
                f'"/{self._instruction.sources[0].lstrip("/")}": not found', hint="nothing is there yet"
            )
        from .root import Root

        position = self._builder.position
        if position not in self._builder.chosen:
            root = Root(self._common.engine, self._origin)
            self._builder.chosen[position] = root.call(lambda tree: self._choose(lambda: tree))
        return self._builder.chosen[position]

    def _from_origin(self) -> Layer:
        from .root import Root

        assert self._origin is not None
        chosen = self._in_origin()
        root = Root(self._common.engine, self._origin)
        placed = self._plan(chosen)

        def write(tree: Tree, sink: BinaryIO) -> None:
            self._pack(tree, chosen, placed, sink, ids=True)

        with layering.new_layer(self._common.engine.images, self._common.pin) as sink:
            with root.stream(write) as stream:
                packing.pass_on(stream, sink)
            return sink.finish(self._below)

    def _make(self, chosen: Chosen) -> Layer:
        placed = self._plan(chosen)
        for download in chosen.downloads:
            download.fetch()
        with layering.new_layer(self._common.engine.images, self._common.pin) as sink:
            tree = self._common.files() if chosen.sources or chosen.archives else None
            self._pack(tree, chosen, placed, sink, ids=False)
            return sink.finish(self._below)

    def _plan(self, chosen: Chosen) -> Plan:
        from .root import Root

        engine = self._common.engine
        wish = Wish(
            self._destination, chosen.single(), self._instruction.chown, [each.names for each in chosen.archives]
        )
        if self._instruction.link or not self._below:
            return plan(None, wish, engine.idmap)
        return Root(engine, self._below).call(lambda tree: plan(tree, wish, engine.idmap))

    def _pack(self, tree: Tree | None, chosen: Chosen, placed: Plan, sink: Sink, *, ids: bool) -> None:
        epoch = self._common.request.epoch
        moment = time.time_ns() if epoch is None else epoch * 10**9
        packer = Packer(sink, Rules(placed.owner, self._mode, moment, epoch is not None), placed.existing, ids)
        roots = iter(placed.roots)
        for source in chosen.sources:
            assert tree is not None
            packer.source(tree, source, next(roots))
        for inline in chosen.inline:
            data = inline.content.encode()
            packer.data(next(roots), [data], len(data), INLINE_MODE)
        for download in chosen.downloads:
            packer.data(next(roots), download.chunks(), download.size, DOWNLOAD_MODE)
        self._unpack(tree, chosen.archives, placed, packer)
        packer.close()

    def _unpack(self, tree: Tree | None, archives: Sequence[Archive], placed: Plan, packer: Packer) -> None:
        from ..storage.archives import uncompressed
        from ..storage.tarstream import TarStream
        from .archives import chunks as pieces

        for archive, places in zip(archives, placed.places, strict=True):
            with archive.chunks(tree) as chunks:
                packer.archive(TarStream(pieces(uncompressed(stream_of(chunks)))), places)


def _layers(origin: Image | Sequence[Layer]) -> tuple[Layer, ...]:
    return tuple(origin.layers if isinstance(origin, Image) else origin)


def _check(instruction: Copy | Add) -> None:
    """Raises InvalidError where there is a URL that is not fetched, or a checksum of what has none."""
    if isinstance(instruction, Copy):
        if remote := [word for word in instruction.sources if _is_remote(word)]:
            raise InvalidError(f"{remote[0]}: source can't be a URL for COPY", hint="ADD fetches URLs")
        return
    if not instruction.checksum:
        return
    if len(instruction.sources) + len(instruction.inline) != 1:
        raise InvalidError("checksum can't be specified for multiple sources")
    if not (instruction.sources and _is_remote(instruction.sources[0])):
        raise InvalidError("checksum requires an HTTP(S) source", hint="leave --checksum out")


def _is_remote(word: str) -> bool:
    return word.startswith(("http://", "https://", "git://", "ssh://", "git@"))


def _without_archives(tree: Tree, found: list[Source], chosen: Chosen) -> list[Source]:
    """Those sources that ADD does not unpack; the others are added to `chosen`."""
    rest = []
    for source in found:
        item = source.items[0] if source.items else None
        names = None
        if item is not None and item.entry.is_file and not source.placed:
            with tree.open(item.entry) as content:
                names = _names(content.chunks())
        if item is None or names is None:
            rest.append(source)
        else:
            chosen.archives.append(Archive(item.content.hex(), names, item.entry))
    return rest


def _names(chunks: Iterator[bytes]) -> dict[bytes, bool] | None:
    """What an archive holds; None when it is none."""
    from ..storage import tarheader
    from ..storage.archives import uncompressed
    from ..storage.tarstream import TarStream
    from . import archives

    head = next(chunks, b"")
    if not archives.is_archive(stream_of(iter([head]))):
        return None
    entries = TarStream(archives.chunks(uncompressed(stream_of(chain([head], chunks)))))
    return {entry.name: entry.type == tarheader.DIRECTORY for entry in entries}


def stream_of(chunks: Iterator[bytes]) -> BinaryIO:
    """The pieces as a stream to read."""
    return cast(BinaryIO, io.BufferedReader(_Pieces(chunks), 1 << 18))


class _Pieces(io.RawIOBase):
    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._rest = self._rest or next(self._chunks, b"")
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def make_directory(common: Common, below: Sequence[Layer], path: str, user: str) -> Layer:
    """The layer of WORKDIR: the directory with those above it, whose owner is the stage's user, unless it is there."""
    from .root import Root

    engine = common.engine
    wish = Wish(f"{path}/", owner=user)
    placed = (
        Root(engine, below).call(lambda tree: plan(tree, wish, engine.idmap))
        if below
        else plan(None, wish, engine.idmap)
    )
    epoch = common.request.epoch
    moment = time.time_ns() if epoch is None else epoch * 10**9
    with layering.new_layer(engine.images, common.pin) as sink:
        packer = Packer(sink, Rules(placed.owner, None, moment, epoch is not None), placed.existing)
        if placed.destination not in placed.existing:
            packer.directory(placed.destination)
        packer.close()
        return sink.finish(below)
