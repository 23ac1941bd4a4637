"""`rootless pull`, also `rootless image pull`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import click

from .. import child
from ..errors import InvalidError, RootlessError
from ..image import obtain, reference, shortnames
from . import progress
from .context import Context
from .options import Command
from .registry_options import platform_option, pull_options, registry_options

if TYPE_CHECKING:
    from ..image.pull import Options
    from ..image.reference import Reference


@click.command(cls=Command, at_least=1, at_most=1, short_help="Download an image from a registry")
@click.option("-a", "--all-tags", is_flag=True, help="Download all tagged images in the repository")
@platform_option
@click.option("-q", "--quiet", is_flag=True, help="Print the image's ID only")
@registry_options
@click.argument("name", required=False, metavar="NAME[:TAG|@DIGEST]")
@click.pass_context
def pull(
    ctx: click.Context, name: str, all_tags: bool, platform: str, quiet: bool, tls_verify: bool | None, authfile: str
) -> None:
    """Download an image from a registry, or all images of a repository."""
    context: Context = ctx.obj
    if reference.digest_in(name):
        raise InvalidError(f"{name} is an id", hint="an image is pulled by its name: NAME[:TAG] or NAME@sha256:...")
    wanted = reference.parse(name)
    options = pull_options(context, platform, tls_verify=tls_verify, authfile=authfile)
    if all_tags:
        _pull_all(context, name, options, quiet)
        return
    if not quiet and not wanted.tag and not wanted.digest:
        click.echo("Using default tag: latest")
    newer, shown = _pull(context, name, options, quiet)
    if not quiet:
        _say_status(newer, shown.familiar)
        click.echo(shown.full)


def _pull(context: Context, name: str, options: Callable[[], Options], quiet: bool) -> tuple[bool, Reference]:
    """Pull one image: (whether it is another one than before, its name)."""
    from ..idmap import detect

    wanted = reference.parse(name)
    if not quiet:
        click.echo(f"{wanted.digest or wanted.tagged().tag}: Pulling from {wanted.path}")
    with progress.shown(sys.stdout, quiet=quiet) as tell:
        pulled = obtain.fetch(context.images, detect(), name, options, tell)
    click.echo(pulled.image.id if quiet else f"Digest: {pulled.digest}")
    return pulled.newer, pulled.name


def _pull_all(context: Context, name: str, options: Callable[[], Options], quiet: bool) -> None:
    """Pull every tag of a repository. Each in a child: after a pull this process has threads, and can't begin another.

    Raises:
        RootlessError: a tag or a digest was given as well.
    """
    wanted = shortnames.expand(name)
    if reference.parse(name).tag or wanted.digest:
        raise RootlessError("tag can't be used with --all-tags/-a")

    def tags() -> list[str]:
        from ..image.pull import tags

        return tags(wanted, options())

    newer = False
    for tag in child.call(tags, "listing the tags"):
        one = f"{name}:{tag}"
        newer |= child.call(partial(_pull, context, one, options, quiet), f"the pull of {one}")[0]
    if not quiet:
        _say_status(newer, wanted.familiar_name)
        click.echo(wanted.name)


def _say_status(newer: bool, name: str) -> None:
    click.echo(f"Status: {'Downloaded newer image for' if newer else 'Image is up to date for'} {name}")
