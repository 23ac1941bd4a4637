"""How a build is shown: plain lines, as BuildKit prints them, or a picture that moves on a terminal."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TextIO

import click

from ..build.events import AnyEvent, Began, Cached, Ended, Output, Status, Warned
from ..errors import printable

TAIL = 20
"""Lines of a failed command's output that are shown again below everything else."""

LONGEST = 16 << 10
"""Bytes of a line that are waited for: what has no end goes on in the next one."""


class Display(Protocol):
    """Shows a build."""

    def __call__(self, event: AnyEvent) -> None:
        """Something happened."""

    def tick(self) -> None:
        """Time has passed."""

    def failed(self, vertex: str) -> str:
        """The last words of a step that failed, for below the whole."""


@dataclass
class Vertex:
    """What is known of one thing that is shown.

    Attributes:
        number: in the order of beginning, from 1 on.
        began, ended: moments of time.monotonic(); 0 for not yet.
        partial: by stream, the line that is not complete yet.
        lines: what its command has written last, each with its time in seconds.
    """

    number: int
    name: str
    began: float
    ended: float = 0
    cached: bool = False
    error: str = ""
    canceled: bool = False
    partial: dict[int, bytes] = field(default_factory=dict)
    lines: list[tuple[float, str]] = field(default_factory=list)
    status: str = ""

    def seconds(self, now: float) -> float:
        return (self.ended or now) - self.began

    def add(self, event: Output) -> list[tuple[float, str]]:
        """The lines that are complete now."""
        *whole, rest = (self.partial.pop(event.stream, b"") + event.data).split(b"\n")
        if len(rest) > LONGEST:
            whole.append(rest)
        elif rest:
            self.partial[event.stream] = rest
        return self._keep(whole, event.at)

    def rest(self, now: float) -> list[tuple[float, str]]:
        """What was written without an end of line, at the end."""
        left = [data for data in self.partial.values() if data]
        self.partial.clear()
        return self._keep(left, now)

    def _keep(self, lines: list[bytes], at: float) -> list[tuple[float, str]]:
        new = [(at - self.began, _shown(line)) for line in lines]
        self.lines = [*self.lines, *new][-TAIL:]
        return new


_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")
"""Select graphic rendition, ECMA-48 8.3.117."""


def _shown(line: bytes) -> str:
    """A line as it may be printed: what a carriage return overwrites is gone; of control sequences, colours stay."""
    text = line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")
    parts = _COLOUR.split(text)
    parts[::2] = ("".join(c if c.isprintable() or c == "\t" else "�" for c in part) for part in parts[::2])
    return "".join(parts) + ("\x1b[0m" if len(parts) > 1 else "")


def plain(text: str) -> str:
    """The same without colours."""
    return _COLOUR.sub("", text)


class Vertices:
    """All of a build, by key."""

    def __init__(self) -> None:
        self.known: dict[str, Vertex] = {}

    def apply(self, event: AnyEvent) -> Vertex | None:
        """Note what an event says; the vertex that it is about."""
        if isinstance(event, Began | Cached) and event.vertex not in self.known:
            self.known[event.vertex] = Vertex(len(self.known) + 1, printable(event.name), event.at)
        vertex = self.known.get(event.vertex)
        if vertex is None:
            return None
        match event:
            case Cached(at=at):
                vertex.cached, vertex.ended = True, at
            case Ended(at=at, error=error, canceled=canceled):
                vertex.ended, vertex.error, vertex.canceled = at, printable(error), canceled
            case Status(text=text):
                vertex.status = printable(text)
        return vertex

    def failed(self, key: str) -> str:
        """The last words of a step that failed."""
        vertex = self.known.get(key)
        if vertex is None or not (vertex.lines or vertex.partial):
            return ""
        vertex.rest(time.monotonic())
        rule = "-" * 6
        shown = [f"{at:.3f} {text}" for at, text in vertex.lines]
        return "\n".join([rule, f" > {vertex.name}:", *shown, rule])


class Plain:
    """Lines, for a file or a pipe."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._vertices = Vertices()
        self._current = 0

    def __call__(self, event: AnyEvent) -> None:
        if isinstance(event, Warned):
            click.echo(f"\n{printable(event.text)}", file=self._stream)
            return
        vertex = self._vertices.apply(event)
        if vertex is None:
            return
        if self._current != vertex.number:
            blank = "\n" if self._current else ""
            click.echo(f"{blank}#{vertex.number} {vertex.name}", file=self._stream)
            self._current = vertex.number
        for line in self._lines(event, vertex):
            click.echo(f"#{vertex.number} {line}".rstrip(), file=self._stream)

    def _lines(self, event: AnyEvent, vertex: Vertex) -> Iterator[str]:
        match event:
            case Output():
                yield from (f"{at:.3f} {text}" for at, text in vertex.add(event))
            case Status():
                yield vertex.status
            case Cached():
                yield "CACHED"
            case Ended(at=at):
                yield from (f"{when:.3f} {text}" for when, text in vertex.rest(at))
                yield _outcome(vertex)

    def tick(self) -> None:
        pass

    def failed(self, vertex: str) -> str:
        return self._vertices.failed(vertex)


def _outcome(vertex: Vertex) -> str:
    if vertex.canceled:
        return "CANCELED"
    return f"ERROR: {vertex.error}" if vertex.error else f"DONE {vertex.seconds(vertex.ended):.1f}s"


class Quiet:
    """Nothing but the last words of a failure."""

    def __init__(self) -> None:
        self._vertices = Vertices()

    def __call__(self, event: AnyEvent) -> None:
        vertex = self._vertices.apply(event)
        if vertex is not None and isinstance(event, Output):
            vertex.add(event)

    def tick(self) -> None:
        pass

    def failed(self, vertex: str) -> str:
        return self._vertices.failed(vertex)


@contextmanager
def display(mode: str, stream: TextIO, *, quiet: bool) -> Iterator[Display]:
    """What shows a build in the block: `plain`, `tty`, or `auto`, which asks the stream."""
    if quiet:
        yield Quiet()
    elif mode == "tty" or (mode == "auto" and stream.isatty()):
        from .build_screen import Screen

        with Screen(stream) as screen:
            yield screen
    else:
        yield Plain(stream)
