"""What must not be made real: what is another's on the machine, or was changed there meanwhile.

Each question is about one step of the walk (apply.py), whose directory on the machine is open.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence

from ..fuse.layer import Layer
from ..fuse.metadata import at
from .belonging import OTHERS, LeftError, Owners
from .diff import Step
from .ground import Ground, Source, same_content
from .meanwhile import Meanwhile

_ORIGIN = "user.overlay.origin"
"""Set by the kernel's overlayfs on what it has copied up (overlayfs.rst): there was something below."""
CHANGED = "it was changed on the machine meanwhile"
_DELETED = "it was deleted on the machine meanwhile"


class Conflicts:
    """What keeps a change from being made. Where something does, LeftError says what."""

    def __init__(self, lower: Layer, meanwhile: Meanwhile, owners: Owners) -> None:
        """
        Args:
            lower: the machine's directory as the container sees it.
        """
        self._lower, self._meanwhile, self._owners = lower, meanwhile, owners

    def is_settled(self, parent: int, step: Step, source: Source, now: os.stat_result) -> bool:
        """Whether the file that the machine has is the container's already; LeftError where it must not be replaced."""
        if not stat.S_ISDIR(now.st_mode) and self._meanwhile.applied(now):
            # By an `apply` that was killed; the container may have gone on since.
            return self._is_there(parent, step, source, now)
        try:
            self.require_ours(parent, step, now)
        except LeftError:
            if not self._is_there(parent, step, source, now):
                raise
            return True
        return False

    def require_ours(self, parent: int, step: Step, now: os.stat_result) -> None:
        """Nobody else's, and as the container has found it; with all that is in it."""
        for path, status in self._everything(parent, step, now):
            if not self._owners.mine(status):
                raise LeftError(OTHERS if path == step.path else f"{os.fsdecode(path)} belongs to another user")
            if not self._meanwhile.same(status):
                raise LeftError(
                    CHANGED if path == step.path else f"{os.fsdecode(path)} was changed on the machine meanwhile"
                )

    @staticmethod
    def _everything(parent: int, step: Step, now: os.stat_result) -> Iterator[tuple[bytes, os.stat_result]]:
        yield step.path, now
        if not stat.S_ISDIR(now.st_mode):
            return
        waiting: list[tuple[bytes, ...]] = [(step.name,)]
        while waiting:
            names = waiting.pop()
            fd = _inner(parent, names)
            try:
                with os.scandir(fd) as entries:
                    for entry in entries:
                        status = entry.stat(follow_symlinks=False)
                        below = (*names, os.fsencode(entry.name))
                        yield b"/".join((step.path, *below[1:])), status
                        if stat.S_ISDIR(status.st_mode):
                            waiting.append(below)
            finally:
                os.close(fd)

    def require_never(self, step: Step, *, untouched: bool) -> None:
        """There was nothing before, either.

        Args:
            untouched: nobody has put something into its directory or taken something from it.
        """
        if self._meanwhile.since is None:
            deleted = self._meanwhile.had(step.path)
        else:
            # What was renamed bears the mark as well: it tells only where the directory is another one than it was.
            deleted = not untouched and _was_copied_up(step)
        if deleted:
            raise LeftError(_DELETED)

    def _is_there(self, parent: int, step: Step, source: Source, now: os.stat_result) -> bool:
        """Whether the machine has the very same file: made by an `apply` that was killed, or by chance."""
        shown = self._lower.status(parent, step.name)
        uid, gid, mode = looks(source.status)
        if looks(shown) != (uid, gid, stat.S_IFMT(mode) | source.mode):
            return False
        same_size = now.st_size == source.status.st_size or not stat.S_ISREG(now.st_mode)
        return same_size and same_content(source, parent, step.name)


def _inner(directory: int, names: Sequence[bytes]) -> int:
    """What is about to go with its parent: never what is mounted there."""
    fd = os.dup(directory)
    for name in names:
        try:
            below = Ground(-1, b"", cross=False).enter(fd, name)
        except OSError as problem:
            if problem.errno == errno.EXDEV:
                raise LeftError("something is mounted in it") from None
            raise
        finally:
            os.close(fd)
        fd = below
    return fd


def looks(status: os.stat_result) -> tuple[int, int, int]:
    """What of a file's status is applied: owner, group and mode."""
    return status.st_uid, status.st_gid, status.st_mode


def _was_copied_up(step: Step) -> bool:
    try:
        os.getxattr(at(step.directory, step.name), _ORIGIN, follow_symlinks=False)
    except OSError:
        return False
    return True
