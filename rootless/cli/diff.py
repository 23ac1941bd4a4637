"""`rootless diff`, also `rootless container diff`."""

from __future__ import annotations

import os
import sys

import click

from .context import Context
from .options import Command


@click.command(
    cls=Command, at_least=1, at_most=1, short_help="Inspect changes to files or directories on a container's filesystem"
)
@click.argument("container", required=False)
@click.pass_context
def diff(ctx: click.Context, container: str) -> None:
    """Show what a CONTAINER has changed: a letter for added (A), changed (C) and deleted (D), and the path.

    What lies over your own files is among it: of the image host, and of mounts `:O`. `rootless apply` makes it real.
    """
    from ..container import review

    context: Context = ctx.obj
    for change in review.changes(context.containers.resolve(container), context.engine.idmap):
        sys.stdout.buffer.write(f"{change.kind} ".encode() + shown(change.path) + b"\n")
    sys.stdout.buffer.flush()


def shown(path: bytes) -> bytes:
    """A path on one line of a terminal: a line feed or an escape character in a name is written as an escape."""
    text = os.fsdecode(path)
    return os.fsencode(
        "".join(c if c.isprintable() or c >= "\udc80" else c.encode("unicode_escape").decode() for c in text)
    )
