"""What becomes of what was built: an image of the store, an archive of one, or its files (`--output`)."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from .. import atomic
from ..container.engine import Engine
from ..errors import RootlessError, StoreError, UsageError
from ..image.store import Layer
from ..storage import tarwriter
from .copying import Root
from .packing import pass_on

Kind = Literal["image", "local", "tar", "oci", "docker"]
KINDS: tuple[Kind, ...] = ("image", "local", "tar", "oci", "docker")
STDOUT = "-"


@dataclass(frozen=True)
class Output:
    """One `--output`.

    Attributes:
        kind: `image` is an image of the store; `oci` and `docker` are archives of one; `local` and `tar` its files.
        destination: a directory for `local`; a file for the others, `-` for standard output.
    """

    kind: Kind = "image"
    destination: str = ""


def parse_output(text: str) -> Output:
    """`type=KIND,dest=PATH`; a path alone is `local`, and `-` alone `tar` on standard output.

    Raises:
        UsageError: malformed.
    """
    if "=" not in text:
        return Output("tar", STDOUT) if text == STDOUT else Output("local", text)
    fields: dict[str, str] = {}
    for part in next(csv.reader([text])):
        name, equals, value = part.partition("=")
        if not equals or name.lower() not in ("type", "dest"):
            raise UsageError(f"invalid output {text!r}: unexpected {part!r}", hint="as type=local,dest=DIR")
        fields[name.lower()] = value
    kind, destination = fields.get("type", ""), fields.get("dest", "")
    for known in KINDS:
        if kind == known:
            return Output(known, _checked(known, destination))
    raise UsageError(f"invalid output type {kind!r}", hint=f"there are {', '.join(KINDS)}")


def _checked(kind: Kind, destination: str) -> str:
    if kind == "local" and not destination:
        raise UsageError("dest is required for local output", hint="as type=local,dest=DIR")
    if kind == "local" and destination == STDOUT:
        raise UsageError("a directory can't be written to standard output", hint="take type=tar")
    if kind != "image" and (destination or STDOUT) == STDOUT and sys.stdout.isatty():
        raise UsageError("dest file is required: an archive is not written to a terminal", hint="redirect the output")
    return destination or ("" if kind == "image" else STDOUT)


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
