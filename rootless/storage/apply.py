"""`apply`: what a writable layer has changed is made real on the machine, as far as it belongs to the caller.

The walk is the one that `diff` prints (diff.py); each step is made on the machine (ground.py) unless that has changed
at the same place meanwhile (conflicts.py). Only when all steps are through, what was made is taken out of the writable
layer. So a kill at any point leaves each file old or new, and a second `apply` finds every step either to be made still
or made already.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from ..fuse.host import HostLayer
from ..fuse.layer import Layer, descend
from ..fuse.metadata import at
from .belonging import OTHERS, Caller, LeftError, Looks, Owners, Room
from .conflicts import CHANGED, Conflicts, looks
from .diff import Kind, Step, walk
from .ground import Ground, Source
from .meanwhile import Meanwhile
from .settled import settle
from .trees import Trees

_SET_ID = stat.S_ISUID | stat.S_ISGID


class Outcome(NamedTuple):
    """What became of one change.

    Attributes:
        done: it is real now, or was already; with `dry_run`: it would be.
        remark: why it is not, or what was left out of it; nothing where the directory above tells why.
    """

    kind: Kind
    path: bytes
    done: bool
    remark: str = ""


@dataclass
class _Frame:
    """A directory on the way.

    Attributes:
        fd: the machine's; -1 when there is none (a dry run would make it).
        blocked: it was left as it is, and so is all that is in it.
        untouched: nobody has put something into it or taken something from it, as far as we know.
        attributes: what it is given in the end.
        merged: it was there before, and counts as changed only because something in it is.
    """

    path: bytes
    kind: Kind
    fd: int = -1
    blocked: bool = False
    untouched: bool = True
    attributes: tuple[Source, dict[str, bytes]] | None = None
    merged: bool = False
    used: bool = False


@dataclass(frozen=True)
class Order:
    """What is to be done.

    Attributes:
        only: paths inside the layer; nothing but what is there or below is made. Empty for everything.
        draft: a name that nothing else has.
        cross: whether what is mounted below the directory on the machine belongs to it.
        made: as for `diff.walk`.
    """

    draft: bytes
    only: tuple[bytes, ...] = ()
    dry_run: bool = False
    cross: bool = False
    made: frozenset[bytes] = frozenset()


class Result(NamedTuple):
    """What `apply` did.

    Attributes:
        settled: the paths of what was taken out of the writable layer.
        empty: nothing is left in it.
    """

    outcomes: list[Outcome]
    settled: list[bytes]
    empty: bool


def apply(trees: Trees, meanwhile: Meanwhile, order: Order) -> Result:
    """Make the changes of a writable layer over one living directory, and take those that were made out of it.

    To be called by a process that may read both (`Reader.call`).

    Raises:
        InvalidError: as `diff.walk`.
        OSError: the disk is full, or doesn't answer; what is made stays, and a second call goes on.
    """
    applier = _Applier(trees, meanwhile, order)
    applier.run()
    outcomes = sorted(applier.outcomes, key=lambda outcome: outcome.path)
    if order.dry_run:
        return Result(outcomes, [], empty=False)
    applier.ground.flush()
    done = [outcome.path for outcome in applier.outcomes if outcome.done]
    left = [outcome.path for outcome in applier.outcomes if not outcome.done] + applier.unasked
    settled, empty = settle(trees.upper, applier.settled_marks(left) + done, left, applier.opaque)
    return Result(outcomes, settled, empty)


class _Applier:
    def __init__(self, trees: Trees, meanwhile: Meanwhile, order: Order) -> None:
        self._trees = trees
        self._order = order
        self._meanwhile = meanwhile
        (self._lower,) = trees.below.layers.values()
        self.ground = Ground(self._lower.root, order.draft, cross=order.cross)
        self._owners: Owners = Caller() if isinstance(self._lower, HostLayer) else Room()
        self._conflicts = Conflicts(self._lower, meanwhile, self._owners)
        self._stack: list[_Frame] = []
        self._linked: dict[tuple[int, int], bytes] = {}
        self.outcomes: list[Outcome] = []
        self.opaque: list[bytes] = []
        self.unasked: list[bytes] = []
        self.void: list[bytes] = []

    def run(self) -> None:
        root = os.dup(self.ground.root)
        self._stack = [_Frame(b"", "C", root, untouched=self._visit(root, b"/"), merged=True)]
        try:
            for step in walk(self._trees, self._order.made, self.void):
                if step.path == b"/":
                    self._take_root(step)
                    continue
                self._leave(step.path)
                selected, on_the_way = self._selection(step.path)
                if not selected:
                    self.unasked.append(step.path)
                if selected or on_the_way:
                    self._take(step, selected=selected)
            self._leave(b"")
        finally:
            for frame in self._stack:
                if frame.fd >= 0:
                    os.close(frame.fd)

    def _selection(self, path: bytes) -> tuple[bool, bool]:
        """Whether a change is asked for, and whether it is a directory that leads to one that is."""
        only = self._order.only
        selected = not only or any(path == each or each == b"/" or path.startswith(each + b"/") for each in only)
        return selected, any(each.startswith(path + b"/") for each in only)

    def settled_marks(self, left: list[bytes]) -> list[bytes]:
        """Deletions that are real already, by an `apply` that was killed perhaps: outside of what is left, which
        may come back to its place."""
        kept = set(left)
        return [path for path in self.void if self._selection(path)[0] and kept.isdisjoint(_and_above(path))]

    def _leave(self, path: bytes) -> None:
        """Finish the directories that `path` is not in."""
        while len(self._stack) > 1 and not path.startswith(self._stack[-1].path + b"/"):
            frame = self._stack.pop()
            try:
                if frame.attributes is not None and frame.fd >= 0:
                    source, attributes = frame.attributes
                    self.ground.finish_directory(frame.fd, source, attributes, self._lower.attributes(frame.fd))
                    self._meanwhile.note(frame.path, os.fstat(frame.fd))
            except OSError as problem:
                self._fail(frame.kind, frame.path, problem)
            else:
                if not frame.blocked and (frame.used or not frame.merged):
                    self._tell(frame.kind, frame.path, done=True)
            finally:
                if frame.fd >= 0:
                    os.close(frame.fd)

    def _tell(self, kind: Kind, path: bytes, *, done: bool, remark: str = "") -> None:
        if done:
            self._stack[-1].used = True
        self.outcomes.append(Outcome(kind, path, done, remark))

    def _fail(self, kind: Kind, path: bytes, problem: OSError) -> None:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise problem
        self._tell(kind, path, done=False, remark=(problem.strerror or str(problem)).lower())

    def _take(self, step: Step, *, selected: bool) -> None:
        directory = step.status is not None and stat.S_ISDIR(step.status.st_mode)
        frame = _Frame(step.path, step.kind)
        try:
            if self._stack[-1].blocked:
                raise LeftError
            if directory:
                self._directory(frame, step, selected=selected)
            else:
                remark = self._delete(step) if step.status is None else self._file(step, step.status)
                self._tell(step.kind, step.path, done=True, remark=remark)
        except LeftError as left:
            self._tell(step.kind, step.path, done=False, remark=str(left))
            frame.blocked = True
        except OSError as problem:
            self._fail(step.kind, step.path, problem)
            frame.blocked = True
        if directory:
            self._stack.append(frame)

    # --- one change ---------------------------------------------------------------------------------------------------

    def _now(self, step: Step) -> os.stat_result | None:
        """What the machine has there."""
        if self._stack[-1].fd < 0:
            return None
        try:
            return os.stat(step.name, dir_fd=self._stack[-1].fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _delete(self, step: Step) -> str:
        now = self._now(step)
        if now is not None:
            self._conflicts.require_ours(self._stack[-1].fd, step, now)
        if self._order.dry_run:
            self._require_permission()
            return ""
        if now is not None:
            self.ground.remove(self._stack[-1].fd, step.name, now)
        self._meanwhile.note(step.path, None)
        return ""

    def _file(self, step: Step, wanted: os.stat_result) -> str:
        kind = stat.S_IFMT(wanted.st_mode)
        if kind not in (stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO):
            raise LeftError("a device can only be made by root")
        now = self._now(step)
        if now is None:
            self._conflicts.require_never(step, untouched=self._stack[-1].untouched)
        source = self._source(step, wanted, now)
        remark = "without its set-id bit" if source.mode != stat.S_IMODE(wanted.st_mode) else ""
        if now is not None and self._conflicts.is_settled(self._stack[-1].fd, step, source, now):
            self._linked[wanted.st_dev, wanted.st_ino] = step.path
        elif self._order.dry_run:
            self._require_permission()
        else:
            self._put(step, source, now)
        return remark

    def _put(self, step: Step, source: Source, now: os.stat_result | None) -> None:
        parent, status = self._stack[-1].fd, source.status
        key = status.st_dev, status.st_ino
        first = self._linked.get(key) if status.st_nlink > 1 else None
        if first is not None:
            self.ground.link(parent, step.name, first, now)
        else:
            self.ground.put(parent, step.name, source, now)
            self._linked[key] = step.path
        self._meanwhile.note(step.path, os.stat(step.name, dir_fd=parent, follow_symlinks=False))

    def _directory(self, frame: _Frame, step: Step, *, selected: bool) -> None:
        parent, now = self._stack[-1].fd, self._now(step)
        if self._trees.upper.is_opaque(at(step.directory, step.name)):
            self.opaque.append(step.path)
        if now is not None and stat.S_ISDIR(now.st_mode):
            frame.merged = True
            frame.fd = self.ground.enter(parent, step.name)
            frame.untouched = self._visit(frame.fd, step.path)
            if selected:
                self._plan_attributes(frame, step, now)
            return
        if now is None:
            self._conflicts.require_never(step, untouched=self._stack[-1].untouched)
        else:
            self._conflicts.require_ours(self._stack[-1].fd, step, now)
        attributes = self._dress(step, None)
        if self._order.dry_run:
            self._require_permission()
            return
        tell = partial(self._meanwhile.note, step.path)
        frame.fd = self.ground.make_directory(parent, step.name, now, tell)
        frame.attributes = attributes

    def _take_root(self, step: Step) -> None:
        """The mode of the ground itself."""
        assert step.status is not None
        fd = self._stack[0].fd
        now = os.fstat(fd)
        if not self._selection(b"/")[0]:
            self.unasked.append(b"/")
        elif not self._owners.mine(now):
            self._tell("C", b"/", done=False, remark=OTHERS)
        elif not self._meanwhile.same(now):
            self._tell("C", b"/", done=False, remark=CHANGED)
        else:
            if not self._order.dry_run:
                os.chmod(f"/proc/self/fd/{fd}/.", stat.S_IMODE(step.status.st_mode))
                self._meanwhile.note(b"/", os.fstat(fd))
            self._tell("C", b"/", done=True)

    def _visit(self, fd: int, path: bytes) -> bool:
        """Begin in a directory that is there; whether it is untouched."""
        now = os.fstat(fd)
        untouched = self._meanwhile.same(now)
        if not self._order.dry_run:
            self.ground.sweep(fd)
            if untouched and self._meanwhile.since is not None:  # what is done in it changes its ctime
                self._meanwhile.note(path, now)
        return untouched

    def _plan_attributes(self, frame: _Frame, step: Step, now: os.stat_result) -> None:
        """Give a directory that is there other attributes in the end, if the container has and nobody else did."""
        shown = self._lower.descriptor_status(frame.fd)
        try:
            wanted = self._dress(step, (now, shown))
            if (looks(shown), _attributes(self._lower, frame.fd)) == (looks(wanted[0].status), wanted[1]):
                return
            if not self._owners.mine(now):
                raise LeftError(OTHERS)
            if not self._meanwhile.same(now):
                raise LeftError(CHANGED)
        except LeftError as left:
            self._tell(step.kind, step.path, done=False, remark=str(left))
            return
        frame.merged = False
        if not self._order.dry_run:
            frame.attributes = wanted

    def _require_permission(self) -> None:
        """What a dry run would not meet otherwise."""
        fd = self._stack[-1].fd
        if fd >= 0 and not os.access(f"/proc/self/fd/{fd}/.", os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    # --- what it becomes ----------------------------------------------------------------------------------------------

    def _source(self, step: Step, wanted: os.stat_result, now: os.stat_result | None) -> Source:
        mode = stat.S_IMODE(wanted.st_mode)
        if stat.S_ISREG(wanted.st_mode):  # a set-user-id program of a container's making would be one of the caller's
            mode &= ~_SET_ID | (now.st_mode if now is not None and stat.S_ISREG(now.st_mode) else 0)
        seen = (now, self._lower.status(self._stack[-1].fd, step.name)) if now is not None else None
        owner = self._owners.of(wanted, seen, self._beside())
        return Source(self._trees.upper, step.directory, step.name, wanted, owner, mode)

    def _dress(self, step: Step, now: Looks | None) -> tuple[Source, dict[str, bytes]]:
        """What a directory is given in the end."""
        assert step.status is not None
        owner = self._owners.of(step.status, now, self._beside())
        source = Source(
            self._trees.upper, step.directory, step.name, step.status, owner, stat.S_IMODE(step.status.st_mode)
        )
        fd = descend(step.directory, [step.name])
        try:
            return source, _attributes(self._trees.upper, fd)
        finally:
            os.close(fd)

    def _beside(self) -> Looks | None:
        """The directory that it is in, as it is and as the container sees it."""
        fd = self._stack[-1].fd if self._stack else -1
        return (os.fstat(fd), self._lower.descriptor_status(fd)) if fd >= 0 else None


def _and_above(path: bytes) -> Iterator[bytes]:
    while path:
        yield path
        path = path.rpartition(b"/")[0]


def _attributes(layer: Layer, fd: int) -> dict[str, bytes]:
    return {name: layer.get_attribute(fd, name) for name in layer.attributes(fd)}
