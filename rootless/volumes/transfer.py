"""A volume as an archive: what is in it, with owners as containers see them, out of it and into it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from .. import idmap, room
from ..errors import RootlessError
from ..paths import Paths
from ..storage.archives import uncompressed
from ..storage.extract import Extractor, Policy
from ..storage.pack import Place, pack
from ..storage.tarstream import TarStream
from . import fill
from .store import DATA, Volume

_CHUNK = 1 << 18
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def export(paths: Paths, volume: Volume, sink: BinaryIO) -> None:
    """Write all of a volume to `sink`. Containers may go on to write to it; a filling is waited for.

    Raises:
        RootlessError: a file can't be read, or the archive not be written.
    """

    def work(volumes: int) -> None:
        with _opened(volume, volumes) as data, open(os.dup(sink.fileno()), "wb") as out:
            pack(Place(data, b"."), b".", out)

    sink.flush()
    _inside(paths, f"volume {volume.name} can't be exported", work)


def import_(paths: Paths, volume: Volume, source: BinaryIO) -> None:
    """Put what an archive (plain, or compressed with gzip or zstd) holds into a volume: a file takes the place of one
    of its name, everything else stays.

    Raises:
        InvalidError: it is no archive, or something in it leads out of the volume.
        ConflictError: a file would take a directory's place or the other way round.
        RootlessError: no room, or an owner that containers here don't have.
    """

    def work(volumes: int) -> None:
        with _opened(volume, volumes) as data:
            plain = uncompressed(source)
            archive = TarStream(iter(lambda: plain.read(_CHUNK), b""))
            Extractor(data, Policy(owner=None, top=True)).run(archive)
            archive.drain()

    _inside(paths, f"volume {volume.name} can't be imported into", work)


@contextmanager
def _opened(volume: Volume, volumes: int) -> Iterator[int]:
    """The volume's data, as root of the room; under real root that may not walk to `volumes`, so it begins there."""
    os.fchdir(volumes)
    lock = fill.settle(volume.name) if volume.own_data else -1
    data = os.open(f"{volume.name}/{DATA}" if volume.own_data else volume.data, _DIRECTORY)
    try:
        yield data
    finally:
        os.close(data)
        if lock >= 0:
            os.close(lock)


def _inside(paths: Paths, failure: str, work: Callable[[int], None]) -> None:
    """Do `work` in the room: its root owns all the ids that the files belong to."""

    def told() -> None:
        try:
            work(volumes)
        except OSError as problem:
            what = f"{os.fsdecode(problem.filename)}: " if problem.filename else ""
            raise RootlessError(f"{failure}: {what}{(problem.strerror or str(problem)).lower()}") from problem

    volumes = os.open(paths.volumes, _DIRECTORY)
    fd = room.open_room(paths, idmap.detect())
    try:
        room.call(fd, told)
    finally:
        os.close(fd)
        os.close(volumes)
