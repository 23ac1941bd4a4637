"""`rootless ps`, also `rootless container ls`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from ..container.state import ALIVE, Status
from .context import Context
from .format import Field, ago, ellipsis, human_duration, print_rows
from .options import Command

if TYPE_CHECKING:
    from ..container.record import State
    from ..container.store import Container

TABLE = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}"


@dataclass(frozen=True)
class _Row:
    container: Container
    state: State
    whole: bool

    @property
    def command(self) -> str:
        text = " ".join(self.container.spec.argv)
        return f'"{text if self.whole else ellipsis(text, 20)}"'


FIELDS = {
    "ID": Field[_Row]("CONTAINER ID", lambda r: r.container.id if r.whole else r.container.id[:12]),
    "Image": Field[_Row]("IMAGE", lambda r: r.container.spec.image),
    "Command": Field[_Row]("COMMAND", lambda r: r.command),
    "CreatedAt": Field[_Row]("CREATED AT", lambda r: _moment(r.container.record.created).isoformat(" ", "seconds")),
    "RunningFor": Field[_Row]("CREATED", lambda r: ago(_moment(r.container.record.created))),
    "Status": Field[_Row]("STATUS", lambda r: status_line(r.state)),
    "State": Field[_Row]("STATE", lambda r: str(r.state.status)),
    "Ports": Field[_Row]("PORTS", lambda _: ""),
    "Names": Field[_Row]("NAMES", lambda r: r.container.name),
    "Labels": Field[_Row]("LABELS", lambda r: ",".join(f"{k}={v}" for k, v in sorted(r.container.spec.labels.items()))),
    "Label": Field[_Row]("", lambda r: lambda name: r.container.spec.labels.get(name, "")),
    "Networks": Field[_Row]("NETWORKS", lambda r: r.container.spec.network),
    "Mounts": Field[_Row]("MOUNTS", lambda _: ""),
    "LocalVolumes": Field[_Row]("LOCAL VOLUMES", lambda _: "0"),
}
"""What `--format` may name, by Docker's names."""


@click.command(cls=Command, at_most=0, short_help="List containers")
@click.option("-a", "--all", "everything", is_flag=True, help="Show all containers (default shows just running)")
@click.option("-n", "--last", default=-1, metavar="INT", help="Show n last created containers (includes all states)")
@click.option("-l", "--latest", is_flag=True, help="Show the latest created container (includes all states)")
@click.option("-q", "--quiet", is_flag=True, help="Only display container IDs")
@click.option("--no-trunc", is_flag=True, help="Don't truncate output")
@click.option("--format", "form", default="table", metavar="STRING", help="Format output using a custom template")
@click.pass_context
def ps(
    ctx: click.Context, /, everything: bool, last: int, latest: bool, quiet: bool, no_trunc: bool, form: str
) -> None:
    """List containers."""
    context: Context = ctx.obj
    last = 1 if latest else last
    rows = [_Row(container, state, no_trunc) for container, state in context.containers.survey()]
    if last >= 0:
        rows = rows[:last]
    elif not everything:
        rows = [row for row in rows if row.state.status in ALIVE]
    if quiet:
        form = "{{.ID}}"
    print_rows(rows, FIELDS, form, TABLE)


def _moment(text: str) -> datetime:
    """RFC 3339 with nanoseconds; of these Python keeps microseconds."""
    return datetime.fromisoformat(text[:26]).replace(tzinfo=UTC)


def _age(text: str) -> str:
    return human_duration((datetime.now(UTC) - _moment(text)).total_seconds())


def status_line(state: State) -> str:
    """Docker's sentence for a state: `Up 5 minutes`, `Exited (0) 3 seconds ago`."""
    match state.status:
        case Status.RUNNING:
            return f"Up {_age(state.started_at)}" + (f" on {state.host}" if _elsewhere(state) else "")
        case Status.PAUSED:
            return f"Up {_age(state.started_at)} (Paused)"
        case Status.RESTARTING:
            return f"Restarting ({state.exit_code}) {_age(state.finished_at)} ago"
        case Status.EXITED:
            when = f" {_age(state.finished_at)} ago" if state.finished_at else ""
            return f"Exited ({state.exit_code}){when}"
        case Status.REMOVING:
            return "Removal In Progress"
        case _:
            return str(state.status).capitalize()


def _elsewhere(state: State) -> bool:
    from ..kernel.process import machine_id

    return state.machine_id != machine_id()
