"""The images of a store: an OCI image layout with names in its index (index.py) and documents and layers in its blobs.

An image is what one configuration says; its id is that document's digest. Reading takes no lock, because the index is
replaced by rename; whoever changes it holds its lock.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property

import msgspec

from .. import atomic, events, locks
from ..errors import ConflictError, InvalidError, NotFoundError, RootlessError, StoreError
from ..paths import Paths
from ..storage import digest as digests
from ..storage.blobs import Blobs
from . import documents, index, layout, reference, spec
from .pins import Pin
from .reference import Reference
from .spec import Descriptor, ImageConfig, Index, Manifest

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Layer(msgspec.Struct, frozen=True):
    """One layer of an image.

    Attributes:
        blob: digest, size and media type of the blob, compressed as it came.
        diff_id: the digest of its plain tar.
        chain_id: names it together with all layers below it; the key of the unpacked layer.
    """

    blob: Descriptor
    diff_id: str
    chain_id: str


class Image(msgspec.Struct, frozen=True, dict=True):
    """One image of the store, read.

    Attributes:
        id: `sha256:...`, the digest of the configuration.
        manifests: descriptors of its manifests, as the index has them: one, or more where the same layers were also
            pulled with another compression.
        manifest: what the first of them leads to.
        names: with tag, in alphabetical order.
        digests: `name@sha256:...` for each manifest it was pulled or pushed as.
    """

    id: str
    manifests: tuple[Descriptor, ...]
    manifest: Manifest
    config: ImageConfig
    names: tuple[Reference, ...] = ()
    digests: tuple[Reference, ...] = ()

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Lowest first."""
        chain = digests.chain_ids(self.config.rootfs.diff_ids)
        parts = zip(self.manifest.layers, self.config.rootfs.diff_ids, chain, strict=True)
        return tuple(Layer(*part) for part in parts)

    @property
    def diff_ids(self) -> list[str]:
        return self.config.rootfs.diff_ids

    @property
    def chain_ids(self) -> list[str]:
        """Of each layer, lowest first; the last one stands for the whole root filesystem."""
        return [layer.chain_id for layer in self.layers]

    @property
    def run(self) -> spec.RunConfig:
        """What a container of it is started with by default."""
        return self.config.run

    @property
    def created(self) -> datetime | None:
        return spec.moment(self.config.created)

    @property
    def short_id(self) -> str:
        """The 12 hexadecimal digits that tables show."""
        return self.id.partition(":")[2][:12]


