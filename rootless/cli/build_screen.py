"""A build on a terminal: one line a step, under the running ones the last lines of their output, drawn by rich."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TextIO

from ..build.events import AnyEvent, Output, Warned
from ..errors import printable
from .build_progress import Vertex, Vertices, plain

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

_LINES = 6
"""Lines of output under a step that is running, as in BuildKit."""
_REFRESH = 0.08
"""Seconds between two pictures."""


class Screen:
    """The picture. rich is driven by hand: its own thread must not run, because the build forks."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=stream, highlight=False, force_terminal=True)
        self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._vertices = Vertices()
        self._began = time.monotonic()
        self._drawn = 0.0
        self._warnings: list[str] = []

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live.is_started:
            self._live.update(self._picture(final=True), refresh=True)
            self._live.stop()
        for text in self._warnings:
            self._console.print(text, markup=False)

    def __call__(self, event: AnyEvent) -> None:
        if isinstance(event, Warned):
            self._warnings.append(printable(event.text))
            return
        vertex = self._vertices.apply(event)
        if vertex is None:
            return
        if isinstance(event, Output):
            vertex.add(event)
        if not self._live.is_started and not event.vertex.startswith("image "):
            self._live.start()
        self.tick()

    def tick(self) -> None:
        now = time.monotonic()
        if self._live.is_started and now - self._drawn >= _REFRESH:
            self._drawn = now
            self._live.update(self._picture(), refresh=True)

    def failed(self, vertex: str) -> str:
        return self._vertices.failed(vertex)

    def _picture(self, *, final: bool = False) -> RenderableType:
        """All of it at the end; before, as much as the terminal is high, the newest."""
        from rich.text import Text

        now = time.monotonic()
        known = list(self._vertices.known.values())
        done = sum(vertex.ended > 0 for vertex in known)
        state = "FINISHED" if final else ""
        lines = [Text(f"[+] Building {now - self._began:.1f}s ({done}/{len(known)}) {state}".rstrip(), style="bold")]
        for vertex in known:
            lines += self._vertex(vertex, now, final=final)
        room = self._console.size.height - 2
        if not final and len(lines) > room:
            lines = [lines[0], *lines[len(lines) - room + 1 :]]
        return Text("\n").join(lines)

    def _vertex(self, vertex: Vertex, now: float, *, final: bool) -> list[Text]:
        from rich.cells import cell_len, set_cell_size
        from rich.text import Text

        width = self._console.size.width
        clock = "" if vertex.cached else f"{vertex.seconds(now):.1f}s"
        mark = "CACHED " if vertex.cached else "ERROR " if vertex.error else "CANCELED " if vertex.canceled else ""
        name = f" => {mark}{vertex.name}"
        room = max(width - len(clock) - 1, 8)
        name = set_cell_size(name, room) if cell_len(name) > room else name.ljust(room)
        style = "red" if vertex.error else "" if not vertex.ended else "blue"
        lines = [Text(f"{name} {clock}", style=style, no_wrap=True, overflow="crop")]
        if not vertex.ended and not final:
            lines += [
                Text(f" => => # {plain(text)}"[:width], style="dim", no_wrap=True, overflow="crop")
                for _, text in vertex.lines[-_LINES:]
            ]
        return lines
