"""Where the files of COPY, ADD and WORKDIR go in the root file system that a stage has come to.

No container runs for it. The stage's layers are looked into as they lie on disk: for links on the way to the
destination, for directories that are there, for users by name.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import InvalidError
from ..idmap import IdMap
from ..runtime import users
from ..storage.tarheader import Attributes
from .sources import Source
from .tree import LINKS, Entry, Tree, join, resolve


@dataclass(frozen=True)
class Wish:
    """What a step asks of its destination.

    Attributes:
        destination: absolute; a slash at its end says that it is a directory.
        owner: `user[:group]`, empty for none.
        archives: for each archive to be unpacked there, its entries' names and whether they are directories.
    """

    destination: str
    sources: Sequence[Source] = ()
    owner: str = ""
    archives: Sequence[Mapping[bytes, bool]] = ()


@dataclass(frozen=True)
class Plan:
    """Where the files of one step go. Paths have no slash before them; the root is the empty one.

    Attributes:
        destination: with every link on the way followed.
        roots: for each source, where its items are put below.
        existing: the directories on the way that are there, with their attributes.
        owner: (uid, gid) that was asked for; None where nothing was said.
        places: for each archive, where each entry's name leads.
    """

    destination: str
    roots: tuple[str, ...] = ()
    existing: dict[str, Attributes] = field(default_factory=dict)
    owner: tuple[int, int] | None = None
    places: tuple[dict[bytes, str], ...] = ()


def plan(tree: Tree | None, wish: Wish, idmap: IdMap) -> Plan:
    """Find out where the files of a step go.

    Args:
        tree: the root file system; None where it is empty, or may not count (`--link`).

    Raises:
        InvalidError: a file would take a directory's place, or the other way round.
        NotFoundError: no such user.
    """
    return _Planner(tree, wish, idmap).plan()


class _Planner:
    def __init__(self, tree: Tree | None, wish: Wish, idmap: IdMap) -> None:
        self._tree, self._wish, self._idmap = tree, wish, idmap
        self._existing: dict[str, Attributes] = {}

    def plan(self) -> Plan:
        wish = self._wish
        owner = ownership(self._tree, wish.owner, self._idmap) if wish.owner else None
        destination = self._led_to(wish.destination.strip("/"))
        there = self._entry(destination)
        as_directory = wish.destination.endswith("/") or bool(wish.archives)
        if there is not None and not there.is_directory and as_directory:
            raise InvalidError(f"cannot copy to non-directory: /{destination}")
        into = as_directory or not destination or (there is not None and there.is_directory)
        if not into and sum(not source.is_directory for source in wish.sources) > 1:
            raise InvalidError(
                "when more than one source file is given, the destination must be a directory and end with a /"
            )
        self._note(destination if there is None or there.is_directory else destination.rpartition("/")[0])
        roots = tuple(self._root(source, destination, into) for source in wish.sources)
        for source, root in zip(wish.sources, roots, strict=True):
            for item in source.items:
                self._check(join(root, item.target) if item.target else root, item.entry)
        places = tuple(self._placed(destination, names) for names in wish.archives)
        return Plan(destination, roots, self._existing, owner, places)

    def _entry(self, path: str) -> Entry | None:
        return self._tree.entry(path) if self._tree is not None else None

    def _led_to(self, path: str) -> str:
        """`path` with every link followed, as far as it exists, and the rest as it is written.

        Raises:
            InvalidError: the links have no end.
        """
        if self._tree is None:
            return posixpath.normpath("/" + path).lstrip("/")
        todo, done, links = path.split("/")[::-1], "", 0
        while todo:
            part = todo.pop()
            if part in ("", ".", ".."):
                done = done.rpartition("/")[0] if part == ".." else done
                continue
            here = join(done, part)
            entry = self._tree.entry(here)
            if entry is None or not entry.is_link:
                done = here
                continue
            links += 1
            if links > LINKS:
                raise InvalidError(f"/{path}: too many levels of symbolic links")
            done = "" if entry.link.startswith("/") else done
            todo += entry.link.split("/")[::-1]
        return done

    @staticmethod
    def _root(source: Source, destination: str, into: bool) -> str:
        """Where a source's items go: into the destination, or in its place."""
        if source.placed or source.is_directory or not into:
            return destination
        if not source.name:
            raise InvalidError("cannot determine filename from url", hint="name the file in the destination")
        return join(destination, source.name)

    def _check(self, path: str, wanted: Entry) -> None:
        self._note(path.rpartition("/")[0])
        there = self._entry(path)
        if there is None:
            return
        if wanted.is_directory and not there.is_directory:
            raise InvalidError(f"cannot copy to non-directory: /{path}")
        if there.is_directory and not wanted.is_directory:
            raise InvalidError(f"cannot overwrite directory /{path} with non-directory")
        if there.is_directory:
            self._note(path)

    def _note(self, path: str) -> None:
        """Learn the attributes of a directory and of those above it, as far as they exist.

        Raises:
            InvalidError: something else stands in its place.
        """
        while self._tree is not None and path not in self._existing:
            entry = self._tree.entry(path)
            if entry is not None and not entry.is_directory:
                raise InvalidError(f"/{path} is not a directory")
            if entry is not None:
                self._existing[path] = attributes(self._tree, entry)
            if not path:
                return
            path = path.rpartition("/")[0]

    def _placed(self, destination: str, names: Mapping[bytes, bool]) -> dict[bytes, str]:
        """Where the entries of an archive go. As with tar, a link to a directory that is there already is followed."""
        from ..storage.untar import inner_path

        found: dict[bytes, str] = {}
        parents: dict[str, str] = {}
        for name, is_directory in names.items():
            path = join(destination, inside) if (inside := os.fsdecode(inner_path(name))) else destination
            above, slash, last = path.rpartition("/")
            if above not in parents:
                parents[above] = self._led_to(above) if slash else ""
            path = join(parents[above], last)
            if is_directory and self._tree is not None:
                there = resolve(self._tree, path)
                path = there.path if there is not None and there.is_directory else path
            self._note(path if is_directory else path.rpartition("/")[0])
            found[name] = path
        return found


def attributes(tree: Tree, entry: Entry) -> Attributes:
    """What a directory of a tree has, as an archive says it."""
    with tree.open(entry) as content:
        xattrs = {os.fsencode(name): value for name, value in content.xattrs().items()}
    return Attributes(entry.mode & 0o7777, entry.uid, entry.gid, entry.mtime, xattrs)


def ownership(tree: Tree | None, text: str, idmap: IdMap) -> tuple[int, int]:
    """(uid, gid) of `user[:group]`, looked up in the image's own files. A number alone is the group's, too.

    Raises:
        NotFoundError: no such user or group.
        UnavailableError: outside the container's ids.
    """
    name, colon, _ = text.partition(":")
    if not colon and name.isascii() and name.isdecimal():
        text = f"{name}:{name}"
    found = users.look_up(text, (), idmap, opened=lambda path: _opened(tree, path))
    return found.uid, found.gid


def _opened(tree: Tree | None, path: str) -> int:
    """A descriptor on a copy of a file of the tree."""
    entry = resolve(tree, path) if tree is not None else None
    if tree is None or entry is None or not entry.is_file:
        raise FileNotFoundError(path)
    fd = os.memfd_create(path)
    with tree.open(entry) as content:
        for chunk in content.chunks():
            os.write(fd, chunk)
            if os.lseek(fd, 0, os.SEEK_CUR) > users.MAX_FILE:
                break
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
