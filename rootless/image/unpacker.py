"""Unpacking beside the download: a child process that makes layers of blobs which are still arriving.

A process of its own, because it enters the user's namespace by forking (room.py: only with one thread), and because two
interpreters use two processors. It reads each blob where the download writes it: no copy is made. It is forked before
trio runs, told later what to do, and ends with the descriptor that its parent holds, so with the parent as well.

    parent                                child
    Unpacker(...)          fork ────────▶ waits
    begin(sources) ───────── job ───────▶ Layers.stack, one layer after the other
                   ◀── ("opened", digest)
                   ◀── ("ended", error or None)
    close          ───────── EOF ───────▶ gives up at its next read
"""

from __future__ import annotations

import io
import os
import pickle
import select
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Literal, cast

from ..errors import RootlessError
from ..idmap import IdMap
from ..kernel import process
from ..paths import Paths
from ..storage.blobs import Blobs
from ..storage.driver import LayerKind
from ..storage.layers import Layers, LayerSource
from . import partial

_POLL = 5
"""Milliseconds between two looks at a blob that has not grown."""

_HEAD = 8


class GivenUp(RootlessError):
    """The download that this belongs to has failed."""


class ArrivingBlobs:
    """The store's blobs, and those that are on their way: reading one of these waits for what has not come yet."""

    def __init__(self, paths: Paths, sizes: dict[str, int], parent: int, opened: int) -> None:
        """
        Args:
            sizes: bytes of each blob once it is whole.
            parent: a descriptor that is at its end when the download is over.
            opened: where to tell which blob is being read.
        """
        self._paths = paths
        self._blobs = Blobs(paths)
        self._sizes = sizes
        self._parent = parent
        self._opened = opened

    def size(self, digest: str) -> int:
        return self._sizes[digest]

    def open(self, digest: str) -> BinaryIO:
        fd = self._open(digest)
        _tell(self._opened, ("opened", digest))
        return cast(BinaryIO, _Growing(fd, self._sizes[digest], self._parent))

    def _open(self, digest: str) -> int:
        """The file that is the blob or becomes it, whichever it is at the moment."""
        while True:
            for place in self._blobs.path(digest), partial.path(self._paths, digest):
                with suppress(FileNotFoundError):
                    return os.open(place, os.O_RDONLY | os.O_CLOEXEC)
            _wait(self._parent, _POLL)


class _Growing(io.RawIOBase):
    """A file that somebody appends to until it has `size` bytes."""

    def __init__(self, fd: int, size: int, parent: int) -> None:
        self._fd = fd
        self._left = size
        self._parent = parent

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        room = memoryview(buffer)[: self._left]
        if not room:
            return 0
        _wait(self._parent, 0)
        while not (count := os.readv(self._fd, [room])):
            _wait(self._parent, _POLL)
        self._left -= count
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()


def _wait(parent: int, milliseconds: int) -> None:
    watch = select.poll()
    watch.register(parent, select.POLLIN | select.POLLHUP)
    if watch.poll(milliseconds):
        raise GivenUp("the download was given up")


def _tell(fd: int, message: tuple[str, object]) -> None:
    data = pickle.dumps(message)
    view = memoryview(len(data).to_bytes(_HEAD, "big") + data)
    while view:
        view = view[os.write(fd, view) :]


class Unpacker:
    """The child, seen from its parent.

    Attributes:
        answers: a descriptor on which its messages arrive; give what is read from it to `messages`.
    """

    def __init__(self, paths: Paths, idmap: IdMap, kind: LayerKind) -> None:
        """Fork. Only in a process with one thread."""
        jobs, self._jobs = os.pipe2(os.O_CLOEXEC)
        self.answers, answers = os.pipe2(os.O_CLOEXEC)
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._jobs)
            os.close(self.answers)
            _live(paths, idmap, kind, jobs, answers, parent)
        os.close(jobs)
        os.close(answers)
        os.set_blocking(self.answers, False)
        self._buffer = bytearray()

    def begin(self, sources: Sequence[LayerSource], sizes: dict[str, int]) -> None:
        """Let it unpack a stack of layers, given from the bottom up."""
        _tell(self._jobs, ("unpack", (list(sources), sizes)))

    def messages(self, data: bytes) -> list[tuple[Literal["opened", "ended"], object]]:
        """The messages that are complete with these bytes: a digest, or how it ended."""
        self._buffer += data
        found = []
        while len(self._buffer) >= _HEAD:
            end = _HEAD + int.from_bytes(self._buffer[:_HEAD], "big")
            if len(self._buffer) < end:
                break
            # Written by our own child, over our own pipe.
            found.append(pickle.loads(bytes(self._buffer[_HEAD:end])))  # noqa: S301
            del self._buffer[:end]
        return found

    def close(self) -> None:
        """Let it give up what it has not done yet, and wait for its end."""
        if self._pid:
            os.close(self._jobs)
            # It may be blocked on telling us something.
            with suppress(BlockingIOError):
                while os.read(self.answers, 1 << 16):
                    pass
            os.close(self.answers)
            os.waitpid(self._pid, 0)
            self._pid = 0


def _live(paths: Paths, idmap: IdMap, kind: LayerKind, jobs: int, answers: int, parent: int) -> None:
    """The child. Never returns."""
    code = 1
    try:
        process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            # Its parent is told by an error; a broken pipe would end it before it has cleaned up.
            signal.signal(signal.SIGPIPE, signal.SIG_IGN)
            Path("/proc/self/comm").write_text("rootless-unpack")
            _work(paths, idmap, kind, jobs, answers)
            code = 0
    except BaseException as problem:
        with suppress(OSError):
            _tell(answers, ("ended", _portable(problem)))
    finally:
        os._exit(code)


def _portable(problem: BaseException) -> BaseException:
    """What crosses the pipe: an error of ours as it is, another one as its text."""
    return problem if isinstance(problem, (RootlessError, KeyboardInterrupt)) else RootlessError(repr(problem))


def _work(paths: Paths, idmap: IdMap, kind: LayerKind, jobs: int, answers: int) -> None:
    head = os.read(jobs, _HEAD)
    if not head:
        return
    data = bytearray()
    while len(data) < int.from_bytes(head, "big"):
        data += os.read(jobs, 1 << 16)
    _, (sources, sizes) = pickle.loads(bytes(data))  # noqa: S301 - from our own parent
    blobs = ArrivingBlobs(paths, sizes, jobs, answers)
    Layers(paths, idmap, blobs).stack(sources, kind)
    _tell(answers, ("ended", None))
