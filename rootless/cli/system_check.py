"""`rootless system check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .context import Context
from .format import human_size
from .options import Command

if TYPE_CHECKING:
    from ..image.check import Finding


@click.command(cls=Command, at_most=0, short_help="Verify the store")
@click.option("-q", "--quiet", is_flag=True, help="Print only what is wrong")
@click.option("--repair", is_flag=True, help="Remove what is damaged and can be had again")
@click.pass_context
def system_check(ctx: click.Context, quiet: bool, repair: bool) -> int:
    """Verify the store: each blob by its digest, the images, the unpacked layers, the containers."""
    from ..container import check as container_check
    from ..image import check

    context: Context = ctx.obj
    context.containers.sweep()
    with context.images.locked():
        report = check.check(context.images)
        report.containers = len(context.containers.ids())
        report.findings += [check.Finding(text) for text in container_check.problems(context.containers)]
        left = 0
        for finding in report.findings:
            left += not _tell(finding, repair)
    if not quiet:
        click.echo(
            f"Checked {report.images} images, {report.blobs} blobs ({human_size(report.blob_bytes, 3)}), "
            f"{report.layers} layers, {report.containers} containers: "
            f"{len(report.findings) or 'nothing'} wrong{f', {len(report.findings) - left} repaired' * repair}"
        )
    return 1 if left else 0


def _tell(finding: Finding, repair: bool) -> bool:
    """Print one finding. True when it is out of the way."""
    repaired = repair and finding.repair is not None
    if repaired and finding.repair is not None:
        finding.repair()
    click.echo(finding.text + (" (repaired)" if repaired else ""))
    return repaired
