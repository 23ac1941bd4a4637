"""From the options of `network create` to a network: what Docker checks, in Docker's words."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

from ..container.record import now
from ..errors import ConflictError, InvalidError
from ..kernel.netlink import IPAddress, IPNetwork, Netlink
from . import addresses, ipam, resolv
from .record import FALSE, ICC_OPTION, MTU_OPTIONS, Network, Subnet
from .store import Networks, check_name

TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
MIN_MTU, MAX_MTU = 68, 65535
"""Of IPv4 (RFC 791) and of a bridge; IPv6 wants 1280 (RFC 8200, 5)."""


@dataclass(frozen=True)
class Definition:
    """What the caller asked for; empty where nothing was said. Each text as it was given.

    Attributes:
        aux_addresses: `name` to address.
    """

    name: str
    driver: str = "bridge"
    subnets: Sequence[str] = ()
    ip_ranges: Sequence[str] = ()
    gateways: Sequence[str] = ()
    aux_addresses: Mapping[str, str] = field(default_factory=dict)
    internal: bool = False
    ipv6: bool = False
    attachable: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)


def create(networks: Networks, wanted: Definition) -> Network:
    """Make a network, or leave all as it was.

    Raises:
        InvalidError: an option that makes no sense.
        ConflictError: the name or the addresses are taken.
        UnavailableError: no subnet is left.
    """
    check_name(wanted.name)
    if wanted.driver != "bridge":
        raise InvalidError(
            f'could not find a network driver "{wanted.driver}"', hint="there is one for networks of your own: bridge"
        )
    asked = _consolidate(wanted)
    with networks.lock():
        if wanted.name in networks.names():
            raise ConflictError(f"network with name {wanted.name} already exists")
        network = Network(
            id=os.urandom(32).hex(),
            name=wanted.name,
            created=now(),
            subnets=_subnets(asked, wanted.ipv6, networks.all()),
            internal=wanted.internal,
            ipv6=wanted.ipv6,
            attachable=wanted.attachable,
            labels=dict(wanted.labels),
            options=_options(wanted.options, ipv6=wanted.ipv6),
        )
        networks.add(network)
    return network


def _options(given: Mapping[str, str], *, ipv6: bool) -> dict[str, str]:
    """Those of the driver, each checked. One that is not known would promise what nobody keeps."""
    for name, value in given.items():
        if name in MTU_OPTIONS:
            low = 1280 if ipv6 else MIN_MTU
            if not (value.isascii() and value.isdigit() and low <= int(value[:9]) <= MAX_MTU):
                raise InvalidError(f"invalid value for {name}: {value!r}", hint=f"the MTU is {low} to {MAX_MTU} bytes")
        elif name == ICC_OPTION:
            if value not in TRUE | FALSE:
                raise InvalidError(f"invalid value for {name}: {value!r}", hint="it is true or false")
        else:
            known = ", ".join((*MTU_OPTIONS, ICC_OPTION))
            raise InvalidError(f"the driver bridge has no option {name!r}", hint=f"there are: {known}")
    return dict(given)


# --- subnets ---------------------------------------------------------------------------------------------------------


def _consolidate(wanted: Definition) -> list[Subnet]:
    """The subnets that were named, each with its range and auxiliary addresses, and its gateway if that was named."""
    if len(wanted.subnets) < max(len(wanted.ip_ranges), len(wanted.gateways)):
        raise InvalidError("every ip-range or gateway must have a corresponding subnet")
    found: dict[IPNetwork, Subnet] = {}
    for text in wanted.subnets:
        subnet = ipam.parse_network(text, "subnet")
        ipam.check_subnet(subnet)
        if ipam.overlapping(subnet, found):
            raise InvalidError("multiple overlapping subnet configuration is not supported")
        found[subnet] = Subnet(subnet=str(subnet), gateway="", chosen=True)
    for text in wanted.ip_ranges:
        _add_range(found, text)
    for text in wanted.gateways:
        _add_gateway(found, text)
    for name, text in wanted.aux_addresses.items():
        _add_aux(found, name, text)
    return list(found.values())


def _add_range(found: dict[IPNetwork, Subnet], text: str) -> None:
    within = ipam.parse_network(text, "ip-range")
    subnet = ipam.overlapping(within, found)
    if subnet is None or within.prefixlen < subnet.prefixlen:
        raise InvalidError(f"no matching subnet for range {text}")
    if earlier := found[subnet].ip_range:
        raise InvalidError(f"cannot configure multiple ranges ({text}, {earlier}) on the same subnet ({subnet})")
    found[subnet] = msgspec.structs.replace(found[subnet], ip_range=str(within))


def _add_gateway(found: dict[IPNetwork, Subnet], text: str) -> None:
    gateway = ipam.parse_address(text, "gateway")
    subnet = _subnet_of(gateway, found)
    if subnet is None:
        raise InvalidError(f"no matching subnet for gateway {text}")
    if not ipam.is_host(gateway, subnet):
        raise InvalidError(f"invalid gateway {text}: a host of {subnet} can't have this address")
    if earlier := found[subnet].gateway:
        raise InvalidError(f"cannot configure multiple gateways ({text}, {earlier}) for the same subnet ({subnet})")
    found[subnet] = msgspec.structs.replace(found[subnet], gateway=str(gateway))


def _add_aux(found: dict[IPNetwork, Subnet], name: str, text: str) -> None:
    address = ipam.parse_address(text, "aux-address")
    subnet = _subnet_of(address, found)
    if subnet is None:
        raise InvalidError(f"no matching subnet for aux-address {text}")
    if str(address) == found[subnet].gateway:
        raise InvalidError(f"aux-address {name}={text} is the gateway of {subnet}")
    found[subnet] = msgspec.structs.replace(found[subnet], aux=found[subnet].aux | {name: str(address)})


def _subnet_of(address: IPAddress, subnets: Iterable[IPNetwork]) -> IPNetwork | None:
    return next((subnet for subnet in subnets if address in subnet), None)


def _subnets(asked: list[Subnet], ipv6: bool, others: Iterable[Network]) -> tuple[Subnet, ...]:
    """The subnets of a new network: those that were asked for, the missing ones chosen, each with a gateway.

    Raises:
        InvalidError: one overlaps with another network's, or with where this machine's own routes lead.
    """
    versions = [subnet.network.version for subnet in asked]
    if 6 in versions and not ipv6:
        raise InvalidError("an IPv6 subnet needs --ipv6")
    named = [subnet.network for other in others for subnet in other.subnets]
    local = machine_networks()
    for subnet in asked:
        _refuse_overlap(subnet.network, named, local)
    taken = [*named, *local, *(subnet.network for subnet in asked)]
    chosen = [] if 4 in versions else [ipam.choose_subnet(taken)]
    chosen += [ipam.choose_subnet6()] if ipv6 and 6 not in versions else []
    every = [*asked, *(Subnet(subnet=str(subnet), gateway="") for subnet in chosen)]
    return tuple(_with_gateway(subnet) for subnet in sorted(every, key=lambda subnet: subnet.network.version))


def _refuse_overlap(subnet: IPNetwork, named: Iterable[IPNetwork], local: Iterable[IPNetwork]) -> None:
    if ipam.overlapping(subnet, named):
        raise ConflictError(
            "invalid pool request: Pool overlaps with other one on this address space",
            hint="`rootless network ls` and `inspect` show the other networks",
        )
    if route := ipam.overlapping(subnet, local):
        raise ConflictError(
            f"invalid pool request: {subnet} overlaps with {route}, which this machine itself is or sends to",
            hint="containers could not reach that any more; `ip route` shows the machine's routes",
        )


def _with_gateway(subnet: Subnet) -> Subnet:
    if subnet.gateway:
        return subnet
    aux = frozenset(ipaddress.ip_address(text) for text in subnet.aux.values())
    return msgspec.structs.replace(subnet, gateway=str(ipam.first_address(subnet.network, aux)))


def machine_networks() -> list[IPNetwork]:
    """Where this machine itself is and sends to, but for its default route: a container network there would hide it.
    Its name servers may lie behind that; what a container has for its way out (pasta) is taken, too."""
    with Netlink() as netlink:
        here: list[IPNetwork] = [ipaddress.ip_network(address.ip) for _, address in netlink.addresses()]
        return [*netlink.routes(), *here, *_resolvers(), *OWN]


OWN = tuple(
    ipaddress.ip_network(f"{address}/{prefix}", strict=False)
    for address, prefix in ((addresses.IP, addresses.PREFIX), (addresses.IP6, 64), (addresses.NAMES, 15))
)
"""The addresses that pasta gives a container, and those that names have under --egress."""


def _resolvers() -> Iterator[IPNetwork]:
    for text in resolv.host().nameservers:
        with suppress(ValueError):
            yield ipaddress.ip_network(text.partition("%")[0])
