"""Look, then decide: what a container has changed of the machine's own files is shown, made real, or thrown away.

That is so for a container of the image `host`, whose changes lie over the machine's root, and for each mount `:O`,
whose changes lie over one of its directories.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .. import atomic, room
from ..errors import ConflictError, NotFoundError, StoreError
from ..fuse.metadata import NOBODY
from ..idmap import IdMap
from ..runtime import bundle
from ..storage import apply as applying
from ..storage import diff, drafts
from ..storage.apply import Order, Outcome
from ..storage.diff import MADE, Change
from ..storage.driver import HOST, LayerStack
from ..storage.meanwhile import NOTES, SINCE, Meanwhile
from ..storage.remove import exchange, remove_below, remove_tree
from ..storage.trees import Reader, Trees
from . import changed, writable
from .container import APPLYING, Container
from .mounts import Mount
from .state import ALIVE


@dataclass(frozen=True)
class Area:
    """A living directory that a container has a writable layer over.

    Attributes:
        target: where the container has it.
        stack: its layers; paths that are not absolute are relative to the store.
        notes: the directory in which base.jsonl lies.
        made: what the engine has made in it.
    """

    target: str
    stack: LayerStack
    notes: Path
    made: frozenset[bytes] = frozenset()

    def shown(self, path: bytes) -> bytes:
        """A path inside as the container says it."""
        return os.fsencode(self.target.rstrip("/")) + path if path != b"/" else os.fsencode(self.target)

    def inside(self, path: str) -> bytes | None:
        """The reverse of `shown`: where the area is reached by `path`; None for not at all."""
        if path == self.target or self.target.startswith(path.rstrip("/") + "/"):
            return b"/"
        above = self.target.rstrip("/") + "/"
        return os.fsencode("/" + path[len(above) :]) if path.startswith(above) else None


def areas(container: Container, idmap: IdMap) -> list[Area]:
    """What a container's changes lie over; a mount of which nothing is there yet is not among them.

    Raises:
        ConflictError: it was made under another id map.
    """
    stack = bundle.layer_stack(container.record, idmap)
    found = []
    if HOST in container.record.layers:
        found.append(Area("/", stack, container.directory, MADE | _mount_points(container.spec.mounts)))
    for number, mount in enumerate(container.spec.mounts):
        place = container.directory / "overlays" / str(number)
        if mount.type == "overlay" and (place / SINCE).exists():
            own = f"containers/{container.id}/overlays/{number}"
            layers = LayerStack((mount.source,), mount.upper or f"{own}/upper", mount.work or f"{own}/work")
            found.append(Area(mount.target, layers, place))
    return found


def _mount_points(mounts: Sequence[Mount]) -> frozenset[bytes]:
    found: set[bytes] = set()
    for mount in mounts:
        path = mount.target
        while path != "/":
            found.add(os.fsencode(path))
            path = posixpath.dirname(path)
    return frozenset(found)


def changes(container: Container, idmap: IdMap) -> list[Change]:
    """What a container, running or not, has changed: in its root file system and in its mounts `:O`."""
    found: list[Change] = []
    living = areas(container, idmap)
    if HOST not in container.record.layers:
        found += changed.changes(container, idmap)
    with changed.lasting(container):
        for area in living:
            reader = _reader(container, idmap, area)
            listed = diff.changes(reader, area.made, root=area.target != "/")
            found += [Change(change.kind, area.shown(change.path)) for change in listed]
    return sorted(found, key=lambda change: change.path)


def apply(container: Container, idmap: IdMap, only: Sequence[str] = (), *, dry_run: bool = False) -> list[Outcome]:
    """Make what a container has changed real on the machine (storage/apply.py), and take it out of the container.

    Args:
        only: paths in the container; what is there or below is made, and the directories that lead there.

    Raises:
        ConflictError: it runs, or has nothing of the machine's to change.
        NotFoundError: nothing was changed at a path of `only`.
    """
    outcomes: list[Outcome] = []
    with _resting(container, "apply the changes of"):
        living = _require_some(container, idmap)
        if not dry_run:
            _clear(container, idmap)
            drafts.write_down(
                container.directory / APPLYING, _draft(container), [_place(container, area) for area in living]
            )
        for area in living:
            inside = [path for path in map(area.inside, only) if path is not None]
            if only and not inside:
                continue
            order = Order(
                draft=_draft(container),
                only=tuple(inside),
                dry_run=dry_run,
                cross=area.target == "/",
                made=area.made,
            )
            result = _apply_area(container, idmap, area, order)
            outcomes += [outcome._replace(path=area.shown(outcome.path)) for outcome in result.outcomes]
        if not dry_run:
            (container.directory / APPLYING).unlink()
    _require_found(container, only, outcomes)
    return sorted(outcomes, key=lambda outcome: outcome.path)


def _apply_area(container: Container, idmap: IdMap, area: Area, order: Order) -> applying.Result:
    meanwhile = Meanwhile(area.notes)
    try:
        reader = _reader(container, idmap, area)
        result = reader.call(lambda trees: applying.apply(trees, meanwhile, order))
    finally:
        meanwhile.close()
    if not order.dry_run:
        meanwhile = Meanwhile(area.notes)
        meanwhile.forget(result.settled, everything=result.empty)
        meanwhile.close()
    return result


def discard(container: Container, idmap: IdMap) -> None:
    """Throw away what a container has changed of the machine's; its next start begins anew.

    Raises:
        ConflictError: it runs, or has nothing of the machine's to change.
    """
    paths = container.paths
    with _resting(container, "discard the changes of"):
        _clear(container, idmap)
        for area in _require_some(container, idmap):
            if os.path.isabs(area.stack.upper):
                _reader(container, idmap, area).call(_empty)
                work = Path(area.stack.work)
                for name in os.listdir(work):
                    remove_tree(work / name, lambda: room.open_room(paths, idmap))
            else:
                _renew(container, idmap, area)
            (area.notes / NOTES).unlink(missing_ok=True)
            (area.notes / SINCE).unlink(missing_ok=True)


def _clear(container: Container, idmap: IdMap) -> None:
    """Take away what an `apply` that was killed has left on the machine. The caller holds the container's lock."""
    note = container.directory / APPLYING
    drafts.clear(note, container.paths.store, lambda: room.open_room(container.paths, idmap))


