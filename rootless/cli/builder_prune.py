"""`rootless builder prune`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from . import image_common
from .confirm import confirmed
from .context import Context
from .format import human_size
from .options import Command

if TYPE_CHECKING:
    from ..image.steps import Kept

FILTERS = ("id", "until")


@click.command(cls=Command, at_most=0, short_help="Remove build cache")
@click.option("-a", "--all", "everything", is_flag=True, help="Remove all build cache, not just what no image uses")
@click.option("--filter", "filters", multiple=True, help='Provide filter values (e.g. "until=24h")')
@click.option("-f", "--force", is_flag=True, help="Do not prompt for confirmation")
@click.pass_context
def builder_prune(ctx: click.Context, everything: bool, filters: tuple[str, ...], force: bool) -> int:
    """Remove what builds have kept for later builds: steps whose layers no image has, and cache mounts."""
    from ..build.prune import prune

    context: Context = ctx.obj
    chosen = _Chosen(image_common.parse_filters(filters, FILTERS))
    what = "all build cache" if everything else "all dangling build cache"
    if not force and not confirmed(f"WARNING! This will remove {what}."):
        return 0
    pruned = prune(
        context.engine,
        chosen,
        lambda: (chain for use in image_common.uses(context) for chain in use.chains),
        everything=everything,
        mounts=not filters,
    )
    if pruned.removed:
        click.echo("\n".join(["Deleted build cache objects:", *pruned.removed, ""]))
    click.echo(f"Total reclaimed space: {human_size(pruned.size)}")
    if pruned.problem is not None:
        print(f"rootless: {pruned.problem}", file=sys.stderr)
        return 1
    return 0


class _Chosen:
    """Which steps a prune may take, by their last use and their keys."""

    def __init__(self, filters: dict[str, list[str]]) -> None:
        self._until = [image_common.parse_until(value).timestamp() for value in filters.get("until", [])]
        self._ids = tuple(filters.get("id", []))

    def __call__(self, kept: Kept) -> bool:
        return all(kept.used <= moment for moment in self._until) and (not self._ids or kept.key.startswith(self._ids))
