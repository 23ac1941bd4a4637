"""`rootless images`, also `rootless image ls`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import click

from ..errors import RootlessError
from .context import Context
from .format import Field, ago, human_size, local_time, print_rows
from .image_common import matches_labels, matches_reference, parse_bool, parse_filters, parse_until
from .options import Command

if TYPE_CHECKING:
    from ..image.reference import Reference
    from ..image.store import Image, ImageStore

_CREATED = "{{if .CreatedSince}}{{.CreatedSince}}{{else}}N/A{{end}}"
TABLE = f"table {{{{.Repository}}}}\t{{{{.Tag}}}}\t{{{{.ID}}}}\t{_CREATED}\t{{{{.Size}}}}"
TABLE_WITH_DIGEST = TABLE.replace("{{.ID}}", "{{.Digest}}\t{{.ID}}")
RAW = """\
repository: {{.Repository}}
tag: {{.Tag}}
image_id: {{.ID}}
created_at: {{.CreatedAt}}
virtual_size: {{.Size}}
"""
NONE = "<none>"
FILTERS = ("before", "dangling", "label", "reference", "since", "until")


@dataclass(frozen=True)
class Row:
    """One name of an image."""

    image: Image
    store: ImageStore
    whole_id: bool
    repository: str = NONE
    tag: str = NONE
    digest: str = NONE

    @property
    def size(self) -> int:
        return self.store.size(self.image)


FIELDS = {
    "Containers": Field[Row]("CONTAINERS", lambda _: "N/A"),
    "CreatedAt": Field[Row]("CREATED AT", lambda row: local_time(row.image.created)),
    "CreatedSince": Field[Row]("CREATED", lambda row: ago(row.image.created)),
    "Digest": Field[Row]("DIGEST", lambda row: row.digest),
    "ID": Field[Row]("IMAGE ID", lambda row: row.image.id if row.whole_id else row.image.short_id),
    "Repository": Field[Row]("REPOSITORY", lambda row: row.repository),
    "SharedSize": Field[Row]("SHARED SIZE", lambda _: "N/A"),
    "Size": Field[Row]("SIZE", lambda row: human_size(row.size, 3)),
    "Tag": Field[Row]("TAG", lambda row: row.tag),
    "UniqueSize": Field[Row]("UNIQUE SIZE", lambda _: "N/A"),
    "VirtualSize": Field[Row]("SIZE", lambda row: human_size(row.size)),
}
"""What `--format` may name, by Docker's names."""


@click.command(cls=Command, at_most=1, short_help="List images")
@click.option("-a", "--all", "_everything", is_flag=True, help="Show all images (there are no intermediate ones)")
@click.option("--digests", is_flag=True, help="Show digests")
@click.option("-f", "--filter", "filters", multiple=True, help="Filter output based on conditions provided")
@click.option("--format", "form", default="table", metavar="STRING", help="Format output using a custom template")
@click.option("--no-trunc", is_flag=True, help="Don't truncate output")
@click.option("-q", "--quiet", is_flag=True, help="Only show image IDs")
@click.option("--tree", "as_tree", is_flag=True, help="List each image with its platforms, as a tree; U: in use")
@click.argument("repositories", nargs=-1, metavar="[REPOSITORY[:TAG]]")
@click.pass_context
def images(
    ctx: click.Context,
    repositories: tuple[str, ...],
    _everything: bool,
    digests: bool,
    filters: tuple[str, ...],
    form: str,
    no_trunc: bool,
    quiet: bool,
    as_tree: bool,
) -> None:
    """List images, or those of a REPOSITORY."""
    context: Context = ctx.obj
    if as_tree:
        _refuse_with_tree({"--digests": digests, "--format": form != "table", "--no-trunc": no_trunc, "--quiet": quiet})
    wanted = parse_filters(filters, FILTERS)
    if repositories:
        wanted.setdefault("reference", []).extend(repositories)
    store = context.images
    found = store.all(lambda problem: print(f"rootless: {problem}", file=sys.stderr))
    chosen = Filter(store, wanted)
    if as_tree:
        from .images_tree import tree

        click.echo(tree(context, [image for image in found if chosen(image)]), nl=False)
        return
    with_digests = digests or "{{.Digest}}" in form
    rows = [row for image in found if chosen(image) for row in _rows(store, image, chosen, no_trunc, with_digests)]
    if quiet and form in ("table", "raw"):
        form = "{{.ID}}" if form == "table" else "image_id: {{.ID}}"
    form = RAW if form == "raw" else form
    print_rows(rows, FIELDS, form, TABLE_WITH_DIGEST if digests else TABLE)


def _refuse_with_tree(given: dict[str, bool]) -> None:
    for option, is_given in given.items():
        if is_given:
            raise RootlessError(f"{option} can't be used with --tree", hint="leave one of them out")


def _rows(store: ImageStore, image: Image, chosen: Filter, whole: bool, with_digests: bool) -> Iterator[Row]:
    """A row for each tag and each digest from its repository; one where only digests are known of a repository."""
    names = [name for name in image.names if chosen.shows(name)]
    digests = [name for name in image.digests if chosen.shows(name)]
    if not names and not digests:
        yield Row(image, store, whole)
    for name in names:
        own = [other.digest for other in digests if other.name == name.name] if with_digests else []
        for digest in own or [NONE]:
            yield Row(image, store, whole, name.familiar_name, name.tag, digest)
    tagged = {name.name for name in names}
    for other in digests:
        if other.name not in tagged:
            yield Row(image, store, whole, other.familiar_name, NONE, other.digest)


class Filter:
    """Which images, and which of their names, are shown."""

    def __init__(self, store: ImageStore, wanted: dict[str, list[str]]) -> None:
        """Raises NotFoundError for an image to compare with that isn't there."""
        self._labels = wanted.get("label", [])
        self._patterns = wanted.get("reference", [])
        self._dangling = [parse_bool("dangling", value) for value in wanted.get("dangling", [])]
        self._before = [store.resolve(value).created for value in wanted.get("before", [])]
        self._before += [parse_until(value) for value in wanted.get("until", [])]
        self._since = [store.resolve(value).created for value in wanted.get("since", [])]

    def __call__(self, image: Image) -> bool:
        if self._dangling and self._dangling[-1] is bool(image.names):
            return False
        if self._patterns and not any(map(self.shows, (*image.names, *image.digests))):
            return False
        return matches_labels(image, self._labels) and self._in_time(image.created)

    def shows(self, name: Reference) -> bool:
        return not self._patterns or matches_reference(name, self._patterns)

    def _in_time(self, created: datetime | None) -> bool:
        if created is None:
            return not self._before and not self._since
        before: Sequence[datetime] = [moment for moment in self._before if moment is not None]
        since: Sequence[datetime] = [moment for moment in self._since if moment is not None]
        return all(created < moment for moment in before) and all(created > moment for moment in since)
