"""Which addresses a network has, and which of them the next container gets. Pure arithmetic: nothing is on disk."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Collection, Iterable, Iterator, Mapping

from ..errors import ConflictError, InvalidError, UnavailableError
from ..kernel.netlink import IPAddress, IPNetwork

POOLS = (
    ("172.17.0.0/16", 16),
    ("172.18.0.0/16", 16),
    ("172.19.0.0/16", 16),
    ("172.20.0.0/14", 16),
    ("172.24.0.0/14", 16),
    ("172.28.0.0/14", 16),
    ("192.168.0.0/16", 20),
)
"""(range, prefix length of the subnets cut out of it): what Docker gives networks that name no subnet."""

MIN_PREFIX = {4: 8, 6: 48}
"""The widest subnets that can be had, by the version of IP: nobody wants half of the Internet on a link."""

MAX_PREFIX = {4: 30, 6: 126}
"""The narrowest: the gateway and one container."""


def parse_network(text: str, what: str) -> IPNetwork:
    """A subnet or range in CIDR notation, with no bit of the host part set.

    Raises:
        InvalidError: it is none, in Docker's words.
    """
    address, slash, _ = text.partition("/")
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InvalidError(f"invalid {what}: invalid CIDR address: {text}", hint="write it as 10.20.0.0/24") from None
    if not slash:
        raise InvalidError(f"invalid {what}: invalid CIDR address: {text}", hint=f"write it as {address}/24")
    if str(found.network_address) != str(ipaddress.ip_address(address)):
        raise InvalidError(f"invalid {what} {text}: it should be {found}")
    return found


def parse_address(text: str, what: str) -> IPAddress:
    """One address. InvalidError when it is none, in Docker's words."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise InvalidError(f"invalid {what} address: {text}") from None
    if isinstance(found, ipaddress.IPv6Address) and found.scope_id is not None:
        raise InvalidError(f"invalid {what} address: {text}", hint="without a zone")
    return found


def check_subnet(subnet: IPNetwork) -> None:
    """Whether a subnet can be a container network's.

    Raises:
        InvalidError: too wide, too narrow, or of addresses that mean something else.
    """
    if not MIN_PREFIX[subnet.version] <= subnet.prefixlen <= MAX_PREFIX[subnet.version]:
        low, high = MIN_PREFIX[subnet.version], MAX_PREFIX[subnet.version]
        raise InvalidError(f"invalid subnet {subnet}: its prefix must have {low} to {high} bits")
    first = subnet.network_address
    if first.is_multicast or first.is_loopback or first.is_unspecified or first.is_link_local or int(first) >> 28 == 15:
        raise InvalidError(
            f"invalid subnet {subnet}: these addresses are reserved", hint="take a private one, such as 10.20.0.0/24"
        )


def overlapping(subnet: IPNetwork, others: Iterable[IPNetwork]) -> IPNetwork | None:
    """The first of `others` that shares an address with `subnet`."""
    return next((o for o in others if o.version == subnet.version and o.overlaps(subnet)), None)


def choose_subnet(taken: Collection[IPNetwork]) -> IPNetwork:
    """A subnet out of Docker's pools that overlaps with none of these.

    Raises:
        UnavailableError: there is none left.
    """
    for pool, prefix in POOLS:
        for subnet in ipaddress.ip_network(pool).subnets(new_prefix=prefix):
            if overlapping(subnet, taken) is None:
                return subnet
    raise UnavailableError(
        "all predefined address pools have been fully subnetted",
        hint="remove networks that are not used with `rootless network prune`, or name a --subnet",
    )


def choose_subnet6() -> IPNetwork:
    """A subnet of 64 bits out of a random unique local prefix (RFC 4193, 3.2)."""
    return ipaddress.IPv6Network((b"\xfd" + os.urandom(5) + bytes(10), 64))


def first_address(subnet: IPNetwork, reserved: Collection[IPAddress]) -> IPAddress:
    """The gateway of a network that names none: the lowest address that nobody claims.

    Raises:
        InvalidError: all are claimed.
    """
    for address in hosts(subnet, subnet):
        if address not in reserved:
            return address
    raise InvalidError(f"invalid subnet {subnet}: no address is left for the gateway")


def hosts(within: IPNetwork, subnet: IPNetwork) -> Iterator[IPAddress]:
    """The addresses of a range of a subnet that a host can have, in order."""
    for number in range(int(within.network_address), int(within.broadcast_address) + 1):
        address: IPAddress = type(subnet.network_address)(number)
        if is_host(address, subnet):
            yield address


def is_host(address: IPAddress, subnet: IPNetwork) -> bool:
    """Whether an address can be a host's in this subnet: neither its first nor, of IPv4, its last one."""
    if address.version != subnet.version or address not in subnet:
        return False
    return address != subnet.network_address and (address.version == 6 or address != subnet.broadcast_address)


def next_address(subnet: IPNetwork, within: IPNetwork | None, reserved: Mapping[IPAddress, object]) -> IPAddress:
    """The lowest address of a subnet, or of a range of it, that is not reserved.

    Raises:
        ConflictError: none is left.
    """
    for address in hosts(within or subnet, subnet):
        if address not in reserved:
            return address
    raise ConflictError(
        f"no available IPv{subnet.version} addresses on this network's address pools: {within or subnet}",
        hint="remove containers from the network, or make one with a wider subnet",
    )


def hardware_address(address: IPAddress) -> bytes:
    """The hardware address of whoever has this IPv4 address: Docker's 02:42 and the four bytes.

    So an address that another container gets takes its hardware address along: no neighbour remembers a wrong one.
    """
    return b"\x02\x42" + address.packed[-4:]
