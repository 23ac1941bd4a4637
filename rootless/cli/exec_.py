"""`rootless exec`."""

from __future__ import annotations

from . import flags, streams
from .context import Context
from .env_options import environment


@flags.command(
    "CONTAINER COMMAND [ARG...]",
    at_least=2,
    interspersed=False,
    passes_code=True,
)
@flags.option("-d", "--detach", boolean=True, help="Detached mode: run command in the background")
@flags.option("-e", "--env", multiple=True, metavar="LIST", help="Set environment variables")
@flags.option("--env-file", multiple=True, metavar="FILE", help="Read in a file of environment variables")
@flags.option("-i", "--interactive", boolean=True, help="Keep STDIN open even if not attached")
@flags.option("--privileged", boolean=True, help="Give extended privileges to the command")
@flags.option("-t", "--tty", boolean=True, help="Allocate a pseudo-TTY")
@flags.option("-u", "--user", default="", metavar="USER", help="Username or UID (format: <name|uid>[:<group|gid>])")
@flags.option("-w", "--workdir", default="", metavar="DIR", help="Working directory inside the container")
@streams.detach_keys_option
@flags.argument("container")
@flags.argument("command", many=True)
def exec_(
    context: Context,
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
