"""`rootless attach`."""

from __future__ import annotations

import click

from ..errors import RootlessError
from . import streams
from .context import Context
from .options import Command


@click.command(
    cls=Command,
    at_least=1,
    at_most=1,
    short_help="Attach local standard input, output, and error streams to a running container",
)
@click.option("--no-stdin", is_flag=True, help="Do not attach STDIN")
@click.option("--sig-proxy/--no-sig-proxy", default=True, help="Proxy received signals to the process")
@streams.detach_keys_option
@click.argument("container", required=False)
@click.pass_context
def attach(ctx: click.Context, /, container: str, no_stdin: bool, sig_proxy: bool, detach_keys: str) -> int:
    """Attach this terminal to a running CONTAINER: its output from now on, and input, if it was created with -i."""
    from ..container import operate
    from ..runtime.attach import Detached, redraw
    from ..runtime.forwarding import Signals

    context: Context = ctx.obj
    found = context.containers.resolve(container)
    stdin = found.spec.stdin_open and not no_stdin
    streams.parse_keys(detach_keys)
    streams.require_terminal(tty=found.spec.tty, interactive=stdin)
    connection = operate.attach(found, stdin=stdin)
    if found.spec.tty:
        redraw(connection)
    try:
        with Signals(proxy=sig_proxy and not found.spec.tty) as signals:
            return streams.attach(connection, signals, stdin=stdin, terminal=found.spec.tty, keys=detach_keys)
    except Detached:
        raise RootlessError("read escape sequence") from None
