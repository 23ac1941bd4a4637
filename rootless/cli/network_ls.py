"""`rootless network ls`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import click

from ..network.record import Network
from ..network.store import Networks
from .context import Context
from .format import Field, local_time, print_rows, short_id
from .image_common import parse_bool, parse_filters
from .network_common import FILTERS, every, matcher
from .options import Command

TABLE = "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}"


@dataclass(frozen=True)
class Row:
    """A network as a line shows it."""

    network: Network
    whole: bool

    @property
    def identifier(self) -> str:
        return self.network.id if self.whole else short_id(self.network.id)


FIELDS = {
    "ID": Field[Row]("NETWORK ID", lambda r: r.identifier),
    "Name": Field[Row]("NAME", lambda r: r.network.name),
    "Driver": Field[Row]("DRIVER", lambda r: r.network.driver),
    "Scope": Field[Row]("SCOPE", lambda _: "local"),
    "IPv4": Field[Row]("IPV4", lambda _: "true"),
    "IPv6": Field[Row]("IPV6", lambda r: str(r.network.ipv6).lower()),
    "Internal": Field[Row]("INTERNAL", lambda r: str(r.network.internal).lower()),
    "Labels": Field[Row]("LABELS", lambda r: ",".join(f"{k}={v}" for k, v in sorted(r.network.labels.items()))),
    "Label": Field[Row]("", lambda r: lambda name: r.network.labels.get(name, "")),
    "CreatedAt": Field[Row]("CREATED AT", lambda r: local_time(_moment(r.network.created))),
}
"""What `--format` may name, by Docker's names."""


@click.command(cls=Command, at_most=0, short_help="List networks")
@click.option("-f", "--filter", "filters", multiple=True, help='Provide filter values (e.g. "driver=bridge")')
@click.option("--format", "form", default="", metavar="STRING", help="Format output using a custom template")
@click.option("--no-trunc", is_flag=True, help="Do not truncate the output")
@click.option("-q", "--quiet", is_flag=True, help="Only display network IDs")
@click.pass_context
def network_ls(ctx: click.Context, /, filters: tuple[str, ...], form: str, no_trunc: bool, quiet: bool) -> None:
    """List networks."""
    context: Context = ctx.obj
    networks = Networks(context.paths)
    given = parse_filters(filters, (*FILTERS, "dangling"))
    fits = matcher(given)
    wanted = [parse_bool("dangling", value) for value in given.get("dangling", ())]
    rows = [
        Row(network, no_trunc)
        for network in every(networks)
        if fits(network) and all(dangling == _is_dangling(networks, network) for dangling in wanted)
    ]
    print_rows(rows, FIELDS, "{{.ID}}" if quiet and not form else form or "table", TABLE)


def _is_dangling(networks: Networks, network: Network) -> bool:
    """Whether nobody is on a network of the user's own."""
    return bool(network.subnets) and not networks.leases(network.name)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.rstrip("Z")[:26]).replace(tzinfo=UTC)
