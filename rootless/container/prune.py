"""Removing all containers that don't run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .. import room
from ..errors import RootlessError
from ..storage.usage import tree_size
from . import operate
from .container import Container
from .engine import Engine
from .state import ALIVE


@dataclass
class Pruned:
    """What a prune did.

    Attributes:
        removed: whole ids.
        size: bytes of their writable layers.
        failures: why others stayed that should have gone.
    """

    removed: list[str] = field(default_factory=list)
    size: int = 0
    failures: list[RootlessError] = field(default_factory=list)


def prune(engine: Engine, chosen: Callable[[Container], bool]) -> Pruned:
    """Remove every container of these that does not run. One that a command is just about to start stays."""
    result = Pruned()
    for container, state in engine.containers.survey():
        if state.status in ALIVE or not chosen(container):
            continue
        try:
            size = _size(engine, container)
            operate.remove(engine.containers, container)
        except RootlessError as problem:
            result.failures.append(problem)
        else:
            result.removed.append(container.id)
            result.size += size
    return result


def _size(engine: Engine, container: Container) -> int:
    try:
        return tree_size(container.directory / "upper", lambda: room.open_room(engine.paths, engine.idmap))
    except OSError:  # it can be removed for all that, and is only told
        return 0
