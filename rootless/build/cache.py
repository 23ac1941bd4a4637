"""The build cache: what a step depends on, as a key, and what it came to.

A key is the digest of everything that a step's result is a function of: the layers below it by their chain id (what is
in them, not how they came to be), what the instruction says once its variables are expanded, for RUN the environment it
runs in, and for COPY and ADD the files with their contents and attributes, their times apart. What is secret is never
part of it. docs/decisions/0016-build.md has the whole definition.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from ..image.pins import Pin
from ..image.steps import Step, Steps
from ..image.store import Image, ImageStore, Layer
from . import layering

VERSION = 4
"""Raised when the same step would come to something else, or the parts of a key change their meaning."""


def key(kind: str, *parts: object) -> str:
    """64 hexadecimal digits that stand for a step of this kind with these inputs, which must be JSON."""
    return hashlib.sha256(msgspec.json.encode([VERSION, kind, *parts], order="sorted")).hexdigest()


KEYS = "dev.rootless.build.keys"
"""The annotation of a manifest that has the key of each layer, lowest first, parted by commas; empty for others'."""


def keys_of(image: Image) -> list[str]:
    """The keys of an image's layers, as far as it tells them."""
    found = (image.manifest.annotations or {}).get(KEYS, "").split(",")
    return found if len(found) == len(image.layers) else [""] * len(image.layers)


@dataclass(frozen=True)
class Known:
    """What a step came to earlier, and when."""

    layer: Layer
    created: str


@dataclass
class Cache:
    """The cache as one build uses it.

    Attributes:
        read: whether earlier results may be used (not with --no-cache); new ones are kept in any case.
        imported: results by key that came with images (--cache-from).
    """

    store: ImageStore
    pin: Pin
    read: bool = True
    imported: dict[str, Known] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._steps = Steps(self.store.paths)

    def take_over(self, image: Image) -> None:
        """Let what an image's layers were made by be known (--cache-from)."""
        created = image.config.created or ""
        times = [entry.created or created for entry in image.config.history or [] if not entry.empty_layer]
        times += [created] * (len(image.layers) - len(times))
        for key, layer, time in zip(keys_of(image), image.layers, times, strict=False):
            if key:
                self.imported[key] = Known(layer, time)

    def find(self, key: str, below: Sequence[Layer]) -> Known | None:
        """What the step of this key came to, as the next layer on `below`; pinned."""
        if not self.read:
            return None
        step = self._steps.find(key)
        known = Known(step.as_layer, step.created) if step is not None else self.imported.get(key)
        if known is None:
            return None
        layer = layering.rebased(known.layer, below)
        with self.pin.adding() as add:
            if not self.store.blobs.exists(layer.blob.digest):
                return None
            add(layer.blob.digest)
            add(layer.chain_id)
        return Known(layer, known.created)

    def note(self, key: str, known: Known, description: str) -> None:
        """Remember what a step came to."""
        layer = known.layer
        self._steps.note(
            key,
            Step(
                layer=layer.blob,
                diff_id=layer.diff_id,
                chain_id=layer.chain_id,
                description=description,
                created=known.created,
            ),
        )
