"""`rootless apply`, also `rootless container apply`."""

from __future__ import annotations

import os
import posixpath
import sys

import click

from .context import Context
from .diff import shown
from .options import Command


@click.command(cls=Command, at_least=1, at_most=1, short_help="Make a container's changes of the machine's files real")
@click.option("--only", multiple=True, metavar="PATH", help="Only what is changed at or below this path")
@click.option("--dry-run", is_flag=True, help="Tell what would be done, and do nothing")
@click.argument("container", required=False)
@click.pass_context
def apply(ctx: click.Context, container: str, only: tuple[str, ...], dry_run: bool) -> int:
    """Make real what a CONTAINER has changed of your files: one of the image host, or one with mounts `:O`.

    Prints each change that was made, as `diff` does; on standard error what was left as it is, and why: it was changed
    on the machine meanwhile, or it is not yours (of a directory only the first line). The code is then 1, and the
    change stays in the container.
    """
    from ..container import review

    context: Context = ctx.obj
    found = context.containers.resolve(container)
    paths = [posixpath.normpath(posixpath.join(os.getcwd(), path)) for path in only]
    code = 0
    for outcome in review.apply(found, context.engine.idmap, paths, dry_run=dry_run):
        line = f"{outcome.kind} ".encode() + shown(outcome.path)
        if outcome.done:
            sys.stdout.buffer.write(line + b"\n")
        if outcome.remark:
            sys.stdout.buffer.flush()
            what = os.fsdecode(line if not outcome.done else shown(outcome.path))
            click.echo(f"rootless: {what}: {_sentence(outcome.done, outcome.remark)}", err=True)
        code |= not outcome.done
    sys.stdout.buffer.flush()
    return code


def _sentence(done: bool, remark: str) -> str:
    return remark if done else f"left as it is: {remark}"
