"""The context of a build: which files there are to be copied, which Dockerfile is read, and what is ignored.

A context is a directory, an archive (a file, or standard input), or nothing beside a Dockerfile on standard input.
Which Dockerfile and .dockerignore count is told in Docker's documentation, "Build context" and "docker buildx build".
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from ..errors import InvalidError, NotFoundError
from ..storage.archives import CHUNK, Peeked, uncompressed
from ..storage.tarheader import BLOCK
from . import archives
from .ignore import LIMIT as IGNORE_LIMIT
from .ignore import IgnoringTree, read_ignore
from .lines import LIMIT as DOCKERFILE_LIMIT
from .tartree import TarTree
from .tree import DirectoryTree, EmptyTree, Tree, resolve

STDIN = "-"
NAMES = ("Dockerfile", "dockerfile", "Containerfile")
"""What a Dockerfile is called when it isn't named, the first that is there: Docker's two, and podman's."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a build is given.

    Attributes:
        tree: the files that may be copied.
        dockerfile: the Dockerfile's bytes.
        file: its name, for errors.
    """

    tree: Tree
    dockerfile: bytes
    file: str


@contextmanager
def open_context(
    context: str, *, file: str = "", stdin: BinaryIO | None = None, directory: str | os.PathLike[str]
) -> Iterator[Context]:
    """The context that the command line names, usable inside the block.

    Args:
        context: a directory, an archive, or `-` for what is on standard input: an archive, or a Dockerfile alone.
        file: the Dockerfile, `-` for standard input, empty for the usual names. In an archive it is one of its files.
        stdin: standard input.
        directory: where an archive's data are written meanwhile.

    Raises:
        NotFoundError: there is no such context, or no Dockerfile.
        InvalidError: a context that is neither directory nor archive, or standard input would be two things at once.
        InvalidError: an archive or a .dockerignore is malformed, or something may not be read.
    """
    if "://" in context or context.startswith("git@"):
        hint = "fetch it, and give the directory; or pipe an archive of it to `build -`"
        raise InvalidError(f"{context}: a context is a directory, an archive or -", hint=hint)
    if context == STDIN:
        if file == STDIN:
            raise InvalidError("can't use stdin for both build context and dockerfile")
        with _from_stream(_needed(stdin), file, directory) as found:
            yield found
        return
    status = _status(context)
    if stat.S_ISDIR(status.st_mode):
        with DirectoryTree(context) as tree:
            yield _from_directory(tree, context, file, stdin)
        return
    if not stat.S_ISREG(status.st_mode):
        raise InvalidError(f"context must be a directory: {context}")
    with open(context, "rb") as stream, _from_stream(stream, file, directory, name=context) as found:
        yield found


def _needed(stdin: BinaryIO | None) -> BinaryIO:
    if stdin is None:
        raise InvalidError("standard input is closed")
    return stdin


def _status(context: str) -> os.stat_result:
    try:
        return os.stat(context)
    except OSError as problem:
        raise NotFoundError(
            f'unable to prepare context: path "{context}" can\'t be used: {problem.strerror}'
        ) from problem


@contextmanager
def _from_stream(
    stream: BinaryIO, file: str, directory: str | os.PathLike[str], *, name: str = STDIN
) -> Iterator[Context]:
    """An archive; or a Dockerfile alone, when it comes from standard input and no other is named."""
    peeked = Peeked(stream, BLOCK)
    whole = cast(BinaryIO, io.BufferedReader(peeked, CHUNK))
    if archives.looks_like_archive(peeked.head):
        with TarTree(archives.chunks(uncompressed(whole)), directory) as tree:
            yield _in_tree(tree, file)
        return
    if name != STDIN or file:
        what = "standard input" if name == STDIN else name
        raise InvalidError(f"context must be a directory or an archive: {what} is neither")
    yield Context(EmptyTree(), _limited(whole, "-"), "-")


def _from_directory(tree: DirectoryTree, context: str, file: str, stdin: BinaryIO | None) -> Context:
    """A Dockerfile is named as the caller sees it, wherever it is; its own .dockerignore lies beside it. One that
    nobody has named is a file of the context, which may be a stranger's: a link in it leads to nothing outside."""
    if file == STDIN:
        return Context(_ignoring(tree, ""), _limited(_needed(stdin), "-"), "-")
    if not file:
        name = next((name for name in NAMES if _is_there(tree, name)), NAMES[0])
        dockerfile, path = _read(tree, name, DOCKERFILE_LIMIT), str(Path(context) / name)
        if dockerfile is None:
            raise _no_dockerfile(path, "no such file or directory")
        return Context(_ignoring(tree, name), dockerfile, path)
    try:
        with open(file, "rb") as stream:
            dockerfile = _limited(stream, file)
    except OSError as problem:
        raise _no_dockerfile(file, problem.strerror or "") from problem
    beside = Path(f"{file}.dockerignore")
    if beside.is_file():
        shown = beside.name
        return Context(IgnoringTree(tree, read_ignore(_own(beside), shown), shown), dockerfile, file)
    return Context(_ignoring(tree, ""), dockerfile, file)


def _own(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(IGNORE_LIMIT + 1)


def _in_tree(tree: TarTree, file: str) -> Context:
    """The Dockerfile and the .dockerignore of an archive are in it."""
    path = file or next((name for name in NAMES if _is_there(tree, name)), NAMES[0])
    dockerfile = _read(tree, path, DOCKERFILE_LIMIT)
    if dockerfile is None:
        raise _no_dockerfile(path, "no such file in the archive")
    return Context(_ignoring(tree, path), dockerfile, path)


def _no_dockerfile(path: str, why: str) -> NotFoundError:
    return NotFoundError(f"failed to read dockerfile: open {path}: {why.lower()}", hint="-f names another one")


def _is_there(tree: Tree, path: str) -> bool:
    found = resolve(tree, path)
    return found is not None and found.is_file


def _ignoring(tree: Tree, dockerfile: str) -> Tree:
    """The tree without what a .dockerignore in it means: that of the Dockerfile, if it has one, else the common one."""
    for path in ([f"{dockerfile}.dockerignore"] if dockerfile else []) + [".dockerignore"]:
        data = _read(tree, path, IGNORE_LIMIT)
        if data is not None:
            return IgnoringTree(tree, read_ignore(data, path), path)
    return tree


def _read(tree: Tree, path: str, limit: int) -> bytes | None:
    """A file of the tree, one byte more than `limit` at most; None when there is none."""
    entry = resolve(tree, path)
    if entry is None or not entry.is_file:
        return None
    if entry.size > limit:
        raise InvalidError(f"{path} is larger than {limit} bytes")
    with tree.open(entry) as content:
        return b"".join(content.chunks())


def _limited(stream: BinaryIO, name: str) -> bytes:
    data = stream.read(DOCKERFILE_LIMIT + 1)
    if len(data) > DOCKERFILE_LIMIT:
        raise InvalidError(f"{name} is larger than {DOCKERFILE_LIMIT} bytes: that is no Dockerfile")
    return data
