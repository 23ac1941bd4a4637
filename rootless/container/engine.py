"""The engine that a caller works with, for whatever is done with images, containers and builds."""

from __future__ import annotations

from functools import cached_property

import msgspec

from .. import idmap
from ..idmap import IdMap
from ..image.store import ImageStore
from ..paths import Paths
from .store import Containers


class Engine(msgspec.Struct, frozen=True, dict=True):
    """One caller's engine: the stores under its two roots, each opened when it is first used."""

    paths: Paths
    driver: str = "auto"
    debug: bool = False

    @cached_property
    def idmap(self) -> IdMap:
        return idmap.detect()

    @cached_property
    def images(self) -> ImageStore:
        return ImageStore(self.paths)

    @cached_property
    def containers(self) -> Containers:
        return Containers(self.paths)
