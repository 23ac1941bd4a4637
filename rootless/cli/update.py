"""`rootless update`, also `rootless container update`."""

from __future__ import annotations

from typing import Any

import click

from . import streams
from .container_options import restart_policy
from .context import Context
from .each import for_each
from .options import Command
from .resource_options import limit_options, require_some, take_resources


@click.command(cls=Command, at_least=1, short_help="Update configuration of one or more containers")
@limit_options
@click.option("--restart", metavar="STRING", help="Restart policy to apply when a container exits")
@click.argument("containers", nargs=-1)
@click.pass_context
def update(ctx: click.Context, /, containers: tuple[str, ...], restart: str | None, **given: Any) -> int:
    """Change what CONTAINERS may use, at once where they run, and what happens when they end."""
    from ..container import update as verbs

    context: Context = ctx.obj
    resources = take_resources(given)
    policy = restart_policy(restart) if restart is not None else None
    require_some({**resources, "restart": policy} if policy else resources)

    def work(name: str) -> None:
        container = context.containers.resolve(name)
        streams.warn(verbs.update(context.containers, container, resources, policy, context.engine.idmap))

    return for_each(containers, work)
