"""`rootless volume export` and `rootless volume import`: podman's words; Docker has none for it."""

from __future__ import annotations

from . import flags
from .archive_output import written
from .context import Context
from .import_ import opened
from .volume_common import volumes


@flags.command("VOLUME", at_least=1, at_most=1)
@flags.option("-o", "--output", default="", metavar="FILE", help="Write to a file, instead of STDOUT")
@flags.argument("name")
def volume_export(context: Context, /, name: str, output: str) -> None:
    """Write what is in VOLUME as a tar archive (streamed to STDOUT by default)."""
    from ..volumes import transfer

    volume = volumes(context).get(name)
    with written(output, "export") as sink:
        transfer.export(context.paths, volume, sink)


@flags.command("VOLUME FILE|-", at_least=2, at_most=2)
@flags.argument("name")
@flags.argument("source")
def volume_import(context: Context, /, name: str, source: str) -> None:
    """Put the contents of a tar archive, plain or compressed, into VOLUME, which has to be there."""
    from ..volumes import transfer

    volume = volumes(context).get(name)
    with opened(source, context.paths) as stream:
        transfer.import_(context.paths, volume, stream)
