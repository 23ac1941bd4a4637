"""Is the store what it says it is? Every blob is hashed, every document read, every unpacked layer looked at.

What an unpacked layer's files hold can't be told from outside: they were verified when they were unpacked, and who
doubts them removes the layer; it is made anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InvalidError, RootlessError
from ..storage import digest as digests
from . import garbage, partial, spec
from .documents import read
from .spec import Layout
from .store import ImageStore

_CHUNK = 1 << 20
_TREE = re.compile(r"owned|mapped-[0-9a-f]{8}")
_BESIDE = frozenset({"lock", "size", "owners.jsonl"})


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes:
        repair: takes it out of the way, where that loses nothing that can't be had again.
    """

    text: str
    repair: Callable[[], object] | None = None


@dataclass
class Report:
    """What was looked at, and what was found."""

    images: int = 0
    blobs: int = 0
    blob_bytes: int = 0
    layers: int = 0
    containers: int = 0
    findings: list[Finding] = field(default_factory=list)


def check(store: ImageStore) -> Report:
    """Look at all of it. The caller holds the index's lock, so that nothing goes meanwhile.

    Raises:
        StoreError: not even the index can be read.
    """
    report = Report()
    report.findings += _layout(store)
    report.findings += _blobs(store, report)
    report.findings += _images(store, report)
    report.findings += _layers(store, report)
    report.findings += _links(store)
    return report


def _layout(store: ImageStore) -> Iterator[Finding]:
    try:
        read(store.paths.oci_layout.read_bytes(), Layout, str(store.paths.oci_layout))
    except (OSError, InvalidError) as problem:
        yield Finding(f"{store.paths.oci_layout} can't be read: {problem}")


def _blobs(store: ImageStore, report: Report) -> Iterator[Finding]:
    for algorithm in sorted(garbage.listed(store.paths.blobs)):
        for name in sorted(garbage.listed(store.paths.blobs / algorithm)):
            path = store.paths.blobs / algorithm / name
            try:
                digest = digests.check(f"{algorithm}:{name}")
                found, size = _hashed(path, algorithm)
            except (InvalidError, OSError) as problem:
                yield Finding(f"{path} is no blob: {problem}")
                continue
            report.blobs += 1
            report.blob_bytes += size
            if found != digest:
                yield Finding(f"blob {digest} is damaged: it is {found}", path.unlink)


def _hashed(path: Path, algorithm: str) -> tuple[str, int]:
    hasher, size = digests.hasher(algorithm), 0
    with open(path, "rb", buffering=0) as file:
        while data := file.read(_CHUNK):
            hasher.update(data)
            size += len(data)
    return f"{algorithm}:{hasher.hexdigest()}", size


def _images(store: ImageStore, report: Report) -> Iterator[Finding]:
    damaged: list[RootlessError] = []
    for image in store.images_in(store.read_index(), damaged.append):
        report.images += 1
        name = str(image.names[0]) if image.names else image.short_id
        for manifest in image.manifests:
            layers = spec.read_manifest(store.blobs.read(manifest.digest, spec.MANIFEST_LIMIT), name).layers
            for layer in layers:
                if not store.blobs.exists(layer.digest):
                    yield Finding(f"image {name} lacks the blob {layer.digest}: pull it again")
                elif store.blobs.size(layer.digest) != layer.size:
                    yield Finding(f"image {name}: the blob {layer.digest} is not of {layer.size} bytes")
    yield from (Finding(str(problem)) for problem in damaged)


def _layers(store: ImageStore, report: Report) -> Iterator[Finding]:
    lengths = set(digests.ALGORITHMS.values())
    for name in sorted(garbage.listed(store.paths.layers)):
        directory = store.paths.layers / name
        if len(name) not in lengths or not directory.is_dir():
            yield Finding(f"{directory} is no layer")
            continue
        report.layers += 1
        for entry in directory.iterdir():
            if entry.name in _BESIDE:
                continue
            if not _TREE.fullmatch(entry.name) or not entry.is_dir():
                yield Finding(f"{entry} is no part of a layer")
            elif entry.name == "owned" and not (directory / "owners.jsonl").is_file():
                yield Finding(f"{entry} has lost its owners.jsonl: remove the layer, it is made anew")


def _links(store: ImageStore) -> Iterator[Finding]:
    for name in sorted(garbage.listed(store.paths.links)):
        link = store.paths.links / name
        if not link.is_symlink() or not re.fullmatch(r"\.\./layers/[0-9a-f]+/[a-z0-9-]+", os.readlink(link)):
            yield Finding(f"{link} is no link to a layer")
        elif not link.is_dir():
            yield Finding(f"{link} leads to a layer that is not there", link.unlink)


def partials(store: ImageStore) -> tuple[int, int]:
    """What has arrived of blobs so far: (how many, bytes)."""
    sizes = [partial.size(store.paths, digest) for digest, _ in partial.every(store.paths)]
    return len(sizes), sum(sizes)
