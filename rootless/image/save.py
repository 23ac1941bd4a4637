"""Save: images as one archive, written to a stream in one go.

Both forms hold the blobs as they stand in the store, compressed as they came, in an OCI image layout.
`docker-archive` has in addition the manifest.json by which `docker load` and podman find their way: today's `docker
save` writes the same. (image-layout.md; moby's image/tarexport.)
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Sequence
from typing import BinaryIO, Literal

import msgspec

from ..errors import RootlessError
from . import documents, manifests, pins, spec
from .reference import Reference
from .spec import REF_NAME, Descriptor, Index, Platform
from .store import Image, ImageStore

Form = Literal["docker-archive", "oci-archive"]

CONTAINERD_NAME = "io.containerd.image.name"
"""The annotation by which containerd, and so Docker, finds the full name; ref.name may be a mere tag to them."""


def save(
    store: ImageStore,
    wanted: Sequence[str],
    sink: BinaryIO,
    form: Form = "docker-archive",
    platform: Platform | None = None,
) -> None:
    """Write the images that these names and ids mean. A name stands in the archive, an id does not.

    Args:
        platform: what they have to be for.

    Raises:
        NotFoundError: one is not here, or for another platform; nothing was written.
        OSError: of `sink`.
    """
    with pins.hold(store.paths) as pin:
        images: dict[str, tuple[Image, list[Reference]]] = {}
        for text in wanted:
            image = store.resolve(text)
            manifests.require(image.config, platform, text)
            pin.add(image.manifests[0].digest, image.id, *(layer.blob.digest for layer in image.layers))
            images.setdefault(image.id, (image, []))[1].extend(_named(image, text))
        write(store, list(images.values()), sink, form)
    for image_id in images:
        store.emit("save", image_id)


def write(store: ImageStore, images: Sequence[tuple[Image, list[Reference]]], sink: BinaryIO, form: Form) -> None:
    """Write pinned images under these names."""
    _Writer(store, sink, images).write(form)


def _named(image: Image, text: str) -> list[Reference]:
    """The tag that was meant, if it was one: `name` is `name:latest`."""
    from . import reference, shortnames

    if reference.digest_in(text) or reference.id_prefix(text) == image.id[7 : 7 + len(text)]:
        return []
    return [name for name in image.names if name in (reference.parse(text).tagged(), shortnames.expand(text).tagged())]


class _Writer:
    def __init__(self, store: ImageStore, sink: BinaryIO, images: Sequence[tuple[Image, list[Reference]]]) -> None:
        self._store = store
        self._images = images
        self._tar = tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT)

    def write(self, form: Form) -> None:
        """The documents first: a reader of a stream then knows what the blobs are."""
        with self._tar:
            self._add("oci-layout", documents.write(spec.Layout(image_layout_version="1.0.0")))
            self._add("index.json", documents.write(self._index()))
            if form == "docker-archive":
                self._add("manifest.json", msgspec.json.encode([_docker(*pair) for pair in self._images]))
            for directory in "blobs/", "blobs/sha256/":
                self._tar.addfile(_entry(directory, 0, tarfile.DIRTYPE))
            for digest in dict.fromkeys(self._blobs()):
                self._blob(digest)

    def _index(self) -> Index:
        entries = []
        for image, names in self._images:
            entries += [_annotated(image.manifests[0], name) for name in names or (None,)]
        return Index(schema_version=2, media_type=spec.OCI_INDEX, manifests=entries)

    def _blobs(self) -> Iterable[str]:
        for image, _ in self._images:
            yield image.manifests[0].digest
            yield image.id
            yield from (layer.blob.digest for layer in image.layers)

    def _add(self, name: str, data: bytes) -> None:
        self._tar.addfile(_entry(name, len(data)), io.BytesIO(data))

    def _blob(self, digest: str) -> None:
        size = self._store.blobs.size(digest)
        with self._store.blobs.open(digest) as file:
            try:
                self._tar.addfile(_entry(_path(digest), size), file)
            except tarfile.ReadError as problem:  # tarfile's word for a file that ends too early
                raise RootlessError(f"blob {digest} can't be read: {problem}") from problem


def _entry(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    """Without a time or an owner: equal images make equal archives."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.type, entry.mode = size, kind, 0o755 if kind == tarfile.DIRTYPE else 0o644
    return entry


def _path(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _annotated(manifest: Descriptor, name: Reference | None) -> Descriptor:
    annotations = {k: v for k, v in (manifest.annotations or {}).items() if k != REF_NAME}
    if name is not None:
        annotations |= {REF_NAME: name.full, CONTAINERD_NAME: name.full}
    return manifest.changed(annotations=annotations or None)


def _docker(image: Image, names: list[Reference]) -> dict[str, object]:
    return {
        "Config": _path(image.id),
        "RepoTags": [name.familiar for name in names] or None,
        "Layers": [_path(layer.blob.digest) for layer in image.layers],
    }
