"""`rootless start`."""

from __future__ import annotations

import click

from ..errors import RootlessError
from . import streams
from .context import Context
from .each import for_each
from .options import Command


@click.command(cls=Command, at_least=1, short_help="Start one or more stopped containers")
@click.option("-a", "--attach", "attached", is_flag=True, help="Attach STDOUT/STDERR and forward signals")
@click.option("-i", "--interactive", is_flag=True, help="Attach container's STDIN")
@click.option("--sig-proxy/--no-sig-proxy", default=True, help="Proxy received signals to the process")
@streams.detach_keys_option
@click.argument("containers", nargs=-1)
@click.pass_context
def start(
    ctx: click.Context,
    /,
    containers: tuple[str, ...],
    attached: bool,
    interactive: bool,
    sig_proxy: bool,
    detach_keys: str,
) -> int:
    """Start one or more stopped CONTAINERS, as they were created."""
    context: Context = ctx.obj
    streams.parse_keys(detach_keys)
    if attached or interactive:
        if len(containers) > 1:
            raise RootlessError("you cannot start and attach multiple containers at once")
        return _start_attached(context, containers[0], interactive, detach_keys, sig_proxy)
    return for_each(containers, lambda text: _start(context, text))


def _start(context: Context, text: str) -> None:
    from ..container import starting

    container = context.containers.resolve(text)
    window = streams.window()
    started = starting.start(container, attached=False, stdin=False, window=window, debug=context.debug)
    streams.warn(started.warnings if started is not None else ())


def _start_attached(context: Context, text: str, interactive: bool, keys: str, proxy: bool) -> int:
    from ..container import operate, starting
    from ..runtime.attach import Detached, redraw
    from ..runtime.forwarding import Signals

    container = context.containers.resolve(text)
    spec = container.spec
    stdin = interactive and spec.stdin_open
    streams.require_terminal(tty=spec.tty, interactive=stdin)
    with Signals(proxy=proxy and not spec.tty) as signals:
        started = starting.start(
            container, attached=True, stdin=stdin, window=streams.window(), signals=signals, debug=context.debug
        )
        if started is None:
            connection = operate.attach(container, stdin=stdin)
            if spec.tty:
                redraw(connection)
        else:
            streams.warn(started.warnings)
            connection = started.connection
        try:
            return streams.attach(connection, signals, stdin=stdin, terminal=spec.tty, keys=keys)
        except Detached:
            return 0
