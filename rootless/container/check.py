"""Are the containers on disk whole? The part of `system check` that is about them."""

from __future__ import annotations

from collections.abc import Iterator

from .. import atomic
from ..errors import RootlessError
from ..storage.drivers import get
from .container import APPLYING, Container, Hold
from .store import Containers


def problems(containers: Containers) -> Iterator[str]:
    """What is wrong with each container that can't be used as it stands, and what is left of others, in a line each.

    The store has just been swept.
    """
    for name in atomic.drafts(containers.paths.tmp):
        yield f"what is left of {name.partition('.')[0][:12]} can't be removed: {containers.paths.tmp / name}"
    for container_id in containers.ids():
        try:
            container = containers.load(container_id)
            container.stored_state()
            get(container.record.driver)
        except RootlessError as problem:
            yield f"container {container_id[:12]}: {problem}"
            continue
        for link in container.record.layers:
            if not (containers.paths.store / link).is_dir():
                yield f"container {container.name}: its layer {link} is not there"
        if _was_killed_while_applying(container):
            yield f"container {container.name}: an `apply` of it was killed; apply or discard its changes"
        if not (container.directory / "upper").is_dir():
            yield f"container {container.name}: its writable layer is not there"


def _was_killed_while_applying(container: Container) -> bool:
    if not (container.directory / APPLYING).exists() or (hold := Hold.take(container.directory)) is None:
        return False
    hold.release()
    return True
