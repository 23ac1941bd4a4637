"""`cp`: files into a container and out of it, whether it runs or not.

A process inside the container's root packs or extracts; on this side another does the reverse. What passes between
them is an archive, and neither ever opens a path of the other's side.
"""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from typing import BinaryIO, TypeVar

from .. import child, room
from ..errors import ConflictError, InvalidError, NotFoundError, RootlessError
from ..idmap import IdMap
from ..runtime import bundle, visit
from ..runtime.sources import Sources
from ..storage import drivers
from ..storage import tarheader as th
from ..storage.extract import Extractor, Policy
from ..storage.pack import pack
from ..storage.tarstream import TarStream
from . import changed, copypaths
from .container import Container
from .copypaths import Source
from .state import ALIVE, Status, restarting

T = TypeVar("T")
Inside = Callable[[Callable[[], T]], T]

_CHUNK = 1 << 18
MAX_DESCRIPTORS = 1 << 16
_WHAT = "the process that copies"
_LEAST = 0o777
"""Mode bits of what comes out of a container: a set-user-id program of its making would be one of the caller's."""


class Copier:
    """Copies between the host and one container.

    Attributes:
        size: bytes that the archives had.
    """

    def __init__(self, container: Container, idmap: IdMap) -> None:
        self._container = container
        self._idmap = idmap
        _raise_descriptors()
        self.size = 0

    def out(self, path: str, destination: str, *, follow: bool = False, keep: bool = False) -> None:
        """Copy `path` of the container's to `destination` on the host.

        Args:
            follow: a link at `path` stands for what it leads to.
            keep: with the owners that the files have in the container, as far as the caller may give them.

        Raises:
            NotFoundError: there is no such path, or no directory to copy into; in Docker's words.
            ConflictError: a file would take a directory's place or the other way round.
        """
        _check_output(destination)
        local = copypaths.absolute(destination, os.getcwd())
        given = keep and not os.geteuid()
        # A program of the container's making, set-uid and owned by the caller, would run as the caller for everybody.
        policy = Policy(None if given else (-1, -1), 0o7777 if given else 0o1777 if keep else _LEAST)
        with self.read(path, follow=follow) as archive:
            chunks = self._counted(archive)
            head, entry = _first_entry(chunks)
            if entry is None:
                return  # the other side tells why when the block ends
            asked = copypaths.absolute(path, "/")
            contents = copypaths.ends_in_dot(asked) or asked == "/"
            if entry.type in (th.CHARACTER, th.BLOCK_DEVICE):
                raise _device(path)
            top = b"." if contents else os.fsencode(os.path.basename(asked.rstrip("/")))
            target = copypaths.target(local, top, is_directory=entry.type == th.DIRECTORY)
            fd = os.open(target.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                Extractor(fd, policy, target.rename).run(TarStream(chain([head], chunks)))
            finally:
                os.close(fd)

    def read(self, path: str, *, follow: bool = False) -> AbstractContextManager[BinaryIO]:
        """What `path` of the container's holds, as an archive."""
        return self._read(copypaths.absolute(path, "/"), path, follow=follow)

    @contextmanager
    def _read(self, path: str, shown: str, *, follow: bool) -> Iterator[BinaryIO]:
        def work(sink: BinaryIO) -> None:
            source = copypaths.source(path, lambda _: self._missing(shown), follow=follow)
            pack(source.place, source.top, sink)
            sink.flush()  # the process that this is done in ends without a word

        with self._inside() as inside, child.stream(lambda sink: inside(lambda: work(sink)), _WHAT) as archive:
            yield archive

    def into(self, path: str, destination: str, *, follow: bool = False, keep: bool = False) -> None:
        """Copy `path` of the host's to `destination` in the container. Otherwise as `out`; without `keep` the files
        belong to the container's root."""

        def missing(problem: OSError) -> RootlessError:
            return NotFoundError(f"lstat {path}: {(problem.strerror or '').lower()}")

        source = copypaths.source(copypaths.absolute(path, os.getcwd()), missing, follow=follow)
        try:
            mode = os.stat(source.place.name, dir_fd=source.place.directory, follow_symlinks=False).st_mode
            if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
                raise _device(path)
            with self._receiving(destination, source, keep=keep) as sink:
                pack(source.place, source.top, _Counting(self, sink))
        finally:
            os.close(source.place.directory)

    def write(self, archive: BinaryIO, destination: str, *, keep: bool = False) -> None:
        """Extract an archive into the directory `destination` of the container's."""
        with self._receiving(destination, None, keep=keep) as sink:
            while chunk := archive.read(_CHUNK):
                _Counting(self, sink).write(chunk)

    def _receiving(self, shown: str, source: Source | None, *, keep: bool) -> AbstractContextManager[BinaryIO]:
        return self._feed(copypaths.absolute(shown, "/"), shown, source, keep=keep)

    @contextmanager
    def _feed(self, path: str, shown: str, source: Source | None, *, keep: bool) -> Iterator[BinaryIO]:
        policy = Policy(None if keep else (0, 0), follow=True)

        def work(stream: BinaryIO) -> None:
            try:
                self._extract(path, shown, source, policy, stream)
            except OSError as problem:
                raise self._explained(problem) from problem

        with self._inside() as inside, child.feed(lambda stream: inside(lambda: work(stream)), _WHAT) as sink:
            yield sink

    def _extract(self, path: str, shown: str, source: Source | None, policy: Policy, stream: BinaryIO) -> None:
        """The other side: `/` is the container's root."""
        if source is None:
            directory, rename = path, None
            if os.path.exists(path) and not os.path.isdir(path):
                raise InvalidError(f'destination "{self._container.name}:{shown}" must be a directory')
        else:
            directory, rename = copypaths.target(path, source.top, is_directory=source.is_directory)
        try:
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise self._missing(directory) from None
        except NotADirectoryError:
            raise ConflictError("extraction point is not a directory", hint=f"{directory} is a file") from None
        Extractor(fd, policy, rename).run(TarStream(iter(lambda: stream.read(_CHUNK), b"")))
        while stream.read(_CHUNK):  # what follows the end mark is still to be taken from whoever writes it
            pass

    def _counted(self, archive: BinaryIO) -> Iterator[bytes]:
        while chunk := archive.read(_CHUNK):
            self.size += len(chunk)
            yield chunk

    @contextmanager
    def _inside(self) -> Iterator[Inside[None]]:
        """A function that does work inside the container; to be called in a process forked for it."""
        container = self._container
        with changed.steady(container, "copy from or to", pause=False):
            state = container.state()
            if state.status == Status.RESTARTING:
                raise restarting(container.id)  # its files are its monitor's: two mounts of one layer must not meet
            if state.status in ALIVE:
                yield lambda work: visit.in_running(state, work)
                return
            sources = Sources(container, self._idmap)
            sources.prepare()  # one that was never started may lack its volumes
            room_fd = room.open_room(container.paths, self._idmap)
            try:
                order = visit.Resting(
                    store=container.paths.store,
                    driver=drivers.get(container.record.driver),
                    stack=bundle.layer_stack(container.record, self._idmap),
                    target=f"containers/{container.id}/root",
                    plan=bundle.files_plan(container.record, self._idmap, sources.devices, first=not state.started_at),
                    room=room_fd,
                )
                yield lambda work: visit.in_resting(order, work)
            finally:
                os.close(room_fd)

    def _missing(self, path: str) -> NotFoundError:
        return NotFoundError(f"Could not find the file {path} in container {self._container.name}")

    @staticmethod
    def _explained(problem: OSError) -> RootlessError:
        if problem.errno == errno.EROFS:
            return ConflictError("the container's root filesystem, or the volume, is mounted read-only")
        what = f"{problem.filename}: " if problem.filename else ""
        return RootlessError(f"{what}{(problem.strerror or str(problem)).lower()}")


def _device(path: str) -> RootlessError:
    return RootlessError(f"{path} is a device, which only an administrator may make")


class _Counting:
    """Adds up what is written."""

    def __init__(self, copier: Copier, sink: BinaryIO) -> None:
        self._copier = copier
        self._sink = sink

    def write(self, data: bytes) -> None:
        self._sink.write(data)
        self._copier.size += len(data)


def _first_entry(chunks: Iterator[bytes]) -> tuple[bytes, th.Entry | None]:
    """(what had to be read, the first entry of an archive): before anything is opened on this side, it says whether a
    directory comes. A pax header may stand before its own (pax(1), "pax header block"). None for an empty archive."""
    head = b""
    at = 0
    for chunk in chunks:
        head += chunk
        while len(head) >= at + th.BLOCK:
            block = head[at : at + th.BLOCK]
            if not any(block):  # the end mark: what was asked for has vanished
                return head, None
            entry = th.parse_header(block)
            if entry.type != th.PAX:
                return head, entry
            at += th.BLOCK + -(-entry.size // th.BLOCK) * th.BLOCK
    return head, None


def _raise_descriptors() -> None:
    """As many as may be: a tree is walked with one open for each of its levels, on both sides."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _check_output(path: str) -> None:
    """Docker's look at a destination on the host, before anything is read."""
    directory = os.path.dirname(os.path.normpath(path))
    if directory and not os.path.exists(directory):
        raise NotFoundError(f'invalid output path: directory "{directory}" does not exist')
    if os.path.exists(path) and not (os.path.isdir(path) or os.path.isfile(path)):
        raise InvalidError(f'invalid output path: "{path}" must be a directory or a regular file')
