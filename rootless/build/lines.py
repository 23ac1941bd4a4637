"""A Dockerfile's bytes as logical lines: directives, comments, continuations; here-documents when they are asked for.

The rules are those of BuildKit's parser (frontend/dockerfile/parser/parser.go and directives.go), and of Docker's
reference of the Dockerfile under "Format" and "Parser directives".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..image.expand import SPACE
from .place import Place, Source

LIMIT = 16 << 20
"""Bytes of a Dockerfile. It is held in memory as a whole."""
LINE_LIMIT = 65535
"""Bytes of a line, as BuildKit allows; one that is longer builds nowhere else."""

_DIRECTIVE = re.compile(rf"#[{SPACE}]*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*", re.ASCII)
_DIRECTIVES = ("syntax", "escape", "check")
_CONTINUED = {
    escape: re.compile(rf"(?:(?<!{re.escape(escape)})|\A){re.escape(escape)}[ \t]*\Z") for escape in ("\\", "`")
}


@dataclass(frozen=True, slots=True)
class Directives:
    """What the comments at the very top say to the parser.

    Attributes:
        escape: the character that escapes, and continues a line.
        syntax: the image of a frontend, empty when none is named.
        check: the options of the build checks, likewise.
    """

    escape: str = "\\"
    syntax: str = ""
    check: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """Physical lines joined at their continuations; `gaps` says that one of them was empty."""

    text: str
    place: Place
    gaps: bool = False


def read_source(data: bytes, file: str = "Dockerfile") -> Source:
    """The text of a Dockerfile. What is not UTF-8 shows as U+FFFD, as Go's encoders write it.

    Raises:
        DockerfileError: it is empty, too large, or no text.
    """
    whole = Place(Source(file, ()), 0, 0)
    if len(data) > LIMIT:
        raise whole.error(f"the Dockerfile is larger than {LIMIT} bytes")
    if not data.strip():
        raise whole.error("the Dockerfile cannot be empty", hint="a Dockerfile begins with a FROM instruction")
    raw = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    lines = tuple(line.decode(errors="replace") for line in raw)
    source = Source(file, lines[:-1] if lines[-1] == "" else lines)
    for number, line in enumerate(raw, 1):
        if b"\0" in line:
            raise Place(source, number, number).error("this line has a NUL byte in it", hint="save it as UTF-8 text")
        if len(line) > LINE_LIMIT:
            place = Place(source, number, number)
            raise place.error(f"dockerfile line greater than max allowed size of {LINE_LIMIT}")
    return source


class Reader:
    """Goes over a Dockerfile once, line by line."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._at = 0
        self.directives = self._read_directives()

    def place(self, first: int) -> Place:
        """From line `first` to the last one that was read."""
        return Place(self._source, first, self._at)

    def next(self) -> Line | None:
        """The next logical line that is neither empty nor a comment; None after the last."""
        continued = _CONTINUED[self.directives.escape]
        while (line := self._take()) is not None:
            first = self._at
            text = line.lstrip(SPACE)
            if not text or text.startswith("#"):
                continue
            parts, gaps = [continued.sub("", text)], False
            goes_on = continued.search(text) is not None
            while goes_on and (line := self._take()) is not None:
                bare = line.lstrip(SPACE)
                if bare.startswith("#"):
                    continue
                if not bare:
                    gaps = True
                    continue
                goes_on = continued.search(line) is not None
                parts.append(continued.sub("", line))
            return Line("".join(parts), self.place(first), gaps)
        return None

    def document(self, name: str, *, chomp: bool) -> str | None:
        """The lines up to the one that says `name`, with their ends; None when the file ends first.

        Args:
            chomp: tabs before the name don't count.
        """
        first = self._at
        while (line := self._take()) is not None:
            if (line.lstrip("\t") if chomp else line) == name:
                return "".join(f"{text}\n" for text in self._source.lines[first : self._at - 1])
        return None

    def _take(self) -> str | None:
        if self._at == len(self._source.lines):
            return None
        self._at += 1
        return self._source.lines[self._at - 1].rstrip("\r")

    def _read_directives(self) -> Directives:
        """Only the lines before anything else can be directives; the first that is none ends them."""
        found: dict[str, str] = {}
        for number, line in enumerate(self._source.lines, 1):
            match = _DIRECTIVE.fullmatch(line.rstrip("\r").lstrip(SPACE))
            name = match[1].lower() if match else ""
            if match is None or name not in _DIRECTIVES:
                break
            place = Place(self._source, number, number)
            if name in found:
                raise place.error(f"only one {name} parser directive can be used")
            if name == "escape" and match[2] not in _CONTINUED:
                raise place.error(f"invalid escape token '{match[2]}' does not match ` or \\")
            found[name] = match[2]
        return Directives(**found)
