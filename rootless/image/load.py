"""Load: the images of an archive, read from a stream in one go.

Both forms are understood, and whatever program wrote them: an OCI layout in a tar, found by its index.json, and what
`docker save` writes, found by its manifest.json. The order of an archive's members is nobody's promise, so each is
kept as what it may turn out to be: a blob by its digest, a layer under its path, a small document in memory. What no
image needed is gone at the end. Layers that come as plain tar (Docker's older form) are kept as gzip.
"""

from __future__ import annotations

import io
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, cast

import msgspec

from ..errors import InvalidError, NotFoundError
from ..storage import archives, compression
from ..storage import digest as digests
from ..storage.layers import Layers, LayerSource
from ..storage.tarheader import FILES, HARD_LINK, SYMLINK, Entry
from ..storage.tarstream import TarStream
from . import documents, garbage, index, manifests, reference, spec
from .manifests import Received
from .pins import Pin
from .reference import Reference
from .save import CONTAINERD_NAME
from .spec import Descriptor, Index, Manifest, Platform
from .store import Image, ImageStore

_CHUNK = 1 << 18
_DOCUMENTS = 64 << 20
"""Bytes of small documents that are held in memory, all together."""
_IMAGES = 1000
_MEMBERS = 100_000


class _DockerImage(msgspec.Struct, rename="pascal"):
    config: str
    layers: list[str]
    repo_tags: list[str] | None = None


@dataclass
class _Kept:
    """A member that may be a layer: its blob, and the digest of the plain archive where that had to be found out."""

    blob: Descriptor
    diff_id: str


@dataclass
class _Contents:
    """What was read of an archive, by path.

    Attributes:
        small: documents.
        layers: everything else, as blobs.
        links: paths that stand for others.
    """

    small: dict[str, bytes] = field(default_factory=dict)
    layers: dict[str, _Kept] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def path(self, name: str) -> str:
        name = _inside(name)
        for _ in range(8):
            if name not in self.links:
                return name
            name = self.links[name]
        raise InvalidError(f"the archive's links lead in a circle ({name})")

    def document(self, name: str, what: str) -> bytes:
        data = self.small.get(self.path(name))
        if data is None:
            raise InvalidError(f"{what} is missing in the archive: {name}")
        return data

    def layer(self, name: str, what: str) -> _Kept:
        kept = self.layers.get(self.path(name))
        if kept is None:
            raise InvalidError(f"{what} is missing in the archive: {name}")
        return kept


def load(
    store: ImageStore, layers: Layers, source: BinaryIO, platform: Platform | None = None
) -> list[tuple[Image, list[Reference]]]:
    """Take the images of an archive into the store: each with the names that it has now.

    Args:
        layers: where the layers are unpacked before an image exists: an archive that can't be is refused.
        platform: what the images have to be for; of several, the one of this machine by default.

    Raises:
        NotFoundError: one is for another platform; nothing is taken.
        InvalidError: it is no archive of images, or something in it is not what it should be; nothing is taken.
    """
    with garbage.transaction(store, layers) as pin:
        contents = _read(store, pin, source)
        loader = _Loader(store, layers, pin, contents, platform)
        if "manifest.json" in contents.small:
            found = list(loader.docker(contents.small["manifest.json"]))
        elif "index.json" in contents.small:
            found = list(loader.layout(contents.small["index.json"]))
        else:
            hint = "a root filesystem becomes an image with `rootless import`"
            raise InvalidError("this is no archive of images", hint=hint)
        if not found:
            raise InvalidError("there is no image in the archive")
        loaded = [(_publish(store, document, names), names) for document, names in found]
        pinned = pin.digests
    garbage.discard(store, layers, pinned)
    for image, names in loaded:
        store.emit("load", image.id, str(names[0]) if names else "")
    return loaded


def _publish(store: ImageStore, document: Descriptor, names: Sequence[Reference]) -> Image:
    with store.changing() as contents:
        for name in names:
            index.give(contents, name, document)
        if not names:
            index.keep(contents, document)
    return store.resolve(document.digest)


# --- reading
# -----------------------------------------------------------------------------------------------------------


