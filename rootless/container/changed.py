"""A container's layers at a quiet moment: what `diff`, `commit` and `export` read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from .. import child, room
from ..errors import ConflictError, NotFoundError
from ..idmap import IdMap
from ..kernel import fs
from ..kernel.process import machine_id
from ..runtime import bundle, enter
from ..storage import diff
from ..storage.diff import Change
from ..storage.layertar import write_root
from ..storage.trees import Reader
from . import operate
from .container import Container
from .record import State
from .state import Status

_CHUNK = 1 << 18


def reader(container: Container, idmap: IdMap) -> Reader:
    """Reads the layers of a container.

    Raises:
        ConflictError: it was made under another id map.
    """
    paths = container.paths
    stack = bundle.layer_stack(container.record, idmap)
    return Reader(paths.store, stack, lambda: room.open_room(paths, idmap), container.record.driver)


def changes(container: Container, idmap: IdMap) -> list[Change]:
    """What a container, running or not, has changed (storage/diff.py)."""
    found = reader(container, idmap)
    with lasting(container):
        return diff.changes(found)


def export(container: Container, idmap: IdMap, sink: BinaryIO) -> None:
    """Write all of a container's root file system as an archive; without what is mounted in it, as Docker does.

    Raises:
        ConflictError: it is being removed, or runs on another machine.
        OSError: of `sink`.
    """
    found = reader(container, idmap)
    with (
        steady(container, "export", pause=False),
        found.stream(lambda trees, out: write_root(trees.merged(), out)) as source,
    ):
        while chunk := source.read(_CHUNK):
            sink.write(chunk)
    container.emit("export")


@contextmanager
def steady(container: Container, doing: str, *, pause: bool) -> Iterator[None]:
    """Keep a container's files as they are during the block: one that rests from being started or removed, one that
    runs paused if `pause` says so.

    Raises:
        ConflictError: it is being removed, or runs on another machine.
    """
    state = container.state()
    if state.status in (Status.REMOVING, Status.DEAD):
        raise ConflictError(f"You cannot {doing} container {container.id} which is being removed")
    with lasting(container):
        if (hold := container.hold_at_rest(doing)) is not None:
            with hold:
                yield
            return
        state = container.state()
        if state.machine_id != machine_id():
            raise ConflictError(f"container {container.name} is running on {state.host}", hint=f"{doing} it there")
        else:
            with _paused(container, state, pause=pause):
                yield


@contextmanager
def _paused(container: Container, state: State, *, pause: bool) -> Iterator[None]:
    ours = False
    if pause and state.status == Status.RUNNING:
        with suppress(ConflictError):  # it has ended meanwhile: nothing of it runs
            operate.pause(container)
            ours = True
    try:
        with suppress(ConflictError):  # likewise
            _flush(state)
        yield
    finally:
        if ours:
            with suppress(ConflictError):
                operate.unpause(container)


def _flush(state: State) -> None:
    """Have the kernel hand over what it has not written to the file system's process yet: fuse-overlayfs has a
    write-back cache, and what is still in it is not in the writable layer."""
    namespaces = enter.open_namespaces(state, "user", "mnt")

    def flush() -> None:
        enter.enter(namespaces)
        fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        fs.syncfs(fd)

    try:
        child.call(flush, "a process in the container")
    finally:
        for fd in namespaces.values():
            os.close(fd)


@contextmanager
def lasting(container: Container) -> Iterator[None]:
    """What is not found because somebody removes the container is told as such."""
    try:
        yield
    except FileNotFoundError:
        if container.directory.exists():
            raise
        raise NotFoundError(f"No such container: {container.name}") from None
