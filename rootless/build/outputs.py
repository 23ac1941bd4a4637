"""What was built, written out: as files, or as an archive (`--output`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .. import atomic
from ..container.engine import Engine
from ..errors import RootlessError, StoreError
from ..image.store import Layer
from ..storage import tarwriter
from .destination import STDOUT
from .packing import pass_on
from .root import Root


@contextmanager
def opened(destination: str) -> Iterator[BinaryIO]:
    """A file to be written, which has its name only when it is complete; or standard output.

    Raises:
        StoreError: it can't be written.
    """
    if destination == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(destination)
    draft = atomic.new_name(path.parent, path.name)
    try:
        with open(draft, "xb") as file:
            yield file
        draft.rename(path)
    except OSError as problem:
        raise StoreError(f"{destination} can't be written: {problem.strerror}") from problem
    finally:
        draft.unlink(missing_ok=True)


def write_tar(engine: Engine, layers: list[Layer], destination: str) -> None:
    """The files of a stage as an archive."""
    with opened(destination) as sink:
        if not layers:
            tarwriter.TarWriter(sink).close()
            return
        with Root(engine, layers).archive() as archive:
            pass_on(archive, sink)


def write_directory(engine: Engine, layers: list[Layer], destination: str) -> None:
    """The files of a stage in a directory, as the caller's own.

    Raises:
        RootlessError: a file can't be written.
    """
    from ..storage.extract import Extractor, Policy
    from ..storage.tarstream import TarStream

    try:
        os.makedirs(destination, exist_ok=True)
        fd = os.open(destination, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as problem:
        raise RootlessError(f"output directory {destination}: {problem.strerror}") from problem
    try:
        if layers:
            with Root(engine, layers).archive() as archive:
                chunks = iter(lambda: archive.read(1 << 18), b"")
                Extractor(fd, Policy((-1, -1), 0o777)).run(TarStream(chunks))
    except OSError as problem:
        raise RootlessError(f"{problem.filename or destination}: {problem.strerror}") from problem
    finally:
        os.close(fd)
