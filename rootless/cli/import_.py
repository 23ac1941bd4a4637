"""`rootless import`, also `rootless image import`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import click

from ..errors import InvalidError, NotFoundError, RootlessError
from ..image import reference, spec
from . import image_common
from .context import Context
from .options import Command

if TYPE_CHECKING:
    from ..paths import Paths


@click.command(cls=Command, at_least=1, at_most=2, short_help="Import the contents from a tarball to create an image")
@click.option("-c", "--change", "changes", multiple=True, help="Apply Dockerfile instruction to the created image")
@click.option("-m", "--message", default="", help="Set commit message for imported image")
@click.option("--platform", default="", metavar="OS/ARCH", help="Set platform of the image")
@click.argument("arguments", nargs=-1, metavar="FILE|URL|- [REPOSITORY[:TAG]]")
@click.pass_context
def import_(
    ctx: click.Context, arguments: tuple[str, ...], changes: tuple[str, ...], message: str, platform: str
) -> None:
    """Make an image of a root filesystem's archive: tar, plain or compressed with gzip, zstd, xz or bzip2."""
    from ..image import archive

    context: Context = ctx.obj
    source, name = (*arguments, "")[:2]
    wanted = _name(name) if name else None
    made_for = spec.parse_platform(platform) if platform else None
    store = context.images
    with opened(source, context.paths) as stream:
        image = archive.import_tarball(
            store,
            image_common.layers(context),
            stream,
            wanted,
            changes=changes,
            message=message or f"Imported from {_shown(source)}",
            platform=made_for,
        )
    context.images.emit("import", image.id)
    click.echo(image.id)


def _name(text: str) -> reference.Reference:
    name = reference.parse(text).tagged()
    if name.digest:
        raise InvalidError("cannot import digest reference", hint="give the image a name and a tag")
    return name


def _is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def _shown(source: str) -> str:
    """Where an image came from, for its history: Docker's client sends a file as a stream, so `-` stands for both."""
    if not _is_url(source):
        return "-"
    from ..registry import url

    return str(url.parse(source))


@contextmanager
def opened(source: str, paths: Paths) -> Iterator[BinaryIO]:
    """An archive: a file, standard input (`-`), or what a URL leads to."""
    if source == "-":
        if sys.stdin.isatty():
            raise RootlessError("an archive can't be typed", hint="give a file, or a pipe on standard input")
        yield sys.stdin.buffer
        return
    if _is_url(source):
        from ..registry import fetch

        with fetch.downloaded(source, paths.tmp) as stream:
            yield stream
        return
    try:
        stream = open(source, "rb")
    except OSError as problem:
        raise NotFoundError(f"open {source}: {(problem.strerror or str(problem)).lower()}") from problem
    with stream:
        yield stream
