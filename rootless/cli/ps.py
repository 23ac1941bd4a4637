"""`rootless ps`, also `rootless container ls`."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

import click

from ..container import query
from ..container.state import Status
from ..errors import RootlessError
from .context import Context
from .format import Field, ago, ellipsis, human_duration, human_size, local_time, print_rows, short_id
from .image_common import parse_filters
from .options import Command

if TYPE_CHECKING:
    from ..container.container import Container
    from ..container.record import Spec, State

TABLE = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}"
RAW = """\
container_id: {{.ID}}
image: {{.Image}}
command: {{.Command}}
created_at: {{.CreatedAt}}
state: {{- pad .State 1 0}}
status: {{- pad .Status 1 0}}
names: {{.Names}}
labels: {{- pad .Labels 1 0}}
ports: {{- pad .Ports 1 0}}
"""
COMMAND_WIDTH = 20
MOUNT_WIDTH = 15


@dataclass(frozen=True)
class Row:
    """A container as a line shows it."""

    container: Container
    state: State
    listing: Listing

    @property
    def spec(self) -> Spec:
        return self.container.spec

    @property
    def created(self) -> datetime:
        return _moment(self.container.record.created).replace(microsecond=0)


class Listing:
    """What the rows of one listing share: how they are shown, and what is looked up once for all of them."""

    def __init__(self, context: Context, *, whole: bool, sized: bool) -> None:
        self.context, self.whole, self.sized = context, whole, sized
        self._images: dict[str, tuple[str, int]] = {}

    def identifier(self, row: Row) -> str:
        return row.container.id if self.whole else row.container.id[:12]

    def command(self, row: Row) -> str:
        path, *arguments = row.spec.argv
        text = " ".join([path, *(f"'{word}'" if " " in word else word for word in arguments)])
        return quoted(text if self.whole else ellipsis(text, COMMAND_WIDTH))

    def image(self, row: Row) -> str:
        """The name that the container was made with, while it leads to the same image; then the image's id."""
        name, image_id = row.spec.image, row.spec.image_id
        if self._lookup(name)[0] != image_id:
            return image_id if self.whole else short_id(image_id)
        if self.whole:
            return name
        if short_id(image_id) == short_id(name):
            return short_id(name)
        return name.partition("@")[0]

    def mounts(self, row: Row) -> str:
        """Volumes by their names, the machine's directories by their paths."""
        names = [mount.source for mount in row.spec.mounts]
        return ",".join(name if self.whole else ellipsis(name, MOUNT_WIDTH) for name in names)

    def ports(self, row: Row) -> str:
        from ..network import ports

        return ports.column(row.spec.net, row.state.network)

    def size(self, row: Row) -> str:
        """Of the writable layer, and of all that the container sees."""
        if not self.sized:
            return human_size(0, 3)
        from ..storage.usage import tree_size

        own = tree_size(row.container.directory / "upper", self._room)
        image = self._lookup(row.spec.image_id)[1]
        return f"{human_size(own, 3)} (virtual {human_size(own + image, 3)})"

    def _lookup(self, name: str) -> tuple[str, int]:
        """An image's id and size; an empty id when there is no such image (any more)."""
        if name not in self._images:
            self._images[name] = "", 0
            with suppress(RootlessError):
                image = self.context.images.resolve(name)
                self._images[name] = image.id, self.context.images.size(image) if self.sized else 0
        return self._images[name]

    def _room(self) -> int:
        return os.dup(self._held_room)

    @cached_property
    def _held_room(self) -> int:
        from ..idmap import detect
        from ..room import open_room

        return open_room(self.context.paths, detect())


