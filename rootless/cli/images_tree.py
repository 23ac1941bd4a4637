"""`rootless images --tree`: each image with its platforms below it, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from . import image_common
from .format import align, human_size, short_id

if TYPE_CHECKING:
    from ..image.spec import Descriptor
    from ..image.store import Image, ImageStore
    from .context import Context

HEADER = ("IMAGE", "ID", "DISK USAGE", "CONTENT SIZE", "EXTRA")
UNTAGGED = "<untagged>"
IN_USE = "U"
"""A container is made of it, running or not."""


def tree(context: Context, images: list[Image]) -> str:
    """The lines of a tree, as docker 29 has it without colours."""
    used = {use.image for use in image_common.uses(context)}
    rows = [row for image in images for row in _rows(context.images, image, IN_USE * (image.id in used))]
    text = align("\n".join("\t".join(row) for row in [HEADER, *rows]))
    return "".join(f"{line.rstrip()}\n" for line in text.split("\n"))


def _rows(store: ImageStore, image: Image, extra: str) -> Iterator[tuple[str, ...]]:
    """A line for each name, the last with all there is to tell; then one for each manifest."""
    *names, last = [str(name) for name in image.names] or [UNTAGGED]
    yield from ((name, "", "", "", "") for name in names)
    content = sum(_content(store, image).values())
    yield (last, image.short_id, *_sizes(store, image, content), extra)
    for entry in image.manifests:
        branch = "└─ " if entry is image.manifests[-1] else "├─ "
        content = sum(_content(store, image, entry).values())
        yield (branch + _platform(image), short_id(entry.digest), *_sizes(store, image, content), extra)


def _sizes(store: ImageStore, image: Image, content: int) -> tuple[str, str]:
    """Everything on disk, unpacked layers as well; the blobs alone."""
    return human_size(store.size(image) + content, 3), human_size(content, 3)


def _content(store: ImageStore, image: Image, *entries: Descriptor) -> dict[str, int]:
    """The blobs that one or all of its manifests lead to, each with its size."""
    found: dict[str, int] = {}
    for entry in entries or image.manifests:
        manifest = store.manifest(entry)
        found[entry.digest] = entry.size
        found |= {blob.digest: blob.size for blob in (manifest.config, *manifest.layers)}
    return found


def _platform(image: Image) -> str:
    config = image.config
    return "/".join(part for part in (config.os, config.architecture, config.variant) if part)
