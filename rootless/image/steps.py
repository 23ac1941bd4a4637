"""What the steps of earlier builds came to: a document each, named by the step's key.

    build/steps/<64 hex>.json       the layer that a step made
    build/steps/<64 hex>.json's mtime    when it was last of use

A key is a digest of all that a step's result depends on (build/cache.py says of what). The layers that are named here
stay until `builder prune`, whether an image has them or not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .. import atomic
from ..errors import InvalidError
from ..paths import Paths
from ..storage import digest as digests
from . import documents
from .documents import Document
from .spec import Descriptor
from .store import Layer

_NAME = re.compile(r"([0-9a-f]{64})\.json")


class Step(Document, kw_only=True, rename=None):
    """The document of one step.

    Attributes:
        layer: the blob of the layer that it made.
        diff_id, chain_id: of that layer; the chain id says on which layers it lies.
        description: the step as its build showed it.
        created: RFC 3339.
    """

    layer: Descriptor
    diff_id: str
    chain_id: str
    description: str = ""
    created: str = ""

    @property
    def as_layer(self) -> Layer:
        return Layer(self.layer, self.diff_id, self.chain_id)


@dataclass(frozen=True)
class Kept:
    """A step on disk.

    Attributes:
        used: when it was last of use, in seconds since 1970.
    """

    key: str
    step: Step
    used: float


class Steps:
    """All steps of one store."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def find(self, key: str) -> Step | None:
        """What a step of this key came to, noting that it was of use; None when no build has had one."""
        path = self._path(key)
        step = _read(path)
        if step is not None:
            with suppress(OSError):  # a store that is mounted read-only
                os.utime(path)
        return step

    def note(self, key: str, step: Step) -> None:
        """Remember what a step came to. Its blob and its layer are in the store and pinned."""
        path = self._path(key)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        atomic.write(path, documents.write(step), tmp=self._paths.tmp, durable=False)

    def forget(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def all(self) -> Iterator[Kept]:
        """Every step that can be read. One that is damaged is of no use to anybody, and is passed over."""
        with suppress(FileNotFoundError):
            for entry in sorted(os.listdir(self._paths.build_steps)):
                match = _NAME.fullmatch(entry)
                path = self._paths.build_steps / entry
                if match is None or (step := _read(path)) is None:
                    continue
                with suppress(FileNotFoundError):
                    yield Kept(match[1], step, path.stat().st_mtime)

    def _path(self, key: str) -> Path:
        return self._paths.build_steps / f"{key}.json"


def _read(path: Path) -> Step | None:
    try:
        step = documents.read(path.read_bytes(), Step, str(path))
        for digest in step.layer.digest, step.diff_id, step.chain_id:
            digests.check(digest)
    except (FileNotFoundError, InvalidError):
        return None
    return step
