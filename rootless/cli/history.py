"""`rootless history`, also `rootless image history`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from ..image import manifests, spec
from .context import Context
from .format import Field, ago, ellipsis, human_size, print_rows, printable
from .options import Command
from .registry_options import one_platform_option, parse_platform

if TYPE_CHECKING:
    from ..image.store import Image, ImageStore

TABLE = "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}"
MISSING = "<missing>"


@dataclass(frozen=True)
class Row:
    """One step of an image's making."""

    id: str
    step: spec.History
    size: int
    whole: bool
    human: bool

    @property
    def created_at(self) -> str:
        moment = spec.moment(self.step.created)
        return moment.isoformat(timespec="seconds").replace("+00:00", "Z") if moment else "N/A"

    @property
    def created_by(self) -> str:
        text = printable(self.step.created_by.replace("\t", " "))
        return text if self.whole else ellipsis(text, 45)

    @property
    def short_id(self) -> str:
        return self.id if self.whole or self.id == MISSING else self.id.partition(":")[2][:12]


FIELDS = {
    "Comment": Field[Row]("COMMENT", lambda row: printable(row.step.comment)),
    "CreatedAt": Field[Row]("CREATED AT", lambda row: row.created_at),
    "CreatedBy": Field[Row]("CREATED BY", lambda row: row.created_by),
    "CreatedSince": Field[Row](
        "CREATED", lambda row: ago(spec.moment(row.step.created)) if row.human else row.created_at
    ),
    "ID": Field[Row]("IMAGE", lambda row: row.short_id),
    "Size": Field[Row]("SIZE", lambda row: human_size(row.size, 3) if row.human else str(row.size)),
}


@click.command(cls=Command, at_least=1, at_most=1, short_help="Show the history of an image")
@click.option("--format", "form", default="table", metavar="STRING", help="Format output using a custom template")
@click.option("-H", "--human/--no-human", default=True, help="Print sizes and dates in human readable format")
@click.option("--no-trunc", is_flag=True, help="Don't truncate output")
@one_platform_option
@click.option("-q", "--quiet", is_flag=True, help="Only show image IDs")
@click.argument("images", nargs=-1, metavar="IMAGE")
@click.pass_context
def history(
    ctx: click.Context, images: tuple[str, ...], form: str, human: bool, no_trunc: bool, platform: str, quiet: bool
) -> None:
    """Show how an IMAGE came to be, the last step first."""
    context: Context = ctx.obj
    store = context.images
    made_for = parse_platform(platform)
    image = store.resolve(images[0])
    manifests.require(image.config, made_for, images[0])
    rows = list(_rows(store, image, no_trunc, human))
    print_rows(rows, FIELDS, "{{.ID}}" if quiet and form == "table" else form, TABLE)


def _rows(store: ImageStore, image: Image, whole: bool, human: bool) -> Iterator[Row]:
    """Steps and the sizes of the layers they made. The configuration may tell of fewer steps than there are layers."""
    steps = list(image.config.history or [])
    made = sum(not step.empty_layer for step in steps)
    steps += [spec.History(created=image.config.created) for _ in image.layers[made:]]
    sizes = [store.layer_size(layer) for layer in image.layers]
    rows = []
    for step in steps:
        size = 0 if step.empty_layer or not sizes else sizes.pop(0)
        rows.append((step, size))
    for number, (step, size) in enumerate(reversed(rows)):
        yield Row(MISSING if number else image.id, step, size, whole, human)
