"""`rootless network connect` and `disconnect`."""

from __future__ import annotations

import sys

import click

from ..container.network import Wish
from ..errors import ConflictError, NotFoundError
from ..network.record import Network
from ..network.store import PREDEFINED, Networks
from .context import Context
from .network_wishes import address, check_alias, hardware_address
from .options import Command


@click.command(cls=Command, at_least=2, at_most=2, short_help="Connect a container to a network")
@click.option("--alias", "aliases", multiple=True, metavar="LIST", help="Add network-scoped alias for the container")
@click.option("--ip", default="", metavar="IP", help='IPv4 address (e.g., "172.30.100.104")')
@click.option("--ip6", default="", metavar="IP", help='IPv6 address (e.g., "2001:db8::33")')
@click.option("--mac-address", "mac", default="", metavar="STRING", help="Container MAC address there")
@click.argument("network", required=False)
@click.argument("container", required=False)
@click.pass_context
def network_connect(
    ctx: click.Context, /, network: str, container: str, aliases: tuple[str, ...], ip: str, ip6: str, mac: str
) -> None:
    """Put CONTAINER on NETWORK, whether it runs or not."""
    from ..container import connect

    context: Context = ctx.obj
    names = tuple(check_alias(name, "--alias") for name in aliases)
    asked = {
        "ip": address(ip, "--ip", 4),
        "ip6": address(ip6, "--ip6", 6),
        "mac": hardware_address(mac, "--mac-address"),
    }
    found = _network(context, network)
    wish = Wish(name=found.name, aliases=names, **asked)
    _warn(connect.connect(context.engine, found, context.containers.resolve(container), wish))


@click.command(cls=Command, at_least=2, at_most=2, short_help="Disconnect a container from a network")
@click.option("-f", "--force", is_flag=True, help="Force the container to disconnect from a network")
@click.argument("network", required=False)
@click.argument("container", required=False)
@click.pass_context
def network_disconnect(ctx: click.Context, /, network: str, container: str, force: bool) -> None:
    """Take CONTAINER off NETWORK, whether it runs or not."""
    from ..container import connect

    context: Context = ctx.obj
    target = context.containers.resolve(container)
    try:
        found = _network(context, network)
    except NotFoundError:
        if connect.forget(context.engine, network, target):
            return
        raise
    _warn(connect.disconnect(context.engine, found, target, force=force))


def _network(context: Context, text: str) -> Network:
    if text in PREDEFINED:
        raise ConflictError(
            f"containers can't be connected to or disconnected from {text}: it is what a container is started with",
            hint=f"take --network {text} of `run` and `create`",
        )
    return Networks(context.paths).resolve(text)


def _warn(text: str) -> None:
    if text:
        print(f"rootless: warning: {text}", file=sys.stderr)
