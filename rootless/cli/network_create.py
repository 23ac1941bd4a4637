"""`rootless network create`."""

from __future__ import annotations

from collections.abc import Iterable

import click

from .context import Context
from .env_options import labels
from .options import Command, invalid


@click.command(cls=Command, at_least=1, at_most=1, short_help="Create a network")
@click.option("--attachable", is_flag=True, help="Enable manual container attachment (of swarm; only shown)")
@click.option("--aux-address", multiple=True, metavar="MAP", help="Auxiliary IPv4 or IPv6 addresses used by others")
@click.option("-d", "--driver", default="bridge", metavar="STRING", help='Driver to manage the Network (only "bridge")')
@click.option("--gateway", multiple=True, metavar="IP", help="IPv4 or IPv6 Gateway for the master subnet")
@click.option("--internal", is_flag=True, help="Restrict external access to the network")
@click.option("--ip-range", multiple=True, metavar="CIDR", help="Allocate container ip from a sub-range")
@click.option(
    "--ipam-driver", default="default", metavar="STRING", help='IP Address Management driver (only "default")'
)
@click.option("--ipv6", is_flag=True, help="Enable IPv6 addresses on the network")
@click.option("--label", multiple=True, metavar="LIST", help="Set metadata on a network")
@click.option("-o", "--opt", multiple=True, metavar="MAP", help="Set driver specific options")
@click.option("--subnet", multiple=True, metavar="CIDR", help="Subnet in CIDR format that represents a network segment")
@click.argument("name", required=False, metavar="NETWORK")
@click.pass_context
def network_create(
    ctx: click.Context,
    /,
    name: str,
    aux_address: tuple[str, ...],
    label: tuple[str, ...],
    opt: tuple[str, ...],
    ipam_driver: str,
    subnet: tuple[str, ...],
    ip_range: tuple[str, ...],
    gateway: tuple[str, ...],
    **given: object,
) -> None:
    """Create a network called NAME, and print its id."""
    from ..image import layout
    from ..network.definition import Definition, create
    from ..network.store import Networks

    if ipam_driver != "default":
        raise invalid(ipam_driver, "--ipam-driver", "there is only one: default")
    context: Context = ctx.obj
    layout.prepare(context.paths)  # it may be the first that a store is made for
    wanted = Definition(
        name,
        aux_addresses=_map(aux_address, "--aux-address"),
        labels=dict(labels(label, ())),
        options=_map(opt, "--opt"),
        subnets=_list(subnet),
        ip_ranges=_list(ip_range),
        gateways=_list(gateway),
        **given,  # type: ignore[arg-type]
    )
    print(create(Networks(context.paths), wanted).id)


def _list(texts: Iterable[str]) -> list[str]:
    """Docker takes several values in one option, with commas between them."""
    return [word for text in texts for word in text.split(",")]


def _map(texts: Iterable[str], flag: str) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise invalid(text, flag, "it must be name=value")
        found[name] = value
    return found
