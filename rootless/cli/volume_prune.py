"""`rootless volume prune`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import click

from ..errors import InvalidError
from ..volumes.store import Volume
from . import prune_filters
from .confirm import confirmed
from .context import Context
from .format import human_size
from .image_common import parse_bool, parse_filters
from .options import Command

FILTERS = ("all", "label", "label!")


@click.command(cls=Command, at_most=0, short_help="Remove unused local volumes")
@click.option("-a", "--all", "everything", is_flag=True, help="Remove all unused volumes, not just anonymous ones")
@click.option("--filter", "filters", multiple=True, help='Provide filter values (e.g. "label=<label>")')
@click.option("-f", "--force", is_flag=True, help="Do not prompt for confirmation")
@click.pass_context
def volume_prune(ctx: click.Context, /, everything: bool, filters: tuple[str, ...], force: bool) -> int:
    """Remove the volumes that no container has, running or not: those that nobody named, with --all the others, too."""
    from ..container.volume_prune import prune

    context: Context = ctx.obj
    wanted = parse_filters(filters, FILTERS)
    if everything and "all" in wanted:
        raise InvalidError("conflicting options: cannot specify both --all and --filter all=1")
    everything = everything or any(parse_bool("all", value) for value in wanted.get("all", ()))
    what = "all local volumes" if everything else "anonymous local volumes"
    if not force and not confirmed(f"WARNING! This will remove {what} not used by at least one container."):
        return 0
    pruned = prune(context.containers, Chosen(wanted, everything=everything))
    if pruned.removed:
        click.echo("\n".join(["Deleted Volumes:", *pruned.removed, ""]))
    click.echo(f"Total reclaimed space: {human_size(pruned.size)}")
    for problem in pruned.failures:
        print(f"rootless: {problem}", file=sys.stderr)
    return 1 if pruned.failures else 0


class Chosen(prune_filters.Chosen):
    """Which volumes a prune takes, of those that no container has."""

    def __init__(self, filters: Mapping[str, Sequence[str]], *, everything: bool) -> None:
        super().__init__(filters)
        self._everything = everything

    def __call__(self, volume: Volume) -> bool:
        return (self._everything or volume.document.anonymous) and self.fits(
            volume.document.labels, volume.document.created
        )
