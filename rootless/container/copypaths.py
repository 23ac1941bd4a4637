"""Where `cp` reads and where it writes: Docker's rules of links, trailing slashes and `/.` (moby, pkg/archive/copy.go).

The same rules hold on both sides. Paths are looked up by whoever calls: on the host, or in a process whose root is the
container's.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable
from typing import NamedTuple

from ..errors import ConflictError, InvalidError, NotFoundError, RootlessError
from ..storage.extract import Rename
from ..storage.pack import Place


class Source(NamedTuple):
    """What is copied.

    Attributes:
        place: where it is; its directory is open.
        top: the first part of its names in the archive: "." for the contents of a directory.
        is_directory: whether it is one, and no link to one.
    """

    place: Place
    top: bytes
    is_directory: bool


class Target(NamedTuple):
    """Where it goes: into which directory, and under which name if not its own."""

    directory: str
    rename: Rename | None


def ends_in_dot(path: str) -> bool:
    """Whether `path` says "what is in this directory"."""
    return posixpath.basename(path) == "."


def absolute(path: str, base: str) -> str:
    """The path from `base`, cleaned; a slash or `/.` at its end, which means something, stays."""
    clean = posixpath.normpath(posixpath.join(base, path))
    clean = "/" + clean.lstrip("/")
    if ends_in_dot(path):
        return clean.rstrip("/") + "/."
    return clean.rstrip("/") + "/" if path.endswith("/") else clean


def source(path: str, missing: Callable[[OSError], RootlessError], *, follow: bool) -> Source:
    """The source at an absolute path as `absolute` gives it. A link at its end is followed if asked to, or if a
    slash is behind it.

    Args:
        missing: the error for what can't be found.
    """
    contents, clean = ends_in_dot(path), path.removesuffix(".").rstrip("/") or "/"
    name = os.fsencode(posixpath.basename(clean))
    try:
        if path != clean or clean == "/":
            fd = os.open(clean, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            return Source(Place(fd, b"."), b"." if contents or clean == "/" else name, is_directory=True)
        real = os.path.realpath(clean, strict=True) if follow else clean
        directory = os.open(posixpath.dirname(real), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        last = os.fsencode(posixpath.basename(real)) or b"."
        status = os.stat(last, dir_fd=directory, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError) as problem:
        raise missing(problem) from problem
    return Source(Place(directory, last), name, stat.S_ISDIR(status.st_mode))


def target(path: str, top: bytes, *, is_directory: bool) -> Target:
    """Where a source called `top` goes, when `path` is where it was told to go.

    Raises:
        ConflictError: a directory would go where a file is.
        NotFoundError: a file shall go into a directory that is not there.
        InvalidError: something else than a file or a directory is there.
    """
    found, path = _destination(path)
    if found is not None and stat.S_ISDIR(found.st_mode):
        return Target(path, None)
    if found is not None and is_directory:
        raise ConflictError("cannot copy directory", hint=f"{path} is a file")
    if found is None and not is_directory and (path.endswith("/") or ends_in_dot(path)):
        raise NotFoundError(f"no such directory: {path}", hint="make it first, or leave the slash out")
    clean = path.removesuffix(".").rstrip("/") or "/"
    return Target(posixpath.dirname(clean), Rename(top, os.fsencode(posixpath.basename(clean))))


def _destination(path: str) -> tuple[os.stat_result | None, str]:
    """What is at a destination, and its path: where a link there leads, be it to nothing."""
    try:
        found = os.stat(path)
    except NotADirectoryError:
        return None, path
    except FileNotFoundError:
        if os.path.islink(path):
            path = posixpath.join(posixpath.dirname(path), os.readlink(path))
        return None, path
    if not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
        raise InvalidError(f'"{path}" must be a directory or a regular file')
    if not stat.S_ISDIR(found.st_mode) and os.path.islink(path):
        path = os.path.realpath(path)
    return found, path