class ImageStore:
    """The images under `paths.store`, which is made when it is missing."""

    def __init__(self, paths: Paths) -> None:
        """Open the store.

        Raises:
            StoreError: it is of a newer format, or can't be made.
        """
        layout.prepare(paths)
        self.paths = paths
        self.blobs = Blobs(paths)

    def resolve(self, text: str) -> Image:
        """The image that a name, a digest, an id or the beginning of an id means.

        A name goes before an id of the same spelling. Only what was asked for is read: if the image has further
        manifests, these and their names are left out (see `find`).

        Raises:
            NotFoundError: `No such image: ...`.
            ConflictError: several ids begin so.
            InvalidError: the text can be neither a name nor an id.
            StoreError: the image's documents are missing or damaged.
        """
        contents = self.read_index()
        names = index.names(contents)
        return self._load(self._entry(text, contents, names), names)

    def find(self, text: str, contents: Index | None = None) -> Image:
        """As `resolve`, but with all that the image has: its other manifests and their names, too.

        Args:
            contents: the index, by one who holds its lock.
        """
        contents = contents or self.read_index()
        names = index.names(contents)
        found = self._load(self._entry(text, contents, names), names)
        others = (image for image in self.images_in(contents) if image.id == found.id)
        return _joined(found, *others)

    def entry(self, text: str, contents: Index) -> Descriptor:
        """The descriptor that `resolve` finds, unread."""
        return self._entry(text, contents, index.names(contents))

    def _entry(self, text: str, contents: Index, names: dict[Reference, Descriptor]) -> Descriptor:
        entry = self.by_name(text, names) or self._by_id(text, contents) or self._by_alias(text, names)
        if entry is None:
            shown = text if reference.digest_in(text) else reference.parse(text).tagged()
            raise NotFoundError(f"No such image: {shown}")
        return entry

    def by_name(self, text: str, names: dict[Reference, Descriptor]) -> Descriptor | None:
        """The descriptor that `text` means when it is taken for a name."""
        if reference.digest_in(text):
            return None
        wanted = reference.parse(text).tagged()
        if not wanted.digest:
            return names.get(wanted)
        # With a digest the tag only decorates, as in Docker: `name:tag@digest` is `name@digest`.
        pairs = ((name, entry) for name, entry in names.items() if name.name == wanted.name)
        return next((e for name, e in pairs if wanted.digest in (name.digest, e.digest)), None)

    def _by_alias(self, text: str, names: dict[Reference, Descriptor]) -> Descriptor | None:
        """What a short name means that registries.conf has an alias for."""
        if reference.digest_in(text):
            return None
        from . import shortnames

        return self.by_name(shortnames.expand(text).full, names)

    def _by_id(self, text: str, contents: Index) -> Descriptor | None:
        digest, prefix = reference.digest_in(text), reference.id_prefix(text)
        if not prefix:
            return next((e for e in index.images_of(contents) if e.digest == digest), None)
        found: dict[str, Descriptor] = {}
        for entry in _distinct(contents):
            with suppress(InvalidError, NotFoundError):  # what can't be read is not what was meant
                config = self.manifest(entry).config.digest
                if config.startswith(f"sha256:{prefix}") or entry.digest == digest:
                    found.setdefault(config, entry)
        if len(found) > 1:
            raise ConflictError(f"multiple images found with provided prefix: {text}", hint="give more of the id")
        return next(iter(found.values()), None)

    def all(self, on_damage: Callable[[RootlessError], None] | None = None) -> list[Image]:
        """Every image, the newest first, those without a name too; manifests of one configuration are one image.

        Args:
            on_damage: told about each image that can't be read; it is left out.
        """
        return self.images_in(self.read_index(), on_damage)

    def images_in(self, contents: Index, on_damage: Callable[[RootlessError], None] | None = None) -> list[Image]:
        """`all`, in an index that was read already."""
        names = index.names(contents)
        images: dict[str, list[Image]] = {}
        for entry in _distinct(contents):
            try:
                image = self._load(entry, names)
            except RootlessError as problem:
                if on_damage is not None:
                    on_damage(problem)
                continue
            images.setdefault(image.id, []).append(image)
        joined = [_joined(*parts) for parts in images.values()]
        return sorted(joined, key=lambda image: image.created or _LONG_AGO, reverse=True)

    def tag(self, image: Image, name: Reference) -> None:
        """Let `name` lead to the image, whatever it led to before."""
        with self.changing() as contents:
            index.give(contents, name.tagged(), image.manifests[0])
        self.emit("tag", image.id, str(name.tagged()))

    def emit(self, action: str, identifier: str, name: str = "") -> None:
        """Note what happened to an image, for `events`; the name is the id where there is no other."""
        events.emit(self.paths, "image", action, identifier, {"name": name or identifier})

    def read_index(self, *, whole: bool = False) -> Index:
        """The index as it stands. It is replaced as a whole, so that no lock is needed to read it.

        Args:
            whole: keep the fields that are not known here, because it is going to be written again.
        """
        reader = documents.read_whole if whole else documents.read
        return reader(self._index_bytes(), Index, str(self.paths.index))

    def _index_bytes(self) -> bytes:
        try:
            return self.paths.index.read_bytes()
        except OSError as problem:
            raise StoreError(f"{self.paths.index} can't be read: {problem.strerror}") from problem

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone with the index, and with what may be removed.

        Raises:
            StoreError: the store can't be written.
        """
        with layout.writing(self.paths):
            layout.make_directories(self.paths)
            with locks.lock(self.paths.index_lock):
                yield

    @contextmanager
    def changing(self) -> Iterator[Index]:
        """The index, to be changed inside the block and then replaced; as it was when the block raises."""
        with self.locked():
            contents = self.read_index(whole=True)
            yield contents
            self.write_index(contents)

    def write_index(self, contents: Index) -> None:
        """Replace the index. The caller holds its lock."""
        data = documents.write(contents)
        if data != self._index_bytes():
            atomic.write(self.paths.index, data, tmp=self.paths.tmp, mode=0o644)

    def size(self, image: Image) -> int:
        """Bytes of the image's root filesystem, the layers added up."""
        return sum(self.layer_size(layer) for layer in image.layers)

    def layer_size(self, layer: Layer) -> int:
        """Bytes of a layer's files: as counted when it was unpacked, else as well as the blob tells.

        A gzip blob's last four bytes tell the archive's size (RFC 1952, 2.3.1), modulo 4 GiB and for its last member
        only; what is obviously too small for the blob is not believed, and the blob's own size taken.
        """
        try:
            return int((self.paths.layers / digests.parse(layer.chain_id)[1] / "size").read_bytes())
        except (OSError, ValueError):
            return self._guessed_size(layer)

    def _guessed_size(self, layer: Layer) -> int:
        try:
            with self.blobs.open(layer.blob.digest) as file:
                magic = file.read(2)
                file.seek(-4, os.SEEK_END)
                told = int.from_bytes(file.read(4), "little")
        except (OSError, RootlessError):
            return layer.blob.size
        return told if magic == b"\x1f\x8b" and told >= layer.blob.size else layer.blob.size

    def assemble(
        self, pin: Pin, config: ImageConfig, layers: list[Descriptor], annotations: dict[str, str] | None = None
    ) -> Image:
        """Make the documents of an image of a configuration and of layers whose blobs the caller has pinned. The index
        does not tell of it: it is there as long as the pins are."""
        document = self._document(pin, documents.write(config), spec.OCI_CONFIG)
        manifest = Manifest(
            schema_version=2,
            media_type=spec.OCI_MANIFEST,
            config=document,
            layers=layers,
            annotations=annotations or None,
        )
        return self._load(self._document(pin, documents.write(manifest), spec.OCI_MANIFEST), {})

    def manifest(self, entry: Descriptor) -> Manifest:
        """The manifest that a descriptor of the index leads to.

        Raises:
            InvalidError, NotFoundError: it is damaged, or not here.
        """
        spec.check_descriptor(entry, "the index", spec.MANIFEST_LIMIT)
        return spec.read_manifest(self.blobs.read(entry.digest, spec.MANIFEST_LIMIT), "the manifest")

    def publish(self, pin: Pin, config: ImageConfig, layers: list[Descriptor], name: Reference | None) -> Image:
        """`assemble` an image, and let the index tell of it."""
        image = self.assemble(pin, config, layers)
        self.announce(image, name)
        return image

    def announce(self, image: Image, name: Reference | None) -> None:
        """Let the index tell of an assembled image, by a name or without one."""
        with self.changing() as contents:
            if name is None:
                index.keep(contents, image.manifests[0])
            else:
                index.give(contents, name.tagged(), image.manifests[0])

    def _document(self, pin: Pin, data: bytes, media_type: str) -> Descriptor:
        pin.add(digests.of(data))
        digest, size = self.blobs.add(data)
        return Descriptor(media_type=media_type, digest=digest, size=size)

    def _load(self, entry: Descriptor, names: dict[Reference, Descriptor]) -> Image:
        """Read one image.

        Raises:
            StoreError: a document of it is missing, damaged or not what it should be.
        """
        try:
            manifest = self.manifest(entry)
            config = spec.read_config(self.blobs.read(manifest.config.digest, spec.CONFIG_LIMIT), "the configuration")
            spec.check_pair(manifest, config, "the manifest")
        except (InvalidError, NotFoundError) as problem:
            raise StoreError(f"image {entry.ref_name or entry.digest} is damaged: {problem}") from problem
        own = sorted(name for name, other in names.items() if other.digest == entry.digest)
        tagged, digested = (tuple(n for n in own if bool(n.digest) is kind) for kind in (False, True))
        return Image(manifest.config.digest, (entry,), manifest, config, tagged, digested)


def _distinct(contents: Index) -> list[Descriptor]:
    return list({entry.digest: entry for entry in reversed(index.images_of(contents))}.values())[::-1]


def _joined(first: Image, *others: Image) -> Image:
    """One image of several manifests of the same configuration (the same layers, compressed otherwise)."""
    parts = (first, *others)
    return msgspec.structs.replace(
        first,
        manifests=tuple({entry.digest: entry for part in parts for entry in part.manifests}.values()),
        names=tuple(sorted({name for part in parts for name in part.names})),
        digests=tuple(sorted({name for part in parts for name in part.digests})),
    )
