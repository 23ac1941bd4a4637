"""Removing all volumes that no container has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .. import idmap, room
from ..errors import ConflictError, NotFoundError, RootlessError
from ..storage.usage import tree_size
from ..volumes.store import Volume, Volumes
from .store import Containers
from .volume_use import users


@dataclass
class Pruned:
    """What a prune did.

    Attributes:
        removed: names.
        size: bytes of their files.
        failures: why others stayed that should have gone.
    """

    removed: list[str] = field(default_factory=list)
    size: int = 0
    failures: list[RootlessError] = field(default_factory=list)


def prune(containers: Containers, chosen: Callable[[Volume], bool]) -> Pruned:
    """Remove every volume of these that no container has, running or not."""
    containers.sweep()
    volumes, result = Volumes(containers.paths), Pruned()
    used = users(containers)
    for volume in volumes.all():
        if volume.name in used or not chosen(volume):
            continue
        try:
            size = _size(containers, volume)
            volumes.remove(volume.name, lambda name: users(containers).get(name, []))
        except (ConflictError, NotFoundError):
            continue  # a container has it since, or another prune was faster
        except RootlessError as problem:
            result.failures.append(problem)
        else:
            result.removed.append(volume.name)
            result.size += size
    return result


def _size(containers: Containers, volume: Volume) -> int:
    """Of what goes with it: the machine's own directory that a volume may stand for stays."""
    if not volume.own_data:
        return 0
    try:
        return tree_size(volume.data, lambda: room.open_room(containers.paths, idmap.detect()))
    except OSError:  # it can be removed for all that, and is only told
        return 0