def _read(store: ImageStore, pin: Pin, source: BinaryIO) -> _Contents:
    contents = _Contents()
    plain = archives.uncompressed(source)
    archive = TarStream(iter(lambda: plain.read(_CHUNK), b""))
    room = _DOCUMENTS
    for number, entry in enumerate(archive):
        if number == _MEMBERS:
            raise InvalidError(f"the archive has more than {_MEMBERS} members: it is no archive of images")
        name = _inside(entry.name.decode(errors="replace"))
        if entry.type in (SYMLINK, HARD_LINK):
            contents.links[name] = _target(name, entry)
        elif entry.type in FILES and entry.sparse is None:
            if _is_document(name, entry) and entry.size <= room:
                room -= entry.size
                contents.small[name] = b"".join(bytes(piece) for piece in archive.data())
            elif _may_be_layer(name):
                contents.layers[name] = _keep(store, pin, name, archive)
    archive.drain()
    return contents


def _inside(name: str) -> str:
    return posixpath.normpath("/" + name).lstrip("/")


def _target(name: str, entry: Entry) -> str:
    link = entry.link.decode(errors="replace")
    return _inside(link if entry.type == HARD_LINK else posixpath.join(posixpath.dirname(name), link))


def _is_document(name: str, entry: Entry) -> bool:
    """Whether a member may be JSON that has to be read. A blob's name does not tell: small ones are taken for
    documents."""
    if entry.size > spec.CONFIG_LIMIT:
        return False
    return name.endswith(".json") or name == "oci-layout" or name.startswith("blobs/")


def _may_be_layer(name: str) -> bool:
    return name.startswith("blobs/") or ".tar" in posixpath.basename(name)


def _keep(store: ImageStore, pin: Pin, name: str, archive: TarStream) -> _Kept:
    """Keep a member as a blob: as it is, or as gzip if it is a plain archive."""
    return _store(store, pin, iter(archive.data()), compress=not name.startswith("blobs/"))


def _store(store: ImageStore, pin: Pin, pieces: Iterator[bytes | memoryview], *, compress: bool) -> _Kept:
    stream = cast(BinaryIO, io.BufferedReader(archives.Joined(pieces), _CHUNK))
    head = cast(io.BufferedReader, stream).peek(8)[:8]
    kind = compression.recognise(head) if len(head) >= 6 else "none"
    hasher = digests.hasher()
    with store.blobs.writer() as writer:
        sink = compression.gzip_writer(cast(BinaryIO, writer)) if compress and kind == "none" else None
        while data := stream.read(_CHUNK):
            hasher.update(data)
            (sink or writer).write(data)
        if sink is not None:
            sink.close()
        pin.add(writer.digest)
        digest, size = writer.commit()
    suffix = "+gzip" if sink is not None or kind == "gzip" else "+zstd" if kind == "zstd" else ""
    diff_id = f"sha256:{hasher.hexdigest()}" if kind == "none" else ""
    return _Kept(Descriptor(media_type=spec.OCI_LAYER + suffix, digest=digest, size=size), diff_id)


# --- making images
# -----------------------------------------------------------------------------------------------------


