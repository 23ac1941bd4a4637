"""`rootless top`, also `rootless container top`."""

from __future__ import annotations

import sys

import click

from .context import Context
from .options import Command

MIN_WIDTH = 20
PADDING = 3
"""Of a column, in characters: the numbers that Docker gives Go's text/tabwriter here."""


@click.command(cls=Command, at_least=1, interspersed=False, short_help="Display the running processes of a container")
@click.argument("container", nargs=-1, type=click.UNPROCESSED, metavar="CONTAINER [ps OPTIONS]")
@click.pass_context
def top(ctx: click.Context, container: tuple[str, ...]) -> None:
    """Show the processes of a CONTAINER, as the host's ps shows them with these options."""
    from ..container import processes

    context: Context = ctx.obj
    name, *options = container
    listing = processes.top(context.containers.resolve(name), options)
    sys.stdout.write(_table([listing.titles, *listing.rows]))


def _table(rows: list[list[str]]) -> str:
    """Cells in columns; the last one is as long as it is."""
    last = len(rows[0]) - 1
    widths = [
        max(MIN_WIDTH, *(len(row[column]) + PADDING for row in rows if len(row) > column)) for column in range(last)
    ]
    lines = (
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + "".join(row[last:])
        for row in rows
    )
    return "".join(f"{line.rstrip()}\n" for line in lines)