FIELDS = {
    "ID": Field[Row]("CONTAINER ID", lambda r: r.listing.identifier(r)),
    "Image": Field[Row]("IMAGE", lambda r: r.listing.image(r)),
    "Command": Field[Row]("COMMAND", lambda r: r.listing.command(r)),
    "CreatedAt": Field[Row]("CREATED AT", lambda r: local_time(r.created)),
    "RunningFor": Field[Row]("CREATED", lambda r: ago(r.created)),
    "Status": Field[Row]("STATUS", lambda r: status_line(r.state)),
    "State": Field[Row]("STATE", lambda r: str(r.state.status)),
    "HealthStatus": Field[Row]("HEALTH STATUS", lambda r: r.state.health_status),
    "Ports": Field[Row]("PORTS", lambda r: r.listing.ports(r)),
    "Names": Field[Row]("NAMES", lambda r: r.container.name),
    "Labels": Field[Row]("LABELS", lambda r: ",".join(f"{k}={v}" for k, v in sorted(r.spec.labels.items()))),
    "Label": Field[Row]("", lambda r: lambda name: r.spec.labels.get(name, "")),
    "Networks": Field[Row]("NETWORKS", lambda r: ",".join(query.joined(r.spec))),
    "Mounts": Field[Row]("MOUNTS", lambda r: r.listing.mounts(r)),
    "LocalVolumes": Field[Row]("LOCAL VOLUMES", lambda r: str(sum(m.type == "volume" for m in r.spec.mounts))),
    "Size": Field[Row]("SIZE", lambda r: r.listing.size(r)),
}
"""What `--format` may name, by Docker's names."""


@click.command(cls=Command, at_most=0, short_help="List containers")
@click.option("-a", "--all", "everything", is_flag=True, help="Show all containers (default shows just running)")
@click.option("-f", "--filter", "filters", multiple=True, help="Filter output based on conditions provided")
@click.option("--format", "form", default="", metavar="STRING", help="Format output using a custom template")
@click.option("-n", "--last", default=-1, metavar="INT", help="Show n last created containers (includes all states)")
@click.option("-l", "--latest", is_flag=True, help="Show the latest created container (includes all states)")
@click.option("--no-trunc", is_flag=True, help="Don't truncate output")
@click.option("-q", "--quiet", is_flag=True, help="Only display container IDs")
@click.option("-s", "--size", is_flag=True, help="Display total file sizes")
@click.pass_context
def ps(
    ctx: click.Context,
    /,
    everything: bool,
    filters: tuple[str, ...],
    form: str,
    last: int,
    latest: bool,
    no_trunc: bool,
    quiet: bool,
    size: bool,
) -> None:
    """List containers."""
    context: Context = ctx.obj
    if form and quiet:
        print("WARNING: Ignoring custom format, because both --format and --quiet are set.", file=sys.stderr)
    last = 1 if latest and last == -1 else last
    wanted = query.parse(
        parse_filters(filters, query.FILTERS),
        context.containers,
        lambda: context.images,
        everything=everything or last > 0,
    )
    listing = Listing(context, whole=no_trunc, sized=size or ".Size" in form)
    survey = context.containers.survey(lambda problem: print(f"rootless: {problem}", file=sys.stderr))
    rows = [Row(container, state, listing) for container, state in survey if wanted(container, state)]
    print_rows(rows[: last if last > 0 else None], FIELDS, _form(form, quiet, size), _table(size))


def _form(form: str, quiet: bool, size: bool) -> str:
    if form == "raw":
        return "container_id: {{.ID}}" if quiet else RAW + ("size: {{.Size}}\n" if size else "")
    return "{{.ID}}" if quiet else form or "table"


def _table(size: bool) -> str:
    return TABLE + ("\t{{.Size}}" if size else "")


def quoted(text: str) -> str:
    """`text` between double quotes, as Go's strconv.Quote writes it: nothing in it can move the cursor."""
    return '"' + "".join(_ESCAPES.get(c) or (c if c.isprintable() else _code(c)) for c in text) + '"'


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t",
            "\v": "\\v"}  # fmt: skip


def _code(character: str) -> str:
    number = ord(character)
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _moment(text: str) -> datetime:
    """RFC 3339 with nanoseconds; of these Python keeps microseconds."""
    return datetime.fromisoformat(text[:26]).replace(tzinfo=UTC)


def _age(text: str) -> str:
    return human_duration((datetime.now(UTC) - _moment(text)).total_seconds())


def status_line(state: State) -> str:
    """Docker's sentence for a state: `Up 5 minutes`, `Exited (0) 3 seconds ago`."""
    match state.status:
        case Status.RUNNING:
            found = state.health_status
            health = f" ({'health: ' if found == 'starting' else ''}{found})" if found else ""
            return f"Up {_age(state.started_at)}{health}" + (f" on {state.host}" if _elsewhere(state) else "")
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
