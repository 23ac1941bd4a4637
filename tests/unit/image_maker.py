"""Images for the tests of the store: real documents over blobs of a few bytes, which nothing unpacks."""

from __future__ import annotations

from pathlib import Path

from rootless.image import garbage, reference, spec
from rootless.image.spec import Descriptor, ImageConfig, RootFs, RunConfig
from rootless.image.store import Image, ImageStore
from rootless.paths import Paths
from rootless.storage import digest as digests


def new_store(directory: Path) -> ImageStore:
    return ImageStore(Paths(store=directory / "store", run=directory / "run"))


def make_image(
    store: ImageStore,
    name: str = "",
    *,
    layers: tuple[bytes, ...] = (b"layer",),
    labels: dict[str, str] | None = None,
    created: str = "2024-01-01T00:00:00Z",
) -> Image:
    """An image with these layers; the plain archive and the blob are the same bytes."""
    config = ImageConfig(
        architecture="amd64",
        os="linux",
        created=created,
        config=RunConfig(labels=labels),
        rootfs=RootFs(type="layers", diff_ids=[digests.of(layer) for layer in layers]),
    )
    with garbage.transaction(store) as pin:
        blobs = []
        for layer in layers:
            digest, size = store.blobs.add(layer)
            pin.add(digest)
            blobs.append(Descriptor(media_type=spec.OCI_LAYER, digest=digest, size=size))
        return store.publish(pin, config, blobs, reference.parse(name).tagged() if name else None)


def names(store: ImageStore) -> dict[str, list[str]]:
    """Each image's id (12 digits) and its names."""
    return {image.short_id: [str(n) for n in (*image.names, *image.digests)] for image in store.all()}


def blobs(store: ImageStore) -> set[str]:
    return {f"sha256:{path.name}" for path in (store.paths.blobs / "sha256").iterdir()}
