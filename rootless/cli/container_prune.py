"""`rootless container prune`."""

from __future__ import annotations

import sys

from ..container.container import Container
from . import flags, image_common, prune_filters
from .confirm import confirmed
from .context import Context
from .format import human_size

FILTERS = ("label", "label!", "until")


@flags.command(at_most=0)
@flags.option("--filter", "filters", multiple=True, help='Provide filter values (e.g. "until=<timestamp>")')
@flags.option("-f", "--force", boolean=True, help="Do not prompt for confirmation")
def container_prune(context: Context, filters: tuple[str, ...], force: bool) -> int:
    """Remove all containers that don't run, with what they have written."""
    from ..container.prune import prune

    chosen = Chosen(image_common.parse_filters(filters, FILTERS))
    if not force and not confirmed("WARNING! This will remove all stopped containers."):
        return 0
    pruned = prune(context.engine, chosen)
    if pruned.removed:
        print("\n".join(["Deleted Containers:", *pruned.removed, ""]))
    print(f"Total reclaimed space: {human_size(pruned.size)}")
    for problem in pruned.failures:
        print(f"rootless: {problem}", file=sys.stderr)
    return 1 if pruned.failures else 0


class Chosen(prune_filters.Chosen):
    """Which containers a prune takes, of those that don't run."""

    def __call__(self, container: Container) -> bool:
        return self.fits(container.spec.labels, container.record.created)
