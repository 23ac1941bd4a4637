"""`rootless save` and `rootless load`, also `rootless image save` and `load`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from ..errors import NotFoundError, RootlessError
from . import flags, image_common
from .archive_output import written
from .context import Context
from .registry_options import one_platform_option, parse_platform


@flags.command("IMAGE [IMAGE...]", at_least=1)
@flags.option("-o", "--output", default="", metavar="FILE", help="Write to a file, instead of STDOUT")
@flags.option(
    "--format",
    "form",
    choices=("docker-archive", "oci-archive"),
    default="docker-archive",
    help="What to write",
)
@one_platform_option
@flags.argument("images", many=True)
def save(context: Context, images: tuple[str, ...], output: str, form: str, platform: str) -> None:
    """Save one or more IMAGEs to a tar archive (streamed to STDOUT by default)."""
    from ..image import save as saving

    wanted: saving.Form = "oci-archive" if form == "oci-archive" else "docker-archive"
    made_for = parse_platform(platform)
    with written(output, "save") as sink:
        saving.save(context.images, images, sink, wanted, made_for)


@flags.command(at_most=0)
@flags.option("-i", "--input", "source", default="", metavar="FILE", help="Read from a tar archive, instead of STDIN")
@flags.option("-q", "--quiet", boolean=True, help="Print the images' IDs only")
@flags.option("--platform", default="", metavar="OS/ARCH", help="Load what is for this platform")
def load(context: Context, source: str, quiet: bool, platform: str) -> None:
    """Load the images of an archive that `save`, `docker save`, podman or skopeo wrote; it may be compressed."""
    from ..image import load as loading

    made_for = parse_platform(platform)
    with _read(source) as stream:
        loaded = loading.load(context.images, image_common.layers(context), stream, made_for)
    for image, names in loaded:
        if quiet:
            print(image.id)
            continue
        for name in names:
            print(f"Loaded image: {name}")
        if not names:
            print(f"Loaded image ID: {image.id}")


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
