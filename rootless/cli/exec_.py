"""`rootless exec`."""

from __future__ import annotations

import click

from . import streams
from .context import Context
from .env_options import environment
from .options import Command


@click.command(
    "exec",
    cls=Command,
    at_least=2,
    interspersed=False,
    passes_code=True,
    short_help="Execute a command in a running container",
)
@click.option("-d", "--detach", is_flag=True, help="Detached mode: run command in the background")
@click.option("-e", "--env", multiple=True, metavar="LIST", help="Set environment variables")
@click.option("--env-file", multiple=True, metavar="FILE", help="Read in a file of environment variables")
@click.option("-i", "--interactive", is_flag=True, help="Keep STDIN open even if not attached")
@click.option("--privileged", is_flag=True, help="Give extended privileges to the command")
@click.option("-t", "--tty", is_flag=True, help="Allocate a pseudo-TTY")
@click.option("-u", "--user", default="", metavar="USER", help="Username or UID (format: <name|uid>[:<group|gid>])")
@click.option("-w", "--workdir", default="", metavar="DIR", help="Working directory inside the container")
@streams.detach_keys_option
@click.argument("container", required=False)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="COMMAND [ARG...]")
@click.pass_context
def exec_(
    ctx: click.Context,
    /,
    container: str,
    command: tuple[str, ...],
    detach: bool,
    env: tuple[str, ...],
    env_file: tuple[str, ...],
    interactive: bool,
    privileged: bool,
    tty: bool,
    user: str,
    workdir: str,
    detach_keys: str,
) -> int:
    """Execute COMMAND in a running CONTAINER, beside its own."""
    from ..container.exec import ExecOptions, execute
    from ..idmap import detect
    from ..runtime.attach import Detached
    from ..runtime.forwarding import Signals

    context: Context = ctx.obj
    streams.parse_keys(detach_keys)
    if not detach:
        streams.require_terminal(tty=tty, interactive=interactive)
    options = ExecOptions(
        command=command,
        env=tuple(environment(env, env_file)),
        workdir=workdir,
        user=user,
        tty=tty,
        interactive=interactive,
        privileged=privileged,
        detach=detach,
        window=streams.window(),
    )
    started = execute(context.containers.resolve(container), options, detect(), debug=context.debug)
    streams.warn(started.warnings)
    if detach:
        return 0
    try:
        with Signals(proxy=False) as signals:
            return streams.attach(started.connection, signals, stdin=interactive, terminal=tty, keys=detach_keys)
    except Detached:
        return 0
