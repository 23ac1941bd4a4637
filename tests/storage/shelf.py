"""What the tests of the cache of unpacked layers put into it, and what they look for afterwards."""

from __future__ import annotations

import gzip
import os

from rootless.paths import Paths
from rootless.storage import digest as digests
from rootless.storage.blobs import Blobs
from rootless.storage.layers import LayerSource
from tests.storage.archives import Archive


def stored(paths: Paths, archive: Archive | bytes, *, compress: bool = True) -> LayerSource:
    data = archive if isinstance(archive, bytes) else archive.bytes()
    blob, _ = Blobs(paths).add(gzip.compress(data, 1) if compress else data)
    return LayerSource(digests.of(data), blob)


def leftovers(paths: Paths) -> list[str]:
    return os.listdir(paths.tmp)


def trees(paths: Paths) -> list[str]:
    return sorted(str(p.relative_to(paths.layers)) for p in paths.layers.glob("*/*") if p.is_dir())
