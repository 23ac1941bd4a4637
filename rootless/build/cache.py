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
from ..image.store import ImageStore, Layer
from . import layering

VERSION = 1
"""Raised when the same step would come to something else, or the parts of a key change their meaning."""


def key(kind: str, *parts: object) -> str:
    """64 hexadecimal digits that stand for a step of this kind with these inputs, which must be JSON."""
    return hashlib.sha256(msgspec.json.encode([VERSION, kind, *parts], order="sorted")).hexdigest()


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
