"""A volume as an archive: what is in it, with owners as containers see them, out of it and into it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from .. import idmap, room
from ..errors import ConflictError, RootlessError
from ..paths import Paths
from ..storage.archives import uncompressed
from ..storage.extract import Extractor, Policy
from ..storage.pack import Place, pack
from ..storage.tarstream import TarStream
from . import fill
from .memory import copy, find
from .store import DATA, Volume

_CHUNK = 1 << 18
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def export(paths: Paths, volume: Volume, sink: BinaryIO) -> None:
    """Write all of a volume to `sink`. Containers may go on to write to it; a filling is waited for. One in memory that
    no container has at the moment is empty.

    Raises:
        RootlessError: a file can't be read, or the archive not be written.
    """

    def work(volumes: int, memory: int | None) -> None:
        with _opened(volume, volumes, memory) as data, open(os.dup(sink.fileno()), "wb") as out:
            pack(Place(data, b"."), b".", out)

    sink.flush()
    _inside(paths, volume, f"volume {volume.name} can't be exported", work)


def import_(paths: Paths, volume: Volume, source: BinaryIO) -> None:
    """Put what an archive (plain, or compressed with gzip or zstd) holds into a volume: a file takes the place of one
    of its name, everything else stays.

    Raises:
        InvalidError: it is no archive, or something in it leads out of the volume.
        ConflictError: a file would take a directory's place or the other way round.
        ConflictError: or it is in memory, and no container has it.
        RootlessError: no room, or an owner that containers here don't have.
    """

    def work(volumes: int, memory: int | None) -> None:
        if volume.in_memory and memory is None:
            raise ConflictError(
                f"volume {volume.name} is in memory, and no container that has it runs: nothing can be put into it",
                hint="start one first",
            )
        with _opened(volume, volumes, memory) as data:
            plain = uncompressed(source)
            archive = TarStream(iter(lambda: plain.read(_CHUNK), b""))
            Extractor(data, Policy(owner=None, top=True)).run(archive)
            archive.drain()

    _inside(paths, volume, f"volume {volume.name} can't be imported into", work)


@contextmanager
def _opened(volume: Volume, volumes: int, memory: int | None) -> Iterator[int]:
    """The volume's data, as root of the room; under real root that may not walk to `volumes`, so it begins there.

    Args:
        memory: a descriptor on the mount namespace of one that is in memory now.
    """
    if memory is not None:
        yield os.open(".", _DIRECTORY, dir_fd=copy(memory))
        return
    os.fchdir(volumes)
    lock = fill.settle(volume.name) if volume.own_data else -1
    data = os.open(f"{volume.name}/{DATA}" if volume.own_data else volume.data, _DIRECTORY)
    try:
        yield data
    finally:
        os.close(data)
        if lock >= 0:
            os.close(lock)


def _inside(paths: Paths, volume: Volume, failure: str, work: Callable[[int, int | None], None]) -> None:
    """Do `work` in the room: its root owns all the ids that the files belong to."""

    def told() -> None:
        try:
            work(volumes, memory)
        except OSError as problem:
            what = f"{os.fsdecode(problem.filename)}: " if problem.filename else ""
            raise RootlessError(f"{failure}: {what}{(problem.strerror or str(problem)).lower()}") from problem

    volumes = os.open(paths.volumes, _DIRECTORY)
    ids = idmap.detect()
    fd = room.open_room(paths, ids)
    memory = find(paths, ids, fd, volume) if volume.in_memory else None
    try:
        room.call(fd, told)
    finally:
        for opened in (fd, volumes) if memory is None else (fd, volumes, memory):
            os.close(opened)
