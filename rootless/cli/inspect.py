"""`rootless inspect`, also `rootless container inspect` and `rootless image inspect`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import click
import msgspec

from ..errors import InvalidError, NotFoundError, RootlessError, UsageError
from .context import Context
from .options import Command
from .registry_options import one_platform_option, parse_platform


@click.command(cls=Command, at_least=1, short_help="Return low-level information on containers and images")
@click.option("-f", "--format", "form", default="json", metavar="STRING", help="Format output using a template")
@click.option(
    "--type",
    "kind",
    default="",
    metavar="STRING",
    help="Only inspect objects of this type: container, image, network, volume",
)
@one_platform_option
@click.option("-s", "--size", "sized", is_flag=True, help="Display total file sizes if the type is container")
@click.argument("names", nargs=-1, metavar="NAME|ID [NAME|ID...]")
@click.pass_context
def inspect(ctx: click.Context, /, names: tuple[str, ...], form: str, kind: str, platform: str, sized: bool) -> int:
    """Show everything that is known of each of NAMES: containers, or else images, networks, volumes."""
    # The group before the command says the type as well: `rootless image inspect x` never means a container.
    group = ctx.parent.info_name if ctx.parent is not None else None
    wanted = kind or (group if group in ("container", "image") else "")
    if wanted and wanted not in FINDERS:
        raise click.BadParameter(f'"{wanted}" is not a valid value for --type; there are: {", ".join(FINDERS)}', ctx)
    if platform:
        if wanted != "image":
            raise UsageError("--platform is about images", hint="use it with `rootless image inspect`")
        _require(ctx.obj, names, platform)
    finders = FINDERS | ({"container": _sized_container} if sized else {})
    documents: list[dict[str, Any]] = []
    missing = []
    for name in names:
        document = _find(ctx.obj, name, [finders[wanted]] if wanted else finders.values())
        if document is None:
            missing.append(name)
        else:
            documents.append(document)
    print_documents(documents, form)
    for name in missing:
        print(f"rootless: No such {wanted or 'object'}: {name}", file=sys.stderr)
    return 1 if missing else 0


def _require(context: Context, names: Sequence[str], platform: str) -> None:
    """Fail where one of these images is for another platform. Of those that are not here it is told later."""
    from ..image import manifests

    made_for = parse_platform(platform)
    for name in names:
        try:
            image = context.images.resolve(name)
        except RootlessError:
            continue
        manifests.require(image.config, made_for, name)


def _find(context: Context, name: str, finders: Iterable[Finder]) -> dict[str, Any] | None:
    """What a name means: the first kind of object that has it."""
    for find in finders:
        with suppress(NotFoundError):
            return find(context, name)
    return None


def _container(context: Context, name: str) -> dict[str, Any]:
    from .inspect_container import container_document

    return container_document(context.containers.resolve(name))


def _sized_container(context: Context, name: str) -> dict[str, Any]:
    """With the bytes of its writable layer, and of all that it sees."""
    from ..idmap import detect
    from ..room import open_room
    from ..storage.usage import tree_size

    document = _container(context, name)
    container = context.containers.load(document["Id"])
    own = tree_size(container.directory / "upper", lambda: open_room(context.paths, detect()))
    whole = own
    with suppress(RootlessError):  # its image may be gone
        whole += context.images.size(context.images.resolve(container.spec.image_id))
    return document | {"SizeRw": own, "SizeRootFs": whole}


def _image(context: Context, name: str) -> dict[str, Any]:
    from .image_common import image_document

    try:
        return image_document(context.images, context.images.resolve(name))
    except InvalidError as problem:  # what can't even be an image's name is no image
        raise NotFoundError(problem.message) from problem


def _network(context: Context, name: str) -> dict[str, Any]:
    from ..network.store import Networks
    from .network_common import find, network_document

    networks = Networks(context.paths)
    return network_document(networks, find(networks, name))


def _volume(context: Context, name: str) -> dict[str, Any]:
    from .volume_common import volume_document, volumes

    return volume_document(volumes(context).get(name))


Finder = Callable[[Context, str], dict[str, Any]]

FINDERS: dict[str, Finder] = {
    "container": _container,
    "image": _image,
    "network": _network,
    "volume": _volume,
}
"""Each type of object, in the order in which a name without a type is looked for."""


def print_documents(documents: list[dict[str, Any]], form: str) -> None:
    """Print them as JSON, or each by a template."""
    from .template import Template, plain

    if form in ("", "json"):
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(plain(documents)), indent=4).decode() + "\n")
        return
    template = Template(form)
    for document in documents:
        print(template.render(document))
