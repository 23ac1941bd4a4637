"""Which containers have which volumes, and what becomes of volumes that nobody named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import ConflictError, NotFoundError, StoreError
from ..volumes.store import Volumes
from .mounts import Mount
from .record import Spec

if TYPE_CHECKING:
    from .container import Container
    from .store import Containers


def names(spec: Spec) -> Iterator[str]:
    """The volumes that a container has, running or not."""
    return (mount.source for mount in spec.mounts if mount.type == "volume")


def users(containers: Containers) -> dict[str, list[str]]:
    """The ids of the containers that have each volume, by its name."""
    found: dict[str, list[str]] = {}
    for container in containers.all():
        for name in dict.fromkeys(names(container.spec)):
            found.setdefault(name, []).append(container.id)
    return found


def ensure(volumes: Volumes, mounts: Iterable[Mount]) -> None:
    """Make the volumes of these mounts that are not there. The caller is inside `volumes.using()`.

    Raises:
        InvalidError: a name that can't be one.
    """
    for mount in mounts:
        if mount.type == "volume":
            volumes.create(mount.source, labels=mount.labels, options=mount.volume_options, anonymous=mount.anonymous)


def release(containers: Containers, container: Container) -> None:
    """Remove the volumes of a container that nobody named and no other container has."""
    volumes = Volumes(containers.paths)
    for mount in container.spec.mounts:
        if mount.type == "volume" and mount.anonymous:
            # Another has it by --volumes-from; it is gone; it is damaged and has to be looked at.
            with suppress(ConflictError, NotFoundError, StoreError):
                volumes.remove(mount.source, lambda name: [i for i in _users_of(containers, name) if i != container.id])


def _users_of(containers: Containers, name: str) -> list[str]:
    return users(containers).get(name, [])
