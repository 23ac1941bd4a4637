"""`rootless pull`, also `rootless image pull`."""

from __future__ import annotations

import sys

import click

from ..errors import InvalidError
from ..image import obtain, reference
from . import progress
from .context import Context
from .options import Command
from .registry_options import platform_option, pull_options, registry_options


@click.command(cls=Command, at_least=1, at_most=1, short_help="Download an image from a registry")
@platform_option
@click.option("-q", "--quiet", is_flag=True, help="Print the image's ID only")
@registry_options
@click.argument("name", metavar="NAME[:TAG|@DIGEST]")
@click.pass_context
def pull(ctx: click.Context, name: str, platform: str, quiet: bool, tls_verify: bool | None, authfile: str) -> None:
    """Download an image from a registry."""
    from ..idmap import detect

    context: Context = ctx.obj
    if reference.digest_in(name):
        raise InvalidError(f"{name} is an id", hint="an image is pulled by its name: NAME[:TAG] or NAME@sha256:...")
    wanted = reference.parse(name)
    options = pull_options(context, platform, tls_verify=tls_verify, authfile=authfile)
    if not quiet:
        if not wanted.tag and not wanted.digest:
            click.echo("Using default tag: latest")
        click.echo(f"{wanted.digest or wanted.tagged().tag}: Pulling from {wanted.path}")
    with progress.shown(sys.stdout, quiet=quiet) as tell:
        pulled = obtain.fetch(context.images, detect(), name, options, tell)
    if quiet:
        click.echo(pulled.image.id)
        return
    click.echo(f"Digest: {pulled.digest}")
    what = "Downloaded newer image for" if pulled.newer else "Image is up to date for"
    click.echo(f"Status: {what} {pulled.name.familiar}")
    click.echo(pulled.name.full)
