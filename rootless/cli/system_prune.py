"""`rootless system prune`: the prunes of containers, networks, volumes and images, one after the other."""

from __future__ import annotations

import sys

import click

from ..errors import InvalidError, RootlessError
from . import container_prune, image_common, image_prune, network_prune, volume_prune
from .confirm import confirmed
from .context import Context
from .format import human_size
from .options import Command

FILTERS = ("label", "label!", "until")


@click.command(cls=Command, at_most=0, short_help="Remove unused data")
@click.option("-a", "--all", "everything", is_flag=True, help="Remove all unused images not just dangling ones")
@click.option("--filter", "filters", multiple=True, help='Provide filter values (e.g. "label=<key>=<value>")')
@click.option("-f", "--force", is_flag=True, help="Do not prompt for confirmation")
@click.option("--volumes", is_flag=True, help="Prune anonymous volumes")
@click.pass_context
def system_prune(ctx: click.Context, /, everything: bool, filters: tuple[str, ...], force: bool, volumes: bool) -> int:
    """Remove stopped containers, networks that nobody uses, and unused images; with --volumes also those volumes that
    nobody named and no container has.
    """
    context: Context = ctx.obj
    wanted = image_common.parse_filters(filters, FILTERS)
    if volumes and "until" in wanted:
        raise InvalidError('ERROR: The "until" filter is not supported with "--volumes"')
    if not force and not confirmed(_warning(everything, volumes)):
        return 0
    sizes, failures = 0, []
    for title, (removed, size, problems) in (
        ("Containers", _containers(context, wanted)),
        ("Networks", _networks(context, wanted)),
        ("Volumes", _volumes(context, wanted) if volumes else ([], 0, [])),
        ("Images", _images(context, wanted, everything)),
    ):
        if removed:
            click.echo("\n".join([f"Deleted {title}:", *removed, ""]))
        sizes += size
        failures += problems
    click.echo(f"Total reclaimed space: {human_size(sizes)}")
    for problem in failures:
        print(f"rootless: {problem}", file=sys.stderr)
    return 1 if failures else 0


def _warning(everything: bool, volumes: bool) -> str:
    images = "all images without at least one container associated to them" if everything else "all dangling images"
    what = ["all stopped containers", "all networks not used by at least one container"]
    what += ["all anonymous volumes not used by at least one container"] if volumes else []
    what.append(images)
    return "\n".join(["WARNING! This will remove:", *(f"  - {line}" for line in what), ""])


Outcome = tuple[list[str], int, list[RootlessError]]
"""What was removed, how many bytes that gave back, and why other things stayed."""


def _containers(context: Context, filters: dict[str, list[str]]) -> Outcome:
    from ..container.prune import prune

    pruned = prune(context.engine, container_prune.Chosen(filters))
    return pruned.removed, pruned.size, pruned.failures


def _networks(context: Context, filters: dict[str, list[str]]) -> Outcome:
    from ..network.remove import prune
    from ..network.store import Networks

    removed, failures = prune(Networks(context.paths), context.containers, network_prune.Chosen(filters))
    return list(removed), 0, list(failures)


def _volumes(context: Context, filters: dict[str, list[str]]) -> Outcome:
    from ..container.volume_prune import prune

    pruned = prune(context.containers, volume_prune.Chosen(filters, everything=False))
    return pruned.removed, pruned.size, pruned.failures


def _images(context: Context, filters: dict[str, list[str]], everything: bool) -> Outcome:
    from ..image.remove import prune

    chosen = image_prune.Chosen(everything, filters)
    removed = prune(context.images, chosen, lambda: image_common.uses(context), image_common.layers(context))
    lines = [f"untagged: {name}" for name in removed.untagged] + [f"deleted: {digest}" for digest in removed.deleted]
    return lines, removed.size, []
