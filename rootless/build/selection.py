"""What COPY and ADD take out of a tree: wildcards, several sources, directories' contents, --parents, --exclude.

The rules are BuildKit's (solver/llbsolver/file/backend.go and fsutil's copy.go; Docker's reference of the Dockerfile
under "COPY" and "ADD"). Where things land depends on what is at the destination already: that is others' to know.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..errors import NotFoundError
from .gomatch import Patterns, compile_match, has_wildcards
from .tree import Entry, Tree, join, resolve


@dataclass(frozen=True, slots=True)
class Selected:
    """A file that is taken; `path` is where, below the destination (see Match)."""

    path: str
    entry: Entry


@dataclass(frozen=True, slots=True)
class Match:
    """What one source, or one of the names that a wildcard matches, stands for.

    Attributes:
        path: in the tree, the last link not followed.
        entry: the file or directory that it leads to.
        files: of a directory, what is taken of its contents, each directory before what is in it; they go into the
            destination. Of a file, the file, with an empty path: it becomes the destination, or `name` in it.
    """

    path: str
    entry: Entry
    files: tuple[Selected, ...]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


def select(
    tree: Tree,
    sources: Iterable[str],
    *,
    parents: bool = False,
    exclude: Sequence[str] = (),
    where: str = "the context",
) -> list[Match]:
    """What the sources stand for, in their order. A wildcard that matches nothing stands for nothing, as in Docker.

    Args:
        tree: the context, or a stage's root.
        parents: what is taken keeps its directories, from the root or from `/./` in the source on.
        exclude: patterns of what is left out: paths below a directory, names of files.
        where: what the tree is, for errors.

    Raises:
        NotFoundError: there is no such file.
        InvalidError: a pattern is malformed, links lead in a circle, a directory can't be read.
    """
    excluded = Patterns(exclude)
    matches: list[Match] = []
    for source in sources:
        if parents:
            matches += _with_parents(tree, source, excluded, where)
            continue
        for path in _matching(tree, source):
            entry = _existing(tree, path, source, where)
            if entry.is_directory:
                matches.append(Match(path, entry, tuple(_Walk(tree, entry, excluded).files())))
            elif not excluded.match(path.rpartition("/")[2])[0]:
                matches.append(Match(path, entry, (Selected("", entry),)))
    return matches


def _clean(source: str) -> str:
    return posixpath.normpath("/" + source).lstrip("/")


def _existing(tree: Tree, path: str, source: str, where: str) -> Entry:
    found = resolve(tree, path)
    if found is None:
        if posixpath.normpath(source).startswith(".."):
            hint = f"only what is in {where} can be copied"
            raise NotFoundError(f"{source}: forbidden path outside {where}", hint=hint)
        raise NotFoundError(f'"/{path}": not found in {where}', hint=tree.hint(path))
    return found


def _matching(tree: Tree, source: str) -> Iterator[str]:
    """The paths that a source means, by name: itself, when it has no wildcard."""
    parts = _clean(source).split("/")
    first = next((number for number, part in enumerate(parts) if has_wildcards(part)), len(parts))
    base = "/".join(parts[:first])
    if first == len(parts):
        yield base
        return
    start = resolve(tree, base)
    pattern = "/".join(parts[first:])
    regex = compile_match(pattern)
    # A star never passes a slash, a class may: no match is deeper than that.
    depth = pattern.count("/") + pattern.count("[")
    pending = [(start.path, "")] if start is not None and start.is_directory else []
    while pending:
        directory, below = pending.pop()
        deeper: list[tuple[str, str]] = []
        for entry in tree.children(directory):
            name = join(below, entry.name)
            if regex.fullmatch(name):
                yield entry.path
            elif entry.is_directory and name.count("/") < depth:
                deeper.append((entry.path, name))
        pending += reversed(deeper)


def _with_parents(tree: Tree, source: str, excluded: Patterns, where: str) -> Iterator[Match]:
    """What --parents takes: a match for each directory that the part before `/./` means."""
    pivot, dot, rest = source.partition("/./")
    if not dot:
        pivot, rest = "", source
    pattern = _clean(rest)
    if not has_wildcards(source):
        _existing(tree, _clean(join(pivot, pattern)), source, where)
    include = Patterns([f"\\{pattern}" if pattern.startswith("!") else pattern]) if pattern else None
    for path in _matching(tree, pivot):
        top = _existing(tree, path, source, where)
        if top.is_directory:
            yield Match(path, top, tuple(_Walk(tree, top, excluded, include).files()))


@dataclass(slots=True)
class _Step:
    """A file on the way down.

    Attributes:
        path: below the top.
        included, excluded: what each pattern says of it.
        given: whether it is among the results already.
    """

    path: str
    entry: Entry
    above: _Step | None
    included: tuple[bool, ...] = ()
    excluded: tuple[bool, ...] = ()
    given: bool = False


class _Walk:
    """Goes through a directory.

    Args:
        include: only what these mean is taken, and the directories above it; everything when None.
    """

    def __init__(self, tree: Tree, top: Entry, exclude: Patterns, include: Patterns | None = None) -> None:
        self._tree = tree
        self._exclude = exclude
        self._include = include
        self._top = _Step("", top, None, given=True)

    def files(self) -> Iterator[Selected]:
        """What is taken, each directory before its contents, by name."""
        pending = self._inside(self._top)
        while pending:
            step = pending.pop()
            taken = self._judge(step)
            if taken:
                yield from _announce(step)
            if step.entry.is_directory and self._goes_on(step, taken=taken):
                pending += self._inside(step)

    def _inside(self, step: _Step) -> list[_Step]:
        """A directory's contents, last first."""
        entries = self._tree.children(step.entry.path)
        return [_Step(join(step.path, entry.name), entry, step) for entry in reversed(entries)]

    def _judge(self, step: _Step) -> bool:
        above = step.above or self._top
        taken = True
        if self._include is not None:
            taken, step.included = self._include.match(step.path, above.included)
        if self._exclude:
            excluded, step.excluded = self._exclude.match(step.path, above.excluded)
            taken = taken and not excluded
        return taken

    def _goes_on(self, step: _Step, *, taken: bool) -> bool:
        """Whether anything in a directory can be taken."""
        if taken:
            return True
        if self._include is not None and not any(step.included):
            return any(pattern.may_match_below(step.path) for pattern in self._include.patterns)
        return self._exclude.exceptions


def _announce(step: _Step) -> Iterator[Selected]:
    """The step, after the directories above it that were not given yet."""
    missing: list[_Step] = []
    at: _Step | None = step
    while at is not None and not at.given:
        missing.append(at)
        at = at.above
    for step in reversed(missing):
        step.given = True
        yield Selected(step.path, step.entry)
