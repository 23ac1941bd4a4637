"""The addresses of a container: those it is given by pasta and slirp4netns, and those that its kernel says it has."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ..container.network import Endpoint, Net

IP, GATEWAY, PREFIX = "10.0.2.100", "10.0.2.2", 24
IP6, GATEWAY6 = "fd00:a02:64::100", "fd00:a02:64::2"
"""What slirp4netns uses by itself, so that both give a container the same one; the longer are of pasta alone."""

NAMES = "198.18.0.0"
"""Where the addresses begin that names have under --egress (egress_names.py): a /15 for tests of devices (RFC 2544)."""

RESOLVER = "198.18.0.1"
"""Where names are asked for there, and where the HTTP proxy is."""


class Own(msgspec.Struct, frozen=True):
    """The addresses of a container behind a process in user space; they mean something to it alone."""

    ip: str
    gateway: str
    ip6: str
    gateway6: str
    mac: str
    prefix: int = PREFIX


def own(net: Net) -> Own:
    """Those a container gets. With --ip it is the whole /24 around that address, with --ip6 the /64."""
    ip, ip6 = net.ip or IP, net.ip6 or IP6
    return Own(ip, _beside(ip, 24, GATEWAY), ip6, _beside(ip6, 64, GATEWAY6), net.mac or mac_of(ip))


def _beside(address: str, prefix: int, usual: str) -> str:
    """The second address of its network, or the first where the second is taken."""
    import ipaddress

    network = ipaddress.ip_interface(f"{address}/{prefix}").network
    if ipaddress.ip_address(usual) in network and address != usual:
        return usual
    return str(network[1] if str(network[2]) == address else network[2])


def mac_of(ip: str) -> str:
    """The hardware address that goes with an IPv4 address, by Docker's old rule: 02:42 and its four bytes."""
    return ":".join(f"{byte:02x}" for byte in b"\x02\x42" + socket.inet_aton(ip))


def is_loopback(address: str) -> bool:
    """Whether an address means the machine itself, of whoever uses it."""
    return address.startswith("127.") or address == "::1"


def read(pid: int, network: str, mac: str) -> Endpoint | None:
    """The first interface but lo in the network namespace of a process, as its kernel lists it under /proc/PID/net.

    Args:
        network, mac: what is not found there.

    Returns:
        None when there is none with an address.
    """
    routes = list(_routes(pid))
    name = next((device for device, *_ in routes), "")
    ip6, prefix6 = next(((a, p) for device, a, p in _addresses6(pid) if not name or device == name), ("", 0))
    if not name and not ip6:
        return None
    ip, prefix = next(_local(pid, routes), ("", 0))
    return Endpoint(
        network=network,
        interface=name or "eth0",
        ip=ip,
        prefix=prefix,
        gateway=next((gateway for _, destination, _, gateway in routes if destination == "0.0.0.0"), ""),
        ip6=ip6,
        prefix6=prefix6,
        gateway6=next(_gateways6(pid), ""),
        mac=mac,
    )


def _fields(pid: int, name: str) -> Iterator[list[str]]:
    try:
        lines = Path(f"/proc/{pid}/net/{name}").read_text().splitlines()
    except OSError:
        return
    yield from (line.split() for line in lines)


def _routes(pid: int) -> Iterator[tuple[str, str, int, str]]:
    """(device, destination, prefix, gateway) of each IPv4 route; the file has numbers in this machine's byte order."""
    for device, destination, gateway, _, _, _, _, mask, *_ in list(_fields(pid, "route"))[1:]:
        yield device, _ipv4(destination), int(mask, 16).bit_count(), _ipv4(gateway)


def _ipv4(number: str) -> str:
    return socket.inet_ntoa(struct.pack("=I", int(number, 16)))


def _local(pid: int, routes: list[tuple[str, str, int, str]]) -> Iterator[tuple[str, int]]:
    """The namespace's own addresses but loopback's (fib_trie tells them as `/32 host LOCAL` below the address)."""
    address = ""
    for words in _fields(pid, "fib_trie"):
        if words[:1] == ["|--"]:
            address = words[1]
        elif words == ["/32", "host", "LOCAL"] and not is_loopback(address):
            yield address, max((prefix for _, net, prefix, _ in routes if _same(address, net, prefix)), default=32)


def _same(address: str, network: str, prefix: int) -> bool:
    one, other = (int.from_bytes(socket.inet_aton(text)) for text in (address, network))
    return one >> (32 - prefix) == other >> (32 - prefix) if prefix else False


def _addresses6(pid: int) -> Iterator[tuple[str, str, int]]:
    """(device, address, prefix) of each global IPv6 address (scope 00 in if_inet6)."""
    for address, _, prefix, scope, _, device in _fields(pid, "if_inet6"):
        if scope == "00" and device != "lo":
            yield device, _ipv6(address), int(prefix, 16)


def _gateways6(pid: int) -> Iterator[str]:
    for destination, prefix, _, _, gateway, *_ in _fields(pid, "ipv6_route"):
        if (destination, prefix) == ("0" * 32, "00") and gateway != "0" * 32:
            yield _ipv6(gateway)


def _ipv6(digits: str) -> str:
    return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))
