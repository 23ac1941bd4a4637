"""`rootless volume ls`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import click

from ..container.volume_use import users
from .context import Context
from .format import Field, human_size, print_rows
from .image_common import parse_filters
from .options import Command
from .volume_common import LS_FILTERS, chosen, labels_text

if TYPE_CHECKING:
    from ..volumes.store import Volume

TABLE = "table {{.Driver}}\t{{.Name}}"
RAW = "name: {{.Name}}\ndriver: {{.Driver}}\n"


class Listing:
    """What the rows of one listing share: what is only looked up when a format asks for it."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @cached_property
    def users(self) -> dict[str, list[str]]:
        return users(self._context.containers)

    def size(self, volume: Volume) -> int:
        from ..storage.usage import tree_size

        return tree_size(volume.data, lambda: os.dup(self._room))

    @cached_property
    def _room(self) -> int:
        from ..idmap import detect
        from ..room import open_room

        return open_room(self._context.paths, detect())


@dataclass(frozen=True)
class Row:
    """A volume as a line shows it."""

    volume: Volume
    listing: Listing


FIELDS = {
    "Name": Field[Row]("VOLUME NAME", lambda r: r.volume.name),
    "Driver": Field[Row]("DRIVER", lambda r: r.volume.document.driver),
    "Scope": Field[Row]("SCOPE", lambda _: "local"),
    "Mountpoint": Field[Row]("MOUNTPOINT", lambda r: str(r.volume.data)),
    "Labels": Field[Row]("LABELS", lambda r: labels_text(r.volume.document.labels)),
    "Label": Field[Row]("", lambda r: lambda name: r.volume.document.labels.get(name, "")),
    "Links": Field[Row]("LINKS", lambda r: str(len(r.listing.users.get(r.volume.name, ())))),
    "Size": Field[Row]("SIZE", lambda r: human_size(r.listing.size(r.volume), 3)),
    "Availability": Field[Row]("AVAILABILITY", lambda _: "N/A"),
    "Group": Field[Row]("GROUP", lambda _: "N/A"),
    "Status": Field[Row]("STATUS", lambda _: "N/A"),
}
"""What `--format` may name, by Docker's names."""


@click.command(cls=Command, at_most=0, short_help="List volumes")
@click.option("-f", "--filter", "filters", multiple=True, help='Provide filter values (e.g. "dangling=true")')
@click.option("--format", "form", default="", metavar="STRING", help="Format output using a custom template")
@click.option("-q", "--quiet", is_flag=True, help="Only display volume names")
@click.pass_context
def volume_ls(ctx: click.Context, /, filters: tuple[str, ...], form: str, quiet: bool) -> None:
    """List volumes."""
    context: Context = ctx.obj
    listing = Listing(context)
    rows = [Row(volume, listing) for volume in chosen(context, parse_filters(filters, LS_FILTERS))]
    print_rows(rows, FIELDS, _form(form, quiet), TABLE)


def _form(form: str, quiet: bool) -> str:
    if form == "raw":
        return "name: {{.Name}}" if quiet else RAW
    return form or ("{{.Name}}" if quiet else "table")
