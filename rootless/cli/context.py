"""What every command is given: the engine that its global options describe."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ..paths import Paths, locate

if TYPE_CHECKING:
    from ..container.lifecycle import Engine
    from ..container.store import Containers
    from ..image.store import ImageStore


@dataclass(frozen=True)
class Context:
    """Global options, and the parts of the engine, each imported and opened when it is first asked for."""

    root: str | None = None
    driver: str = "auto"
    debug: bool = False

    @cached_property
    def paths(self) -> Paths:
        return locate(self.root)

    @cached_property
    def images(self) -> ImageStore:
        from ..image.store import ImageStore

        return ImageStore(self.paths)

    @cached_property
    def containers(self) -> Containers:
        from ..container.store import Containers

        return Containers(self.paths)

    @cached_property
    def engine(self) -> Engine:
        from ..container.lifecycle import Engine

        return Engine(self.paths, self.driver, self.debug)
