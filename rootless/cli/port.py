"""`rootless port`, also `rootless container port`."""

from __future__ import annotations

import click

from ..errors import InvalidError, NotFoundError
from .context import Context
from .options import Command


@click.command(cls=Command, at_least=1, at_most=2, short_help="List port mappings of a container")
@click.argument("words", nargs=-1, metavar="CONTAINER [PRIVATE_PORT[/PROTO]]")
@click.pass_context
def port(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Show which of the host's ports lead to a container, or to one port of it."""
    from ..network import ports

    context: Context = ctx.obj
    container = context.containers.resolve(words[0])
    connected = container.state().network
    bindings = ports.bindings(connected.ports if connected is not None else ())
    if len(words) == 1:
        for key in sorted(bindings, key=lambda text: (int(text.partition("/")[0]), text)):
            for address, host in bindings[key]:
                print(f"{key} -> {ports.joined(address, host)}")
        return
    number, _, protocol = words[1].partition("/")
    if not (number.isascii() and number.isdigit() and 0 < int(number[:6]) <= 65535):
        raise InvalidError(f"invalid port '{number}'")
    key = f"{int(number)}/{protocol.lower() or 'tcp'}"
    if key not in bindings:
        raise NotFoundError(f"no public port '{key}' published for {words[0]}")
    for address, host in bindings[key]:
        print(ports.joined(address, host))
