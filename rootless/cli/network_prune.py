"""`rootless network prune`."""

from __future__ import annotations

import sys

from ..network.record import Network
from ..network.store import Networks
from . import flags, image_common, prune_filters
from .confirm import confirmed
from .context import Context

FILTERS = ("label", "label!", "until")


@flags.command(at_most=0)
@flags.option("--filter", "filters", multiple=True, help='Provide filter values (e.g. "until=<timestamp>")')
@flags.option("-f", "--force", boolean=True, help="Do not prompt for confirmation")
def network_prune(context: Context, /, filters: tuple[str, ...], force: bool) -> int:
    """Remove all networks that no container, running or not, is made for."""
    from ..network.remove import prune

    chosen = Chosen(image_common.parse_filters(filters, FILTERS))
    if not force and not confirmed("WARNING! This will remove all custom networks not used by at least one container."):
        return 0
    context.containers.sweep()
    removed, failures = prune(Networks(context.paths), context.containers, chosen)
    if removed:
        print("\n".join(["Deleted Networks:", *removed, ""]))
    for problem in failures:
        print(f"rootless: {problem}", file=sys.stderr)
    return 1 if failures else 0


class Chosen(prune_filters.Chosen):
    """Which networks a prune takes, of those that nobody uses."""

    def __call__(self, network: Network) -> bool:
        return self.fits(network.labels, network.created)
