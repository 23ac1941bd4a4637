"""What COPY and ADD take, as items to be put into an archive and as a part of the step's key."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from . import selection
from .tree import Entry, Tree


@dataclass(slots=True)
class Item:
    """One file to be copied.

    Attributes:
        target: where it goes, below the destination of its source.
        content: digest of a regular file's bytes; empty for others.
    """

    entry: Entry
    target: str
    content: bytes = b""
    xattrs: tuple[tuple[str, bytes], ...] = ()


@dataclass(slots=True)
class Source:
    """One thing that a source of COPY or ADD means.

    Attributes:
        name: its last name, which it gets in a directory.
        is_directory: its contents are copied, not itself.
        placed: the targets of its items tell their place below the destination whatever that is (`--parents`).
        items: a directory before what is in it.
    """

    name: str
    is_directory: bool
    placed: bool
    items: list[Item]


def select(tree: Tree, words: Sequence[str], *, parents: bool, exclude: Sequence[str], where: str) -> list[Source]:
    """What the sources of a COPY or ADD mean, as `selection.select` says, which also tells of the arguments."""
    found = []
    for match in selection.select(tree, words, parents=parents, exclude=exclude, where=where):
        items = [Item(each.entry, each.path) for each in match.files]
        if match.entry.is_directory and not parents:
            items.insert(0, Item(match.entry, ""))
        found.append(Source(match.name, match.entry.is_directory, parents, items))
    return found


def fill(tree: Tree, sources: Iterable[Source]) -> None:
    """Read what the items are: the digest of each file's bytes, and extended attributes.

    Raises:
        InvalidError: a file changed while it was read, or may not be read.
    """
    for source in sources:
        for item in source.items:
            if item.entry.is_file:
                _read(tree, item)
            elif item.entry.is_directory:
                with tree.open(item.entry) as content:
                    item.xattrs = tuple(content.xattrs().items())


def _read(tree: Tree, item: Item) -> None:
    running = hashlib.sha256()
    with tree.open(item.entry) as content:
        item.xattrs = tuple(content.xattrs().items())
        for chunk in content.chunks():
            running.update(chunk)
    item.content = running.digest()


def digest(source: Source, *, ids: bool, top: bool = False) -> str:
    """All of a source that goes into a layer but for times; the links that join its files, too.

    Args:
        ids: whether the files bring their owners along.
        top: whether a directory counts itself; as in BuildKit it doesn't where its contents are copied.
    """
    running = hashlib.sha256(repr((source.is_directory, source.placed, source.name)).encode(errors="surrogateescape"))
    names: dict[tuple[int, int], str] = {}
    for item in source.items:
        entry = item.entry
        if entry.is_directory and not item.target and not top:
            continue
        first = names.setdefault(entry.inode, item.target) if entry.inode is not None else item.target
        parts = item.target, entry.mode, entry.link, entry.device, first, item.content, item.xattrs
        running.update(repr((*parts, entry.uid, entry.gid) if ids else parts).encode(errors="surrogateescape"))
    return running.hexdigest()


def size(sources: Iterable[Source]) -> int:
    """Bytes of the regular files."""
    return sum(item.entry.size for source in sources for item in source.items if item.entry.is_file)
