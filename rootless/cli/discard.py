"""`rootless discard`, also `rootless container discard`."""

from __future__ import annotations

from . import flags
from .context import Context
from .each import for_each


@flags.command("CONTAINER [CONTAINER...]", at_least=1)
@flags.argument("containers", many=True)
def discard(context: Context, containers: tuple[str, ...]) -> int:
    """Throw away what one or more CONTAINERs have changed of your files: of the image host, or with mounts `:O`.

    The containers themselves stay; when they are started again they begin with the machine as it is.
    """
    from ..container import review

    idmap = context.engine.idmap
    return for_each(containers, lambda name: review.discard(context.containers.resolve(name), idmap))
