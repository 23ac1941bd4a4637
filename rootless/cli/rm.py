"""`rootless rm`."""

from __future__ import annotations

import sys

import click

from ..errors import NotFoundError, RootlessError, StoreError
from .context import Context
from .options import Command


@click.command(cls=Command, at_least=1, short_help="Remove one or more containers")
@click.option("-f", "--force", is_flag=True, help="Force the removal of a running container (uses SIGKILL)")
@click.option("-v", "--volumes", is_flag=True, help="Remove anonymous volumes associated with the container")
@click.argument("containers", nargs=-1)
@click.pass_context
def rm(ctx: click.Context, containers: tuple[str, ...], force: bool, volumes: bool) -> int:
    """Remove one or more CONTAINERS."""
    context: Context = ctx.obj
    context.containers.sweep()
    code = 0
    for text in containers:
        try:
            _remove(context, text, force, volumes)
        except RootlessError as problem:
            # As in Docker, the others are removed all the same, and --force does not mind what is not there.
            print(f"rootless: {problem}", file=sys.stderr)
            if not (force and isinstance(problem, NotFoundError)):
                code = problem.exit_code
        else:
            print(text)
    return code


def _remove(context: Context, text: str, force: bool, volumes: bool) -> None:
    from ..container import operate

    try:
        container = context.containers.resolve(text)
    except StoreError:
        context.containers.remove_directory(context.containers.id_of(text), force=force)
        return
    operate.remove(context.containers, container, force=force, volumes=volumes)
