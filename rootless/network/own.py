"""Where a name must not lead because a name server says so: the machine itself, its link, its cloud's metadata."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

METADATA = frozenset(
    map(
        ip_address,
        (
            "fd00:ec2::254",  # Amazon's, as 169.254.169.254, which is the link's own
            "fd20:ce::254",  # Google's
            "fd00:42::42",  # Scaleway's
            "100.100.100.200",  # Alibaba's
            "192.0.0.192",  # Oracle's
            "168.63.129.16",  # Azure's
        ),
    )
)
"""Where clouds tell a machine its secrets, beside the link-local addresses."""

NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052, 2.1
LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")  # RFC 8215
COMPATIBLE = IPv6Network("::/96")  # RFC 4291, 2.5.5.1

Address = IPv4Address | IPv6Address


def is_own(text: str) -> bool:
    """Whether an address means the machine, its own link, or its cloud's metadata; also by way of a translator."""
    address = ip_address(text.partition("%")[0])
    return any(_means_us(form) for form in (address, *_embedded(address)))


def _means_us(address: Address) -> bool:
    special = address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified
    return special or address in METADATA or _is_of_an_interface(address)


def _embedded(address: Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses that stand in one of IPv6: where a translator or a tunnel would send what goes there."""
    if isinstance(address, IPv4Address) or address.is_unspecified or address.is_loopback:
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:  # RFC 3056
        yield address.sixtofour
    if address.teredo is not None:  # RFC 4380
        yield from address.teredo
    number = int(address)
    if address in NAT64 or address in COMPATIBLE or (address in LOCAL_NAT64 and number & 0xFFFFFFFF):
        yield IPv4Address(number & 0xFFFFFFFF)
    if address in LOCAL_NAT64:  # RFC 6052, 2.2: behind a prefix of 48 bits they stand around a byte of zeros
        yield IPv4Address((number >> 64 & 0xFFFF) << 16 | number >> 40 & 0xFFFF)


def _is_of_an_interface(address: Address) -> bool:
    """Whether it is one of the machine's: what goes there comes from there. A datagram socket that is connected sends
    nothing, it only chooses its own address."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
            probe.connect((str(address), 9))
            return bool(ip_address(probe.getsockname()[0].partition("%")[0]) == address)
    except OSError:
        return False  # nothing leads there
