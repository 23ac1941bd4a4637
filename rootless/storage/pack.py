"""A file or directory tree of a mounted file system as an archive, while others may change it.

Each step is a name in an open directory and follows no link: whatever is put in the way meanwhile, nothing outside of
the tree is read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from ..fuse.layer import DIRECTORY, Layer, LayerSpec
from .filewriter import FileWriter
from .tarwriter import Sink, TarWriter


class Place(NamedTuple):
    """A name in an open directory."""

    directory: int
    name: bytes


def pack(source: Place, top: bytes, sink: Sink) -> None:
    """Write what stands at `source`, under the name `top` ("." for the contents of a directory).

    Raises:
        OSError: a file may not be read; what vanishes meanwhile is passed over.
    """
    archive = TarWriter(sink)
    writer = FileWriter(archive)
    layer = Layer(1, LayerSpec(os.dup(source.directory)))
    for at, path, status, opened in _walk(source, top):
        writer.add(layer, at.directory, at.name, path, status, opened)
    archive.close()


class _Frame(NamedTuple):
    fd: int
    path: bytes
    names: list[bytes]


def _walk(source: Place, top: bytes) -> Iterator[tuple[Place, bytes, os.stat_result, int]]:
    """Each file: where it is, its name in the archive, its attributes, a descriptor where it is a directory."""
    status = os.stat(source.name, dir_fd=source.directory, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        yield source, top, status, -1
        return
    stack: list[_Frame] = []
    try:
        fd = os.open(source.name, DIRECTORY, dir_fd=source.directory)
        stack.append(_Frame(fd, top, _names(fd)))
        yield source, top, status, fd
        while stack:
            frame = stack[-1]
            if not frame.names:
                os.close(stack.pop().fd)
                continue
            name = frame.names.pop()
            path = frame.path + b"/" + name
            try:
                status = os.stat(name, dir_fd=frame.fd, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    fd = os.open(name, DIRECTORY, dir_fd=frame.fd)
                    stack.append(_Frame(fd, path, _names(fd)))
                    yield Place(frame.fd, name), path, status, fd
                else:
                    yield Place(frame.fd, name), path, status, -1
            except (FileNotFoundError, NotADirectoryError):
                continue
    finally:
        for frame in stack:
            os.close(frame.fd)


def _names(fd: int) -> list[bytes]:
    return sorted(map(os.fsencode, os.listdir(fd)), reverse=True)
