"""`rootless network prune`."""

from __future__ import annotations

import sys

import click

from ..network.record import Network
from ..network.store import Networks
from . import image_common, prune_filters
from .confirm import confirmed
from .context import Context
from .options import Command

FILTERS = ("label", "label!", "until")


@click.command(cls=Command, at_most=0, short_help="Remove all unused networks")
@click.option("--filter", "filters", multiple=True, help='Provide filter values (e.g. "until=<timestamp>")')
@click.option("-f", "--force", is_flag=True, help="Do not prompt for confirmation")
@click.pass_context
def network_prune(ctx: click.Context, /, filters: tuple[str, ...], force: bool) -> int:
    """Remove all networks that no container, running or not, is made for."""
    from ..network.remove import prune

    context: Context = ctx.obj
    chosen = Chosen(image_common.parse_filters(filters, FILTERS))
    if not force and not confirmed("WARNING! This will remove all custom networks not used by at least one container."):
        return 0
    context.containers.sweep()
    removed, failures = prune(Networks(context.paths), context.containers, chosen)
    if removed:
        click.echo("\n".join(["Deleted Networks:", *removed, ""]))
    for problem in failures:
        print(f"rootless: {problem}", file=sys.stderr)
    return 1 if failures else 0


class Chosen(prune_filters.Chosen):
    """Which networks a prune takes, of those that nobody uses."""

    def __call__(self, network: Network) -> bool:
        return self.fits(network.labels, network.created)
