"""`rootless system check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import flags
from .context import Context
from .format import human_size

if TYPE_CHECKING:
    from ..image.check import Finding


@flags.command(at_most=0)
@flags.option("-q", "--quiet", boolean=True, help="Print only what is wrong")
@flags.option("--repair", boolean=True, help="Remove what is damaged and can be had again")
def system_check(context: Context, quiet: bool, repair: bool) -> int:
    """Verify the store: each blob by its digest, the images, the unpacked layers, the containers."""
    from ..container import check as container_check
    from ..image import check

    context.containers.sweep()
    with context.images.locked():
        report = check.check(context.images)
        report.containers = len(context.containers.ids())
        report.findings += [check.Finding(text) for text in container_check.problems(context.containers)]
        left = 0
        for finding in report.findings:
            left += not _tell(finding, repair)
    if not quiet:
        print(
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
    print(finding.text + (" (repaired)" if repaired else ""))
    return repaired
