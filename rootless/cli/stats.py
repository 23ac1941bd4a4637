"""`rootless stats`, also `rootless container stats`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from ..container.state import Status
from ..errors import NotFoundError
from .context import Context
from .format import Field, human_size, listing, print_rows
from .options import Command

if TYPE_CHECKING:
    from ..container.container import Container
    from ..container.record import State
    from ..runtime.usage import Usage

INTERVAL = 1.0
"""Seconds over which the use of processors is taken."""

TABLE = "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}"

HOME, END_OF_LINE, REST = "\x1b[H", "\x1b[K", "\x1b[J"
"""What a terminal understands as: go to the first line, clear the rest of this line, clear everything below."""


@dataclass(frozen=True)
class Row:
    """A container, looked at twice."""

    container: Container
    called: str
    whole: bool
    before: Usage
    now: Usage

    @property
    def cpu_percent(self) -> float:
        """Of one processor: two that are busy make 200."""
        passed = self.now.moment - self.before.moment
        return max(self.now.cpu - self.before.cpu, 0) / passed * 100 if self.before.moment and passed > 0 else 0.0

    @property
    def memory_percent(self) -> float:
        return self.now.memory / self.now.memory_limit * 100 if self.now.memory_limit else 0.0

    @property
    def identifier(self) -> str:
        return self.container.id if self.whole else self.container.id[:12]


FIELDS = {
    "Container": Field[Row]("CONTAINER", lambda r: r.called or r.identifier),
    "ID": Field[Row]("CONTAINER ID", lambda r: r.identifier),
    "Name": Field[Row]("NAME", lambda r: r.container.name),
    "CPUPerc": Field[Row]("CPU %", lambda r: f"{r.cpu_percent:.2f}%"),
    "MemUsage": Field[Row](
        "MEM USAGE / LIMIT", lambda r: f"{binary_size(r.now.memory)} / {binary_size(r.now.memory_limit)}"
    ),
    "MemPerc": Field[Row]("MEM %", lambda r: f"{r.memory_percent:.2f}%"),
    "NetIO": Field[Row]("NET I/O", lambda r: f"{human_size(r.now.received, 3)} / {human_size(r.now.sent, 3)}"),
    "BlockIO": Field[Row]("BLOCK I/O", lambda r: f"{human_size(r.now.read, 3)} / {human_size(r.now.written, 3)}"),
    "PIDs": Field[Row]("PIDS", lambda r: str(r.now.tasks)),
}
"""What `--format` may name, by Docker's names."""


@click.command(cls=Command, short_help="Display a live stream of container(s) resource usage statistics")
@click.option("-a", "--all", "everything", is_flag=True, help="Show all containers (default shows just running)")
@click.option("--format", "form", default="table", metavar="STRING", help="Format output using a custom template")
@click.option("--no-stream", is_flag=True, help="Disable streaming stats and only pull the first result")
@click.option("--no-trunc", is_flag=True, help="Do not truncate output")
@click.argument("containers", nargs=-1)
@click.pass_context
def stats(
    ctx: click.Context, /, containers: tuple[str, ...], everything: bool, form: str, no_stream: bool, no_trunc: bool
) -> None:
    """Show what CONTAINERS use, or all that run, again and again."""
    context: Context = ctx.obj
    watching = _Watching(context, containers, everything)
    before = watching.look()
    while before or not containers:
        time.sleep(INTERVAL)
        now = watching.look()
        rows = [
            Row(container, called, no_trunc, before[container.id][2] if container.id in before else usage, usage)
            for container, called, usage in now.values()
        ]
        if no_stream:
            print_rows(rows, FIELDS, form, TABLE)
            return
        _show(rows, form)
        before = now


class _Watching:
    """The containers of one call: those named, or all that run at each look."""

    def __init__(self, context: Context, names: tuple[str, ...], everything: bool) -> None:
        self.context, self.everything = context, everything
        self.named = [(context.containers.resolve(name), name) for name in names]

    def look(self) -> dict[str, tuple[Container, str, Usage]]:
        """By id: the container, how it was called, and what it uses."""
        from ..runtime.usage import Usage, measure

        found = {}
        for container, called, state in self._states():
            usage = measure(state) if state.pid else Usage()
            found[container.id] = container, called, usage
        return found

    def _states(self) -> Iterator[tuple[Container, str, State]]:
        if not self.named:
            for container, state in self.context.containers.survey():
                if self.everything or state.status in (Status.RUNNING, Status.PAUSED):
                    yield container, "", state
        for container, called in self.named:
            with suppress(NotFoundError):
                yield self.context.containers.load(container.id), called, container.state()


def _show(rows: list[Row], form: str) -> None:
    """On a terminal in the place of what was there before; elsewhere after it."""
    text = listing(rows, FIELDS, form, TABLE)
    if os.isatty(1):
        text = HOME + text.replace("\n", f"{END_OF_LINE}\n") + REST
    sys.stdout.write(text)
    sys.stdout.flush()


def binary_size(size: float) -> str:
    """Bytes in powers of 1024: `1.5MiB` (go-units' BytesSize)."""
    units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        del units[0]
    return f"{size:.4g}{units[0]}"
