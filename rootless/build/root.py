"""What a stage has come to, as a tree: its layers as they lie on disk, merged. Not loaded where everything is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO, TypeVar

from .. import room
from ..container.engine import Engine
from ..image.store import Layer
from ..storage import drivers
from ..storage.driver import LayerStack
from ..storage.layers import Layers
from ..storage.layertar import write_difference, write_root
from ..storage.trees import Reader
from . import layering
from .trees import MergedTree

T = TypeVar("T")


class Root:
    """The root file system of some layers (one at least), to be looked into and read where all of its files may be."""

    def __init__(self, engine: Engine, layers: Sequence[Layer]) -> None:
        self._engine = engine
        choice = drivers.choose(engine.driver, engine.paths.store, engine.idmap)
        links = Layers(engine.paths, engine.idmap).ensure(layering.sources(layers), choice.layer_kind)
        # There is no writable layer: only what would lie under one is looked at.
        stack = LayerStack(tuple(links), links[0], "", owners=choice.owners)
        self._reader = Reader(engine.paths.store, stack, lambda: room.open_room(engine.paths, engine.idmap))

    def call(self, work: Callable[[MergedTree], T]) -> T:
        """Do `work` in a child, and give back what it returns or raise what it raises."""
        return self._reader.call(lambda trees: work(MergedTree(trees.below)))

    def stream(self, work: Callable[[MergedTree, BinaryIO], None]) -> AbstractContextManager[BinaryIO]:
        """Likewise; what it writes is read in the block."""
        return self._reader.stream(lambda trees, sink: work(MergedTree(trees.below), sink))

    def archive(self) -> AbstractContextManager[BinaryIO]:
        """All of it as an archive, to be read in the block."""
        return self._reader.stream(lambda trees, sink: write_root(trees.below, sink))

    def difference(self, fresh: int, epoch: int | None) -> AbstractContextManager[BinaryIO]:
        """The topmost layers as the archive of one, likewise."""
        return self._reader.stream(lambda trees, sink: write_difference(trees.below, fresh, sink, epoch))
