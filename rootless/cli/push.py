"""`rootless push`, also `rootless image push`."""

from __future__ import annotations

import sys

import click

from ..errors import NotFoundError, RootlessError
from ..image import index, shortnames
from ..image.reference import Reference
from ..image.store import ImageStore
from . import progress
from .context import Context
from .options import Command
from .registry_options import one_platform_option, parse_platform, registry_options


@click.command(cls=Command, at_least=1, at_most=1, short_help="Upload an image to a registry")
@click.option("-a", "--all-tags", is_flag=True, help="Push all tags of an image to the repository")
@one_platform_option
@click.option("-q", "--quiet", is_flag=True, help="Suppress verbose output")
@registry_options
@click.argument("name", required=False, metavar="NAME[:TAG]")
@click.pass_context
def push(
    ctx: click.Context, name: str, all_tags: bool, platform: str, quiet: bool, tls_verify: bool | None, authfile: str
) -> None:
    """Upload an image to a registry: what the registry does not have yet."""
    from ..image import push as pushing
    from ..image.pull import Options

    context: Context = ctx.obj
    wanted = shortnames.expand(name)
    options = Options(platform=parse_platform(platform), verify=tls_verify, authfile=authfile)
    if not quiet:
        click.echo(f"The push refers to repository [{wanted.name}]")
    for each in _tags(context.images, wanted, all_tags):
        with progress.shown(sys.stdout, quiet=quiet) as tell:
            pushed = pushing.push(context.images, each, options, tell)
        context.images.emit("push", each.familiar, each.familiar)
        line = f"{each.tag}: digest: {pushed.digest} size: {pushed.size}"
        click.echo(each.full if quiet else line)


def _tags(store: ImageStore, wanted: Reference, everything: bool) -> list[Reference]:
    """What is to be pushed.

    Raises:
        NotFoundError: in Docker's words.
    """
    if not everything:
        name = wanted.tagged()
        known = index.names(store.read_index())
        if name.tag and store.by_name(name.full, known) is None:
            if any(other.tag and other.name == name.name for other in known):
                raise NotFoundError(f"tag does not exist: {name}")
            raise _unknown(wanted)
        return [name]
    if wanted.tag or wanted.digest:
        raise RootlessError("tag can't be used with --all-tags/-a")
    found = [name for image in store.all() for name in image.names if name.name == wanted.name]
    if not found:
        raise _unknown(wanted)
    return sorted(found)


def _unknown(wanted: Reference) -> NotFoundError:
    return NotFoundError(f"An image does not exist locally with the tag: {wanted.familiar_name}")