class _Loader:
    def __init__(
        self, store: ImageStore, layers: Layers, pin: Pin, contents: _Contents, platform: Platform | None
    ) -> None:
        self._platform = platform
        self._store = store
        self._layers = layers
        self._pin = pin
        self._contents = contents

    def docker(self, data: bytes) -> Iterator[tuple[Descriptor, list[Reference]]]:
        """The images of a manifest.json, with their names."""
        try:
            found = msgspec.json.decode(data, type=list[_DockerImage])
        except (msgspec.MsgspecError, RecursionError) as problem:
            raise InvalidError(f"the archive's manifest.json is not valid: {problem}") from None
        _bearable(len(found))
        for image in found:
            config = self._contents.document(image.config, "a configuration")
            blobs = [self._layer(path) for path in image.layers]
            names = _names(image.repo_tags or [])
            yield self._image(config, blobs, str(names[0]) if names else image.config), names

    def layout(self, data: bytes) -> Iterator[tuple[Descriptor, list[Reference]]]:
        """The images of an index.json, with their names; of several platforms the one that is wanted."""
        listed = documents.read(data, Index, "the archive's index.json").manifests
        _bearable(len(listed))
        entries = self._of_platform(listed)
        names: dict[str, list[Reference]] = {}
        for entry in entries:
            names.setdefault(entry.digest, []).extend(_names([_name_of(entry)]))
        for entry in {entry.digest: entry for entry in entries}.values():
            document = self._followed(entry)
            manifest = manifests.image(document, f"the archive's {entry.digest}")
            config = self._contents.document(_blob_path(manifest.config), "a configuration")
            blobs = [self._blob(layer) for layer in manifest.layers]
            own = list(dict.fromkeys(names[entry.digest]))
            what = str(own[0]) if own else manifest.config.digest
            yield self._image(config, blobs, what, manifests.converted(document)), own

    def _of_platform(self, listed: list[Descriptor]) -> list[Descriptor]:
        """The entries for the platform that is wanted; else all, but of those of one name that tell their platforms the
        one for this machine, where there is one."""
        if self._platform is not None:
            entries = [entry for entry in listed if manifests.fits(entry, self._platform)]
            if listed and not entries:
                raise NotFoundError(f"there is no image for {manifests.shown(self._platform)} in the archive")
            return entries
        here = spec.host_platform()
        known = {_name_of(entry) for entry in listed if entry.platform is not None and manifests.fits(entry, here)}
        return [entry for entry in listed if manifests.fits(entry, here) or _name_of(entry) not in known]

    def _followed(self, entry: Descriptor) -> Received:
        """The manifest that a descriptor of the index leads to."""
        for _ in range(4):
            what = f"the archive's {entry.digest}"
            document = manifests.received(
                self._contents.document(_blob_path(entry), what), entry.media_type, entry.digest, what
            )
            if document.media_type in manifests.IMAGES:
                return document
            entry = manifests.choose(manifests.index(document, what), self._platform or spec.host_platform(), what)
        raise InvalidError("the archive's indexes lead to one another without end")

    def _layer(self, path: str) -> _Kept:
        """A layer that manifest.json names."""
        small = self._contents.small.pop(self._contents.path(path), None)
        if small is not None:
            self._contents.layers[self._contents.path(path)] = self._from_memory(small, compress=True)
        return self._contents.layer(path, "a layer")

    def _blob(self, wanted: Descriptor) -> _Kept:
        """A layer that a manifest names by its digest."""
        path = self._contents.path(_blob_path(wanted))
        if path in self._contents.small:
            self._contents.layers[path] = self._from_memory(self._contents.small[path], compress=False)
        kept = self._contents.layer(path, "a layer")
        if (kept.blob.digest, kept.blob.size) != (wanted.digest, wanted.size):
            raise InvalidError(f"the archive's layer {wanted.digest} is something else ({kept.blob.digest})")
        return _Kept(wanted, "")

    def _from_memory(self, data: bytes, *, compress: bool) -> _Kept:
        return _store(self._store, self._pin, iter([data]), compress=compress)

    def _image(self, config: bytes, blobs: list[_Kept], what: str, listed: Received | None = None) -> Descriptor:
        """Unpack and so verify the layers, and keep the documents; the descriptor of the manifest."""
        configuration = spec.read_config(config, "the archive's configuration")
        manifests.require(configuration, self._platform, what)
        diff_ids = configuration.rootfs.diff_ids
        self._pin.add(digests.of(config), *digests.chain_ids(diff_ids))
        descriptor = Descriptor(media_type=spec.OCI_CONFIG, digest=digests.of(config), size=len(config))
        if listed is None:
            layers = [kept.blob for kept in blobs]
            manifest = Manifest(schema_version=2, media_type=spec.OCI_MANIFEST, config=descriptor, layers=layers)
            data = documents.write(manifest)
            listed = Received(digests.of(data), spec.OCI_MANIFEST, data)
        manifest = spec.read_manifest(listed.data, "the archive's manifest")
        if manifest.config.digest != descriptor.digest:
            raise InvalidError(f"the archive's configuration {manifest.config.digest} is something else")
        spec.check_pair(manifest, configuration, "the archive's manifest")
        self._pin.add(listed.digest)
        pairs = zip(diff_ids, manifest.layers, strict=True)
        self._layers.ensure([LayerSource(diff_id, layer.digest) for diff_id, layer in pairs])
        self._store.blobs.add(config)
        self._store.blobs.add(listed.data)
        return listed.descriptor


def _bearable(count: int) -> None:
    if count > _IMAGES:
        raise InvalidError(f"the archive has {count} images; at most {_IMAGES} are loaded at once")


def _blob_path(descriptor: Descriptor) -> str:
    return "blobs/" + "/".join(digests.parse(descriptor.digest))


def _name_of(entry: Descriptor) -> str:
    return (entry.annotations or {}).get(CONTAINERD_NAME) or entry.ref_name


def _names(texts: Sequence[str]) -> list[Reference]:
    """Names as they stand in archives; what can't be one (a mere tag, in some layouts) gives none."""
    found = []
    for text in texts:
        if text and (":" in text or "/" in text):
            try:
                name = reference.parse(text).tagged()
            except InvalidError:
                continue
            if name.tag and not name.digest:
                found.append(name)
    return found
