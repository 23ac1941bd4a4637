"""Layers made by a build: a plain archive goes in, and comes to stand in the store as a gzip blob, hashed both ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..image import spec
from ..image.pins import Pin
from ..image.spec import Descriptor
from ..image.store import ImageStore, Layer
from ..storage import compression
from ..storage import digest as digests
from ..storage.blobs import BlobWriter
from ..storage.layers import LayerSource

GZIP_LAYER = f"{spec.OCI_LAYER}+gzip"


class LayerSink:
    """A layer in the making. Made by `new_layer`.

    Attributes:
        size: bytes of the plain archive so far.
    """

    def __init__(self, blob: BlobWriter, pin: Pin) -> None:
        self._blob = blob
        self._pin = pin
        self._hasher = digests.hasher()
        self._gzip = compression.gzip_writer(blob)  # type: ignore[arg-type]
        self.size = 0

    def write(self, data: bytes, /) -> int:
        """The next bytes of the archive."""
        self._hasher.update(data)
        self._gzip.write(data)
        self.size += len(data)
        return len(data)

    def finish(self, below: Sequence[Layer]) -> Layer:
        """Publish the blob, pinned together with the layer's chain id.

        Args:
            below: the layers that this one lies on, lowest first.
        """
        self._gzip.close()
        diff_id = f"sha256:{self._hasher.hexdigest()}"
        chain = chain_of(below, diff_id)
        self._pin.add(self._blob.digest, chain)  # first: what is there already could go with the last image that has it
        digest, size = self._blob.commit()
        return Layer(Descriptor(media_type=GZIP_LAYER, digest=digest, size=size), diff_id, chain)


@contextmanager
def new_layer(store: ImageStore, pin: Pin) -> Iterator[LayerSink]:
    """A sink for a layer's archive; without `finish` nothing of it stays."""
    with store.blobs.writer() as blob:
        yield LayerSink(blob, pin)


def chain_of(below: Sequence[Layer], diff_id: str) -> str:
    """The chain id that a layer of this diff id has on these layers (image-spec/config.md, "Layer ChainID")."""
    return digests.of(f"{below[-1].chain_id} {diff_id}".encode()) if below else diff_id


def rebased(layer: Layer, below: Sequence[Layer]) -> Layer:
    """The same layer on others."""
    return Layer(layer.blob, layer.diff_id, chain_of(below, layer.diff_id))


def sources(layers: Sequence[Layer]) -> list[LayerSource]:
    """The layers as `Layers.ensure` takes them."""
    return [LayerSource(layer.diff_id, layer.blob.digest) for layer in layers]
