"""`rootless inspect`, also `rootless container inspect` and `rootless image inspect`."""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec

from ..errors import InvalidError, NotFoundError
from .context import Context
from .options import Command


@click.command(cls=Command, at_least=1, short_help="Return low-level information on containers and images")
@click.option("-f", "--format", "form", default="json", metavar="STRING", help="Format output using a template")
@click.option(
    "--type", "kind", default="", metavar="STRING", help="Only inspect objects of this type: container, image"
)
@click.argument("names", nargs=-1)
@click.pass_context
def inspect(ctx: click.Context, /, names: tuple[str, ...], form: str, kind: str) -> int:
    """Show everything that is known of each of NAMES: containers, or else images."""
    # The group before the command says the type as well: `rootless image inspect x` never means a container.
    group = ctx.parent.info_name if ctx.parent is not None else None
    wanted = kind or (group if group in ("container", "image") else "")
    if wanted not in ("", "container", "image"):
        raise click.BadParameter(f'"{wanted}" is not a valid value for --type; there are: container, image', ctx)
    documents: list[dict[str, Any]] = []
    missing = []
    for name in names:
        document = _find(ctx.obj, name, wanted)
        if document is None:
            missing.append(name)
        else:
            documents.append(document)
    _print(documents, form)
    what = {"": "object", "container": "container", "image": "image"}[wanted]
    for name in missing:
        print(f"rootless: No such {what}: {name}", file=sys.stderr)
    return 1 if missing else 0


def _find(context: Context, name: str, wanted: str) -> dict[str, Any] | None:
    if wanted != "image":
        from .inspect_container import container_document

        try:
            return container_document(context.containers.resolve(name))
        except NotFoundError:
            if wanted:
                return None
    from .image_common import image_document

    try:
        return image_document(context.images, context.images.resolve(name))
    except (NotFoundError, InvalidError):  # what can't even be an image's name is no image
        return None


def _print(documents: list[dict[str, Any]], form: str) -> None:
    from .template import Template, plain

    if form == "json":
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(plain(documents)), indent=4).decode() + "\n")
        return
    template = Template(form)
    for document in documents:
        print(template.render(document))
