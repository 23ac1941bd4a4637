"""`rootless attach`."""

from __future__ import annotations

from ..errors import RootlessError
from . import flags, streams
from .context import Context


@flags.command(
    "CONTAINER",
    at_least=1,
    at_most=1,
)
@flags.option("--no-stdin", boolean=True, help="Do not attach STDIN")
@streams.proxy_option
@streams.detach_keys_option
@flags.argument("container")
def attach(context: Context, /, container: str, no_stdin: bool, sig_proxy: bool, detach_keys: str) -> int:
    """Attach this terminal to a running CONTAINER: its output from now on, and input, if it was created with -i."""
    from ..container import operate
    from ..runtime.attach import Detached, redraw
    from ..runtime.forwarding import Signals

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
