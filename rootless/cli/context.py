"""What every command is given: the engine that its global options describe."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from ..paths import Paths, check_format, locate
from ..room import has_dead_holders

if TYPE_CHECKING:
    from ..container.engine import Engine
    from ..container.store import Containers
    from ..image.store import ImageStore


class Context(msgspec.Struct, frozen=True, dict=True):
    """Global options, and the parts of the engine, each imported and opened when it is first asked for."""

    root: str | None = None
    driver: str = "auto"
    debug: bool = False

    @cached_property
    def paths(self) -> Paths:
        paths = locate(self.root)
        check_format(paths)
        if has_dead_holders(paths):  # a monitor was killed: what it left is cleared away by the next command, whichever
            from ..container.store import Containers

            Containers(paths).sweep()
        return paths

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
        from ..container.engine import Engine

        return Engine(self.paths, self.driver, self.debug)
