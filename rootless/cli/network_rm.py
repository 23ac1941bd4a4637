"""`rootless network rm`."""

from __future__ import annotations

import sys

import click

from ..errors import NotFoundError, RootlessError
from ..network.store import Networks, refuse_predefined
from .context import Context
from .options import Command


@click.command(cls=Command, at_least=1, short_help="Remove one or more networks")
@click.option("-f", "--force", is_flag=True, help="Do not error if the network does not exist")
@click.argument("names", nargs=-1, metavar="NETWORK [NETWORK...]")
@click.pass_context
def network_rm(ctx: click.Context, /, names: tuple[str, ...], force: bool) -> int:
    """Remove one or more networks, by NAMES or ids. One that a running container is on stays."""
    context: Context = ctx.obj
    context.containers.sweep()  # a container that lost its monitor is on no network any more
    code = 0
    for name in names:
        try:
            _remove(context, name)
        except RootlessError as problem:
            if force and isinstance(problem, NotFoundError):
                continue
            print(f"rootless: {problem}", file=sys.stderr)
            code = 1
        else:
            print(name)
    return code


def _remove(context: Context, name: str) -> None:
    from ..network.remove import remove

    refuse_predefined(name)
    remove(Networks(context.paths), name)