def _draft(container: Container) -> bytes:
    return f".rootless-apply-{container.id[:12]}".encode()


def _empty(trees: Trees) -> None:
    """Empty a directory of the caller's own that was a writable layer; it gets owner and mode of what lies below.

    To be called by a process that may read both (`Reader.call`).

    Raises:
        StoreError: something in it belongs to an id that is not the caller's.
    """
    top, below = trees.upper.root, trees.below.status(trees.below.root)
    try:
        if NOBODY not in (below.st_uid, below.st_gid):
            os.fchown(top, below.st_uid, below.st_gid)
        os.fchmod(top, stat.S_IMODE(below.st_mode))
        for name in os.listdir(top):
            try:
                os.unlink(name, dir_fd=top)
            except IsADirectoryError:
                remove_below(top, name)
    except PermissionError as problem:
        raise StoreError(
            f"the writable layer can't be emptied: {problem}", hint="its files belong to ids that are not yours"
        ) from problem


def _renew(container: Container, idmap: IdMap, area: Area) -> None:
    """Exchange the writable layer for a new one: whatever owner and mode the container has given it, this takes the
    caller no look into it, and a kill leaves the old one or the new one."""
    paths = container.paths
    top = paths.store / area.stack.layers[0]
    draft = atomic.new_name(paths.tmp, container.id)
    draft.mkdir(mode=0o700, parents=True)
    try:
        writable.make(draft, top if top.is_dir() else Path("/"), idmap, owned=area.stack.owners == "owned")
        for part, new in (area.stack.upper, "upper"), (area.stack.work, "work"):
            exchange(paths.store / part, draft / new, lambda: room.open_room(paths, idmap))
    finally:
        remove_tree(draft, lambda: room.open_room(paths, idmap))


def _reader(container: Container, idmap: IdMap, area: Area) -> Reader:
    paths, place = container.paths, _place(container, area)
    return Reader(paths.store, place.stack, lambda: room.open_room(paths, idmap), place.driver)


def _place(container: Container, area: Area) -> drafts.Place:
    whole = area.target == "/"
    return drafts.Place(area.stack, container.record.driver if whole else "overlay", cross=whole)


@contextmanager
def _resting(container: Container, doing: str) -> Iterator[None]:
    """A container keeps its own view of what is taken out of its writable layer as long as it runs."""
    if container.state().status in ALIVE:
        raise ConflictError(
            f"cannot {doing} container {container.name}: it is running",
            hint=f"stop it first: rootless stop {container.name}",
        )
    with changed.steady(container, doing, pause=False):
        yield


def _require_some(container: Container, idmap: IdMap) -> list[Area]:
    found = areas(container, idmap)
    overlays = any(mount.type == "overlay" for mount in container.spec.mounts)
    if not found and not overlays:
        raise ConflictError(
            f"container {container.name} has changed nothing of the machine's",
            hint="its image is not `host`, and none of its mounts is `:O`; `rootless commit` keeps its changes",
        )
    return found


def _require_found(container: Container, only: Sequence[str], outcomes: Sequence[Outcome]) -> None:
    for path in only:
        name = os.fsencode(path)
        if not any(o.path == name or o.path.startswith(name.rstrip(b"/") + b"/") for o in outcomes):
            raise NotFoundError(f"container {container.name} has changed nothing at {path}")
