"""`rootless container prune`."""

from __future__ import annotations

import sys
from datetime import datetime

import click

from ..container.container import Container
from ..container.query import has_label
from . import image_common
from .confirm import confirmed
from .context import Context
from .format import human_size
from .options import Command

FILTERS = ("label", "label!", "until")


@click.command(cls=Command, at_most=0, short_help="Remove all stopped containers")
@click.option("--filter", "filters", multiple=True, help='Provide filter values (e.g. "until=<timestamp>")')
@click.option("-f", "--force", is_flag=True, help="Do not prompt for confirmation")
@click.pass_context
def container_prune(ctx: click.Context, filters: tuple[str, ...], force: bool) -> int:
    """Remove all containers that don't run, with what they have written."""
    from ..container.prune import prune

    context: Context = ctx.obj
    chosen = Chosen(image_common.parse_filters(filters, FILTERS))
    if not force and not confirmed("WARNING! This will remove all stopped containers."):
        return 0
    pruned = prune(context.engine, chosen)
    if pruned.removed:
        click.echo("\n".join(["Deleted Containers:", *pruned.removed, ""]))
    click.echo(f"Total reclaimed space: {human_size(pruned.size)}")
    for problem in pruned.failures:
        print(f"rootless: {problem}", file=sys.stderr)
    return 1 if pruned.failures else 0


class Chosen:
    """Which containers a prune takes, of those that don't run."""

    def __init__(self, filters: dict[str, list[str]]) -> None:
        self._labels = filters.get("label", [])
        self._without = filters.get("label!", [])
        self._until = [image_common.parse_until(value) for value in filters.get("until", [])]

    def __call__(self, container: Container) -> bool:
        labels = container.spec.labels
        created = datetime.fromisoformat(container.record.created[:26] + "+00:00")
        return (
            all(has_label(labels, label) for label in self._labels)
            and not any(has_label(labels, label) for label in self._without)
            and all(created <= moment for moment in self._until)
        )
