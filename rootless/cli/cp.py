"""`rootless cp`, also `rootless container cp`."""

from __future__ import annotations

import sys

import click

from ..errors import RootlessError
from .context import Context
from .options import Command


@click.command(
    cls=Command, at_least=2, at_most=2, short_help="Copy files/folders between a container and the local filesystem"
)
@click.option("-a", "--archive", is_flag=True, help="Archive mode (copy all uid/gid information)")
@click.option("-L", "--follow-link", is_flag=True, help="Always follow symbol link in SRC_PATH")
@click.option("-q", "--quiet", is_flag=True, help="Suppress the line that tells what was copied")
@click.argument("arguments", nargs=-1, metavar="CONTAINER:SRC_PATH DEST_PATH|- | SRC_PATH|- CONTAINER:DEST_PATH")
@click.pass_context
def cp(ctx: click.Context, arguments: tuple[str, ...], archive: bool, follow_link: bool, quiet: bool) -> None:
    """Copy files or directories from a container to the host or the other way; the container may be stopped.

    `-` as source is a tar archive on standard input, as destination one on standard output.
    """
    from ..container import copy

    context: Context = ctx.obj
    given, wanted = arguments
    source, destination = _split(given), _split(wanted)
    _check(source, destination)
    copier = copy.Copier(context.containers.resolve(source[0] or destination[0]), context.engine.idmap)
    if not source[0]:
        if source[1] == "-":
            copier.write(sys.stdin.buffer, destination[1], keep=archive)
            return
        copier.into(source[1], destination[1], follow=follow_link, keep=archive)
    elif destination[1] == "-":
        with copier.read(source[1], follow=follow_link) as stream:
            while chunk := stream.read(1 << 18):
                sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        return
    else:
        copier.out(source[1], destination[1], follow=follow_link, keep=archive)
    if not quiet and sys.stdout.isatty():
        from .format import human_size

        print(f"Successfully copied {human_size(copier.size, 3)} to {wanted}", file=sys.stderr)


def _split(text: str) -> tuple[str, str]:
    """(container, path): a path on the host is absolute, begins with a dot, or has no colon."""
    container, colon, path = text.partition(":")
    return ("", text) if text.startswith("/") or not colon or container.startswith(".") else (container, path)


def _check(source: tuple[str, str], destination: tuple[str, str]) -> None:
    if not source[1]:
        raise RootlessError("source can not be empty")
    if not destination[1]:
        raise RootlessError("destination can not be empty")
    if source[0] and destination[0]:
        raise RootlessError("copying between containers is not supported", hint="copy to the host first")
    if not (source[0] or destination[0]):
        raise RootlessError("must specify at least one container source", hint="write CONTAINER:PATH")
