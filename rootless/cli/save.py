"""`rootless save` and `rootless load`, also `rootless image save` and `load`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import click

from ..errors import NotFoundError, RootlessError
from . import image_common
from .archive_output import written
from .context import Context
from .options import Command
from .registry_options import one_platform_option, parse_platform


@click.command(cls=Command, at_least=1, short_help="Save one or more images to a tar archive")
@click.option("-o", "--output", default="", metavar="FILE", help="Write to a file, instead of STDOUT")
@click.option(
    "--format",
    "form",
    type=click.Choice(["docker-archive", "oci-archive"]),
    default="docker-archive",
    show_default=True,
    help="What to write",
)
@one_platform_option
@click.argument("images", nargs=-1, metavar="IMAGE [IMAGE...]")
@click.pass_context
def save(ctx: click.Context, images: tuple[str, ...], output: str, form: str, platform: str) -> None:
    """Save one or more IMAGEs to a tar archive (streamed to STDOUT by default)."""
    from ..image import save as saving

    context: Context = ctx.obj
    wanted: saving.Form = "oci-archive" if form == "oci-archive" else "docker-archive"
    made_for = parse_platform(platform)
    with written(output, "save") as sink:
        saving.save(context.images, images, sink, wanted, made_for)


@click.command(cls=Command, at_most=0, short_help="Load images from a tar archive or STDIN")
@click.option("-i", "--input", "source", default="", metavar="FILE", help="Read from a tar archive, instead of STDIN")
@click.option("-q", "--quiet", is_flag=True, help="Suppress the progress of the load (there is none to see)")
@click.option("--platform", default="", metavar="OS/ARCH", help="Load what is for this platform")
@click.pass_context
def load(ctx: click.Context, /, source: str, platform: str, **_: bool) -> None:
    """Load the images of an archive that `save`, `docker save`, podman or skopeo wrote; it may be compressed."""
    from ..image import load as loading

    context: Context = ctx.obj
    made_for = parse_platform(platform)
    with _read(source) as stream:
        loaded = loading.load(context.images, image_common.layers(context), stream, made_for)
    for image, names in loaded:
        for name in names:
            click.echo(f"Loaded image: {name}")
        if not names:
            click.echo(f"Loaded image ID: {image.id}")


@contextmanager
def _read(source: str) -> Iterator[BinaryIO]:
    if not source:
        if sys.stdin.isatty():
            raise RootlessError("requested load from stdin, but stdin is empty", hint="give a file with --input")
        yield sys.stdin.buffer
        return
    try:
        stream = open(source, "rb")
    except OSError as problem:
        raise NotFoundError(f"open {source}: {(problem.strerror or str(problem)).lower()}") from problem
    with stream:
        yield stream
