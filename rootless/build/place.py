"""Where in a Dockerfile something stands, and errors that show it.

Whatever is wrong with an instruction is told with the file, the line and the lines around it, as BuildKit does
(solver/errdefs/source.go): `Dockerfile:3` and a picture with `>>>` before the lines that are meant.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import InvalidError, printable

_AROUND = 2
"""Lines shown before and after."""
_WIDTH = 200
"""Characters of a shown line: a picture of the place, not a copy of the file."""
_NEAR = 3
"""A word that takes fewer edits than this to be a known one was probably meant to be it."""


@dataclass(frozen=True, slots=True)
class Source:
    """A Dockerfile's text.

    Attributes:
        file: its name, as the user knows it.
        lines: without their ends.
    """

    file: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Lines of a Dockerfile, counted from 1, `last` included. A place with `first` 0 is the file as a whole."""

    source: Source
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.source.file}:{self.first}" if self.first else self.source.file

    def picture(self) -> str:
        """The lines with their neighbours, ready to be printed; empty for a file as a whole."""
        if not self.first:
            return ""
        rule = "-" * 20
        shown = range(max(1, self.first - _AROUND), min(len(self.source.lines), self.last + _AROUND) + 1)
        return "\n".join([printable(str(self)), rule, *map(self._shown, shown), rule])

    def _shown(self, number: int) -> str:
        mark = ">>>" if self.first <= number <= self.last else "   "
        line = self.source.lines[number - 1][:_WIDTH].expandtabs(4)
        return f" {number:3d} | {mark} {printable(line)}".rstrip()

    def error(self, message: str, *, hint: str = "") -> DockerfileError:
        """The error that tells `message` about this place."""
        return DockerfileError(message, self, hint=hint)


class DockerfileError(InvalidError):
    """A Dockerfile says something that can't be meant, or that can't be done.

    Attributes:
        place: where.
        picture: the lines there, which the command line prints above the error.
    """

    def __init__(self, message: str, place: Place, *, hint: str = "") -> None:
        super().__init__(f"{place}: {message}", hint=hint)
        self.place = place
        self.picture = place.picture()


def nearest(word: str, known: Iterable[str], *, case: bool = False) -> str:
    """` (did you mean RUN?)` for a word that is almost one of `known`, and nothing for one that isn't.

    Args:
        case: whether capitals count; without, the proposal takes the case of `word`.
    """
    wanted = word if case else word.lower()
    distances = {candidate: _distance(wanted, candidate if case else candidate.lower()) for candidate in known}
    best = min(distances, key=lambda candidate: (distances[candidate], candidate), default="")
    if not best or not 0 < distances[best] < _NEAR:
        return ""
    if not case and word in (word.lower(), word.upper()):
        best = best.lower() if word == word.lower() else best.upper()
    return f" (did you mean {best}?)"


def _distance(one: str, other: str) -> int:
    """Edits between two words, letters that changed places counting as one; a number too large when lengths say so."""
    if abs(len(one) - len(other)) >= _NEAR:
        return _NEAR
    rows = [list(range(len(other) + 1))]
    for i, a in enumerate(one, 1):
        rows.append([i])
        for j, b in enumerate(other, 1):
            best = min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (a != b))
            if i > 1 and j > 1 and (a, b) == (other[j - 2], one[i - 2]):
                best = min(best, rows[i - 2][j - 2] + 1)
            rows[i].append(best)
    return rows[-1][-1]
