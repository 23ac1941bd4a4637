"""`rootless logs`, also `rootless container logs`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable

import click

from ..container.container import Container
from ..container.state import ALIVE, Status
from ..errors import ConflictError, UnavailableError
from ..kernel.output import write_all
from ..runtime.changes import Changes
from ..runtime.log_reader import LogReader, Part
from ..runtime.logs import NONE, STREAMS, Entry
from .context import Context
from .moments import moment
from .options import Command, invalid

_FLUSH = 1 << 16
_DESCRIPTORS = {name: number for number, name in STREAMS.items()}


@click.command(cls=Command, at_least=1, at_most=1, short_help="Fetch the logs of a container")
@click.option("--egress", is_flag=True, help="Show what a container with --egress has tried to reach")
@click.option("--details", is_flag=True, help="Show extra details provided to logs")
@click.option("-f", "--follow", is_flag=True, help="Follow log output")
@click.option(
    "--since",
    metavar="STRING",
    help='Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)',
)
@click.option("-n", "--tail", default="all", metavar="STRING", help="Number of lines to show from the end of the logs")
@click.option("-t", "--timestamps", is_flag=True, help="Show timestamps")
@click.option(
    "--until",
    metavar="STRING",
    help='Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)',
)
@click.argument("container", nargs=-1, metavar="CONTAINER")
@click.pass_context
def logs(
    ctx: click.Context,
    /,
    container: tuple[str, ...],
    details: bool,
    egress: bool,
    follow: bool,
    since: str | None,
    tail: str,
    timestamps: bool,
    until: str | None,
) -> None:
    """Show what a CONTAINER has written: its standard output to standard output, its errors to standard error.

    With --egress, what it has tried to reach outside, and what became of it.
    """
    context: Context = ctx.obj
    part = Part(
        _tail(tail),
        moment(since, "--since") if since else None,
        moment(until, "--until") if until else None,
    )
    found = context.containers.resolve(container[0])
    reader = LogReader(found.directory / ("log-egress" if egress else "log"), part)
    with Changes(found) as changes:
        status = found.state().status
        _check(found, status, egress=egress)
        output = Output(timestamps=timestamps or egress, details=details)
        if follow and status in ALIVE:
            output.show(reader.follow(lambda: _wait(found, changes, output)))
        else:
            output.show(reader.read())
    if reader.damaged:
        print(f"rootless: {reader.damaged} damaged lines of the log were left out", file=sys.stderr)


def _tail(text: str) -> int | None:
    if text == "all":
        return None
    if not re.fullmatch(r"[+-]?[0-9]{1,12}", text, re.ASCII):
        raise invalid(text, "-n, --tail", "it must be a number or all")
    return int(text) if int(text) >= 0 else None


def _check(container: Container, status: Status, *, egress: bool) -> None:
    if status in (Status.REMOVING, Status.DEAD):
        raise ConflictError("can not get logs from container which is dead or marked for removal")
    if egress:
        if not container.spec.net.egress:
            raise UnavailableError("the container has no filter", hint="it was made without --egress")
        return
    if container.spec.log.driver == NONE:
        raise UnavailableError(
            "configured logging driver does not support reading", hint="the container was made with --log-driver none"
        )


def _wait(container: Container, changes: Changes, output: Output) -> bool:
    """Wait for more of the log; False when the container has ended."""
    output.flush()
    changed = changes.wait()
    if changed and all(name.startswith("log") for name in changed):
        return True
    return container.state().status in ALIVE


class Output:
    """Writes lines to standard output and standard error, in the order in which they were logged."""

    def __init__(self, *, timestamps: bool, details: bool) -> None:
        self._timestamps, self._details = timestamps, details
        self._inside_line = dict.fromkeys(_DESCRIPTORS, False)
        self._stream = ""
        self._pending = bytearray()

    def show(self, entries: Iterable[Entry]) -> None:
        """Write them all."""
        for entry in entries:
            if entry.stream not in _DESCRIPTORS:
                continue
            if entry.stream != self._stream or len(self._pending) > _FLUSH:
                self.flush()
                self._stream = entry.stream
            # A long line lies in several entries: what stands before a line must not stand inside one.
            if not self._inside_line[entry.stream]:
                self._pending += self._prefix(entry).encode()
            self._pending += entry.log.encode(errors="surrogatepass")
            self._inside_line[entry.stream] = not entry.log.endswith("\n")
        self.flush()

    def _prefix(self, entry: Entry) -> str:
        time = f"{entry.time} " if self._timestamps else ""
        return time + (f"{_attributes(entry)} " if self._details else "")

    def flush(self) -> None:
        """Write what is collected."""
        if self._pending:
            write_all(_DESCRIPTORS[self._stream], bytes(self._pending))
            self._pending.clear()


def _attributes(entry: Entry) -> str:
    if not entry.attrs:
        return ""
    from urllib.parse import quote_plus

    return ",".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in sorted(entry.attrs.items()))
