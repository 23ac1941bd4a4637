"""Images out of archives: `import` makes one of a root filesystem's tar, plain or compressed.

The archive is hashed both ways in one pass while it is read: compressed for the blob's digest, plain for the diff id.
What came as gzip is kept as it came; anything else is kept as gzip, because umoci reads nothing else.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import BinaryIO, cast

from ..errors import InvalidError
from ..storage import archives, compression
from ..storage import digest as digests
from ..storage.blobs import BlobWriter
from ..storage.layers import Layers, LayerSource
from . import garbage, spec
from .changes import apply
from .pins import Pin
from .reference import Reference
from .spec import Descriptor, History, ImageConfig, Platform, RootFs, RunConfig
from .store import Image, ImageStore, Layer

_CHUNK = 1 << 18


def import_tarball(
    store: ImageStore,
    layers: Layers,
    source: BinaryIO,
    name: Reference | None,
    *,
    changes: Sequence[str] = (),
    message: str = "Imported from -",
    platform: Platform | None = None,
) -> Image:
    """Make an image of one layer, the archive that `source` holds.

    Args:
        layers: where the layer is unpacked before the image exists, so that an archive which can't be unpacked is
            refused here and leaves nothing.
        name: what the image is to be called; None leaves it without a name.
        changes: Dockerfile instructions for its configuration.
        message: the history's comment.
        platform: what it is for; this machine by default.

    Raises:
        InvalidError: a change is malformed, or the archive is damaged, hostile or none.
        StoreError: no room.
    """
    run = apply(RunConfig(), changes)
    platform = platform or spec.host_platform()
    with garbage.transaction(store, layers) as pin:
        layer = _receive(store, pin, source)
        layers.ensure([LayerSource(layer.diff_id, layer.blob.digest)])
        created = spec.timestamp(datetime.now(UTC))
        config = ImageConfig(
            created=created,
            architecture=platform.architecture,
            variant=platform.variant,
            os=platform.os,
            config=run,
            rootfs=RootFs(type="layers", diff_ids=[layer.diff_id]),
            history=[History(created=created, comment=message)],
        )
        return store.publish(pin, config, [layer.blob], name)


def _receive(store: ImageStore, pin: Pin, source: BinaryIO) -> Layer:
    """Keep the archive as a blob, pinned."""
    with store.blobs.writer() as writer:
        diff_id = _copy(source, writer)
        # Pinned first: what is there already could go with the last image that has it, a kill leaves nothing unknown.
        # The diff id also names the unpacked layer, as nothing lies below it.
        pin.add(writer.digest, diff_id)
        digest, size = writer.commit()
    descriptor = Descriptor(media_type=f"{spec.OCI_LAYER}+gzip", digest=digest, size=size)
    return Layer(descriptor, diff_id, diff_id)


def _copy(source: BinaryIO, writer: BlobWriter) -> str:
    """Write the archive as gzip and give back its diff id."""
    hasher = digests.hasher()
    tap = _Tap(source, writer)
    plain = archives.uncompressed(cast(BinaryIO, io.BufferedReader(tap, _CHUNK)))
    compressor = None if tap.is_gzip else compression.gzip_writer(cast(BinaryIO, writer))
    while chunk := plain.read(_CHUNK):
        hasher.update(chunk)
        if compressor is not None:
            compressor.write(chunk)
    if compressor is not None:
        compressor.close()
    return f"sha256:{hasher.hexdigest()}"


class _Tap(io.RawIOBase):
    """Passes a stream through, and writes what passes to the blob as well if it is gzip already."""

    def __init__(self, source: BinaryIO, writer: BlobWriter) -> None:
        self._source = source
        self._writer = writer
        self.is_gzip: bool | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._read(len(buffer))
        if self.is_gzip is None:
            # A pipe may give the first bytes one by one.
            while len(data) < len(compression.GZIP) and (more := self._read(len(compression.GZIP) - len(data))):
                data += more
            self.is_gzip = data.startswith(compression.GZIP)
        if self.is_gzip:
            self._writer.write(data)
        buffer[: len(data)] = data
        return len(data)

    def _read(self, size: int) -> bytes:
        try:
            return self._source.read(size)
        except OSError as problem:
            raise InvalidError(f"the archive can't be read: {problem.strerror}") from problem
