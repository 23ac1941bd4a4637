"""`rootless system df`: what each part of the store costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from . import image_common
from .context import Context
from .format import Field, ago, human_size, print_rows, short_id
from .options import Command

if TYPE_CHECKING:
    from ..image.store import Image

TABLE = "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}"


@dataclass(frozen=True)
class Part:
    """One part of the store; sizes in bytes."""

    name: str
    total: int
    active: int
    size: int
    reclaimable: int

    @property
    def share(self) -> str:
        percent = f" ({self.reclaimable * 100 // self.size}%)" if self.size else ""
        return human_size(self.reclaimable, 4) + percent


FIELDS = {
    "Active": Field[Part]("ACTIVE", lambda part: str(part.active)),
    "Reclaimable": Field[Part]("RECLAIMABLE", lambda part: part.share),
    "Size": Field[Part]("SIZE", lambda part: human_size(part.size, 4)),
    "TotalCount": Field[Part]("TOTAL", lambda part: str(part.total)),
    "Type": Field[Part]("TYPE", lambda part: part.name),
}


@click.command(cls=Command, at_most=0, short_help="Show disk usage")
@click.option("--format", "form", default="table", metavar="STRING", help="Format output using a custom template")
@click.option("-v", "--verbose", is_flag=True, help="Show detailed information on space usage")
@click.pass_context
def system_df(ctx: click.Context, form: str, verbose: bool) -> None:
    """Show what the store takes on disk.

    Images are the unpacked layers, blobs the compressed layers and the documents that they were made of and that a push
    sends; downloads are what interrupted pulls go on with.
    """
    usage = _Usage(ctx.obj)
    if not verbose:
        parts = [usage.images(), usage.blobs(), usage.downloads(), usage.containers(), usage.volumes()]
        parts.append(usage.build_cache())
        print_rows(parts, FIELDS, form, TABLE)
        return
    click.echo("Images space usage:\n")
    rows = [row for image in usage.all_images for row in usage.rows(image)]
    print_rows(rows, IMAGE_FIELDS, "table", IMAGE_TABLE)
    click.echo("\nContainers space usage:\n")
    print_rows(usage.container_rows(), CONTAINER_FIELDS, "table", CONTAINER_TABLE)
    click.echo("\nLocal Volumes space usage:\n")
    print_rows(usage.volume_rows(), VOLUME_FIELDS, "table", VOLUME_TABLE)


class _Usage:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.images
        self.all_images = self._store.all()
        self._uses = list(image_common.uses(context))
        self._used_chains = {chain for use in self._uses for chain in use.chains}
        self._sizes = {
            layer.chain_id: self._store.layer_size(layer) for image in self.all_images for layer in image.layers
        }

    def images(self) -> Part:
        """Unpacked layers, each once for each kind that it was unpacked as."""
        sizes = dict(self._unpacked())
        active = {use.image for use in self._uses}
        free = sum(size for chain, size in sizes.items() if chain not in self._used_chains)
        used = sum(image.id in active for image in self.all_images)
        return Part("Images", len(self.all_images), used, sum(sizes.values()), free)

    def _unpacked(self) -> Iterator[tuple[str, int]]:
        from ..storage.digest import ALGORITHMS

        algorithms = {length: algorithm for algorithm, length in ALGORITHMS.items()}
        for directory in self._store.paths.layers.iterdir():
            trees = sum(entry.is_dir() for entry in directory.iterdir())
            chain = f"{algorithms.get(len(directory.name), '')}:{directory.name}"
            try:
                size = int((directory / "size").read_bytes())
            except (OSError, ValueError):
                size = self._sizes.get(chain, 0)
            yield chain, size * trees

    def blobs(self) -> Part:
        from ..image import garbage

        contents = self._store.read_index()
        needed = garbage.referenced(self._store, contents)
        sizes = {digest: self._store.blobs.size(digest) for digest in garbage.blobs(self._store)}
        active = {use.image for use in self._uses}
        kept = {blob for image in self.all_images if image.id in active for blob in self._blobs_of(image)}
        free = sum(size for digest, size in sizes.items() if digest not in kept)
        return Part("Blobs", len(sizes), len(needed & sizes.keys()), sum(sizes.values()), free)

    def _blobs_of(self, image: Image) -> set[str]:
        return {image.id, *(entry.digest for entry in image.manifests), *(layer.blob.digest for layer in image.layers)}

    def downloads(self) -> Part:
        from ..image.check import partials

        count, size = partials(self._store)
        return Part("Downloads", count, 0, size, size)

    def containers(self) -> Part:
        sizes = {use.container: self._writable(use.container) for use in self._uses}
        running = {use.container for use in self._uses if use.running}
        free = sum(size for name, size in sizes.items() if name not in running)
        return Part("Containers", len(sizes), len(running), sum(sizes.values()), free)

    def _writable(self, container_id: str) -> int:
        return self._tree(str(self._store.paths.container(container_id) / "upper"))

    def _tree(self, path: str) -> int:
        from pathlib import Path

        from ..idmap import detect
        from ..room import open_room
        from ..storage.usage import tree_size

        return tree_size(Path(path), lambda: open_room(self._store.paths, detect()))

    def volumes(self) -> Part:
        rows = self.volume_rows()
        free = sum(row.size for row in rows if not row.links)
        return Part("Local Volumes", len(rows), sum(row.links > 0 for row in rows), sum(r.size for r in rows), free)

    def volume_rows(self) -> list[VolumeRow]:
        from ..container.volume_use import users
        from ..volumes.store import Volumes

        used = users(self._context.containers)
        return [
            VolumeRow(v.name, len(used.get(v.name, ())), self._tree(str(v.data)) if v.own_data else 0)
            for v in Volumes(self._store.paths).all()
        ]

    def build_cache(self) -> Part:
        """What steps of builds have kept that no image has, and cache mounts."""
        from ..build.cachemounts import CacheMounts
        from ..image.steps import Steps

        steps = list(Steps(self._store.paths).all())
        images = {layer.blob.digest for image in self.all_images for layer in image.layers}
        blobs = {kept.step.layer.digest: kept.step.layer.size for kept in steps}
        size = sum(size for digest, size in blobs.items() if digest not in images)
        mounts = [size for _, size in CacheMounts(self._store.paths, self._context.engine.idmap).sizes()]
        total = size + sum(mounts)
        active = sum(kept.step.layer.digest in images for kept in steps)
        return Part("Build Cache", len(steps) + len(mounts), active, total, total)

    def rows(self, image: Image) -> Iterator[ImageRow]:
        others = {chain for other in self.all_images if other.id != image.id for chain in other.chain_ids}
        shared = sum(self._sizes[chain] for chain in set(image.chain_ids) & others)
        size = sum(self._sizes[chain] for chain in image.chain_ids)
        blobs = sum(layer.blob.size for layer in image.layers)
        count = sum(use.image == image.id for use in self._uses)
        for name in image.names or (None,):
            repository, tag = (name.familiar_name, name.tag) if name else ("<none>", "<none>")
            yield ImageRow(image, repository, tag, size, shared, blobs, count)

    def container_rows(self) -> list[tuple[str, str, int]]:
        return [
            (container.id, container.name, self._writable(container.id)) for container in self._context.containers.all()
        ]


@dataclass(frozen=True)
class VolumeRow:
    """A line about a volume; its size in bytes, and how many containers have it."""

    name: str
    links: int
    size: int


@dataclass(frozen=True)
class ImageRow:
    """A line about an image; sizes in bytes."""

    image: Image
    repository: str
    tag: str
    size: int
    shared: int
    blobs: int
    containers: int


IMAGE_FIELDS = {
    "Repository": Field[ImageRow]("REPOSITORY", lambda row: row.repository),
    "Tag": Field[ImageRow]("TAG", lambda row: row.tag),
    "ID": Field[ImageRow]("IMAGE ID", lambda row: row.image.short_id),
    "CreatedSince": Field[ImageRow]("CREATED", lambda row: ago(row.image.created) or "N/A"),
    "Size": Field[ImageRow]("SIZE", lambda row: human_size(row.size, 4)),
    "SharedSize": Field[ImageRow]("SHARED SIZE", lambda row: human_size(row.shared, 4)),
    "UniqueSize": Field[ImageRow]("UNIQUE SIZE", lambda row: human_size(row.size - row.shared, 4)),
    "BlobSize": Field[ImageRow]("BLOB SIZE", lambda row: human_size(row.blobs, 4)),
    "Containers": Field[ImageRow]("CONTAINERS", lambda row: str(row.containers)),
}
IMAGE_TABLE = "table " + "\t".join(f"{{{{.{name}}}}}" for name in IMAGE_FIELDS)

CONTAINER_FIELDS = {
    "ID": Field[tuple[str, str, int]]("CONTAINER ID", lambda row: short_id(row[0])),
    "Size": Field[tuple[str, str, int]]("SIZE", lambda row: human_size(row[2], 4)),
    "Names": Field[tuple[str, str, int]]("NAMES", lambda row: row[1]),
}
CONTAINER_TABLE = "table " + "\t".join(f"{{{{.{name}}}}}" for name in CONTAINER_FIELDS)

VOLUME_FIELDS = {
    "Name": Field[VolumeRow]("VOLUME NAME", lambda row: row.name),
    "Links": Field[VolumeRow]("LINKS", lambda row: str(row.links)),
    "Size": Field[VolumeRow]("SIZE", lambda row: human_size(row.size, 4)),
}
VOLUME_TABLE = "table " + "\t".join(f"{{{{.{name}}}}}" for name in VOLUME_FIELDS)
