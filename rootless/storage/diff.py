"""What a container has changed: its writable layer, walked beside what the layers below have under the same names.

Only the writable layer is read as a whole. Below, a name is looked up when the writable layer has it; a directory is
listed when the writable layer has replaced it (opaque, overlayfs.rst). The rules are Docker's (moby, pkg/archive/
changes.go): what was there before is changed, what was not is added, and a directory counts as changed when its
attributes are other ones, or because something in it is.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from ..errors import InvalidError
from ..fuse.layer import DIRECTORY, Layer
from ..fuse.metadata import at
from ..fuse.node import Directory, Node
from .trees import Reader, Trees

Kind = Literal["A", "C", "D"]

MADE = frozenset({b"/dev", b"/etc", b"/etc/hostname", b"/etc/hosts", b"/etc/resolv.conf", b"/proc", b"/sys"})
"""Where the engine mounts something in every container: what it had to make for that is no change of the container's.
Docker makes these in a layer of their own."""

LONGEST = 4096 - 2
"""Bytes of a path below the root: the slash before it and the NUL behind it fill PATH_MAX."""

_WHITEOUT = b".wh."


class Change(NamedTuple):
    """One line of `diff`: added, changed or deleted, and the path in the container."""

    kind: Kind
    path: bytes


class Step(NamedTuple):
    """One place of the walk.

    Attributes:
        directory, name: where it is in the writable layer; the descriptor is good until the next step.
        status: as the container sees it; None for what is deleted.
        opaque: a directory that has replaced the one below.
        hidden: deleted because a directory above is opaque.
    """

    kind: Kind
    path: bytes
    directory: int
    name: bytes
    status: os.stat_result | None
    opaque: bool = False
    hidden: bool = False


def changes(reader: Reader, made: frozenset[bytes] = MADE, *, root: bool = False) -> list[Change]:
    """All changes, in the order of their paths.

    Args:
        made: as for `walk`.
        root: whether a change of the root's owner or mode is among them.

    Raises:
        InvalidError: directories are nested deeper than a path can say.
    """

    def listed(trees: Trees) -> list[Change]:
        return [Change(step.kind, step.path) for step in walk(trees, made) if root or step.path != b"/"]

    return sorted(reader.call(listed), key=lambda change: change.path)


def walk(trees: Trees, made: frozenset[bytes] = MADE, void: list[bytes] | None = None) -> Iterator[Step]:
    """Every change, a directory before what is in it, names in the order of their bytes.

    Args:
        made: what is no change of the container's as long as it is empty: the engine had to mount something there.
        void: is given the paths of deletions of what is not there below (any more).

    The root is among them when its owner or mode was changed. Sockets are passed over, and so are names that begin
    with `.wh.`, which mean something else in an archive.
    """
    return _Walk(trees, made, void if void is not None else []).run()


@dataclass
class _Frame:
    """A directory of the writable layer that is being gone through.

    Attributes:
        step: what is told of the directory itself, once something in it or it itself has changed.
        below: the same directory under the writable layer.
        hides: nothing of `below` shows through.
        names: those still to come, last one first.
    """

    step: Step
    fd: int
    below: Directory | None
    hides: bool
    names: list[bytes]
    told: bool = False
    made: bool = False


@dataclass
class _Walk:
    trees: Trees
    made: frozenset[bytes]
    void: list[bytes]
    stack: list[_Frame] = field(default_factory=list)

    def run(self) -> Iterator[Step]:
        root = self.trees.upper.root
        status = self.trees.upper.descriptor_status(root)
        top = Step("C", b"/", root, b".", status)
        self.stack = [_Frame(top, os.dup(root), self.trees.below.root, False, self._names(root))]
        if self._is_root_changed(status):
            self.stack[0].told = True
            yield top
        try:
            while self.stack:
                yield from self._go_on(self.stack[-1])
        finally:
            for frame in self.stack:
                os.close(frame.fd)

    def _is_root_changed(self, status: os.stat_result) -> bool:
        """Of a directory of the machine's only the mode: the writable layer over it was made by the container's root,
        whoever owns what is below."""
        before = self.trees.below.status(self.trees.below.root)
        if self.trees.below.live:
            return stat.S_IMODE(status.st_mode) != stat.S_IMODE(before.st_mode)
        return _owner_and_mode(status) != _owner_and_mode(before)

    def _go_on(self, frame: _Frame) -> Iterator[Step]:
        if self.trees.below.handles.excess:
            self.trees.below.handles.trim()
        if frame.names:
            yield from self._entry(frame, frame.names.pop())
            return
        if not frame.told and not self._is_unchanged(frame):
            yield from self._tell()
        os.close(frame.fd)
        self.stack.pop()

    def _entry(self, frame: _Frame, name: bytes) -> Iterator[Step]:
        path = frame.step.path.rstrip(b"/") + b"/" + name
        if len(path) > LONGEST:
            raise InvalidError(f"{os.fsdecode(path[:100])}... has {len(path)} bytes: no program could open it by name")
        upper = self.trees.upper
        below = self.trees.below.child(frame.below, name) if frame.below is not None else None
        try:
            status = upper.status(frame.fd, name)
        except FileNotFoundError:  # the container runs, and has just removed it; or it was never here, but below
            status = None
        if status is None or upper.is_whiteout(frame.fd, name, status):
            if below is not None:
                yield from self._tell(Step("D", path, frame.fd, name, None, hidden=frame.hides))
            elif status is not None:
                self.void.append(path)
        elif self._is_made(frame.fd, path, below, status):
            frame.made = True
        elif stat.S_ISDIR(status.st_mode):
            yield from self._directory(frame, path, below, status)
        elif not stat.S_ISSOCK(status.st_mode):
            yield from self._tell(Step("A" if below is None else "C", path, frame.fd, name, status))

    def _directory(self, frame: _Frame, path: bytes, below: Node | None, status: os.stat_result) -> Iterator[Step]:
        name = path.rpartition(b"/")[2]
        under = below if isinstance(below, Directory) else None
        opaque = under is not None and not frame.hides and self.trees.upper.is_opaque(at(frame.fd, name))
        step = Step("A" if below is None else "C", path, frame.fd, name, status, opaque=opaque)
        try:
            fd = os.open(name, DIRECTORY, dir_fd=frame.fd)
        except (FileNotFoundError, NotADirectoryError):
            return  # the container runs, and has just replaced it
        hides = opaque or frame.hides
        inner = _Frame(step, fd, under, hides, self._names(fd, under if hides else None))
        self.stack.append(inner)
        if under is None or opaque:
            yield from self._tell()

    def _tell(self, step: Step | None = None) -> Iterator[Step]:
        """Tell of the directories on the way that nothing was told of yet, then of `step`."""
        for frame in self.stack[1:]:
            if not frame.told:
                frame.told = True
                yield frame.step
        if step is not None:
            yield step

    def _names(self, fd: int, replaced: Directory | None = None) -> list[bytes]:
        """What is to be looked at in a directory, last one first: with what was in the one that it has `replaced`."""
        names = {os.fsencode(name) for name in os.listdir(fd)}
        if replaced is not None:
            self.trees.below.load(replaced)
            names.update(replaced.children)
        return sorted((name for name in names if not name.startswith(_WHITEOUT)), reverse=True)

    def _is_unchanged(self, frame: _Frame) -> bool:
        """Whether a directory is as it was below: copied up only because of what has been done to something in it."""
        if len(self.stack) == 1:
            return True
        below, tree = frame.below, self.trees.below
        assert below is not None and frame.step.status is not None
        before, after = tree.status(below), frame.step.status
        if _owner_and_mode(before) != _owner_and_mode(after):
            return False
        if before.st_mtime_ns != after.st_mtime_ns and not frame.made:
            return False
        lower = tree.layers[below.layer]
        return _attributes(lower, tree.handles.directory(below, below.layer)) == _attributes(self.trees.upper, frame.fd)

    def _is_made(self, directory: int, path: bytes, below: Node | None, status: os.stat_result) -> bool:
        """Whether it is nothing but a mount point that the engine has made."""
        if path not in self.made or below is not None:
            return False
        if stat.S_ISREG(status.st_mode):
            return status.st_size == 0
        if not stat.S_ISDIR(status.st_mode):
            return False
        fd = os.open(path.rpartition(b"/")[2], DIRECTORY, dir_fd=directory)
        try:
            return all(
                self._is_made(fd, path + b"/" + name, None, self.trees.upper.status(fd, name))
                for name in map(os.fsencode, os.listdir(fd))
            )
        finally:
            os.close(fd)


def _owner_and_mode(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)


def _attributes(layer: Layer, fd: int) -> dict[str, bytes]:
    return {name: layer.get_attribute(fd, name) for name in layer.attributes(fd)}
