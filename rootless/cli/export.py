"""`rootless export`, also `rootless container export`."""

from __future__ import annotations

from . import flags
from .archive_output import written
from .context import Context


@flags.command("CONTAINER", at_least=1, at_most=1)
@flags.option("-o", "--output", default="", metavar="FILE", help="Write to a file, instead of STDOUT")
@flags.argument("container")
def export(context: Context, container: str, output: str) -> None:
    """Write a CONTAINER's whole filesystem as a tar archive (streamed to STDOUT by default), without its volumes."""
    from ..container import changed

    found = context.containers.resolve(container)
    with written(output, "export") as sink:
        changed.export(found, context.engine.idmap, sink)
