"""What the machine itself has of networks."""

from __future__ import annotations

import os
import socket
from pathlib import Path

OUTSIDE = {socket.AF_INET: "1.1.1.1", socket.AF_INET6: "2606:4700:4700::1111"}
"""Somewhere beyond every network of one's own. Nothing is sent there."""


PING_GROUPS = Path("/proc/sys/net/ipv4/ping_group_range")
FIRST_PORT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


def address(family: socket.AddressFamily = socket.AF_INET) -> str:
    """The address from which the machine speaks to the outside; empty when it has no way there.

    connect(2) of a datagram socket chooses the source address by the routes, and sends nothing.
    """
    try:
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
            probe.connect((OUTSIDE[family], 9))
            found: str = probe.getsockname()[0]
            return found
    except OSError:
        return ""


def has_ipv6() -> bool:
    """Whether there is a way out by IPv6."""
    return bool(address(socket.AF_INET6))


def ping_refusal() -> str:
    """Why echo requests of containers do not leave the machine; empty if they do.

    pasta and slirp4netns send them by ICMP sockets of the machine's, which the kernel gives to a range of groups
    (icmp(7)); of the caller's they keep the first one only.
    """
    first, last = (int(word) for word in PING_GROUPS.read_text().split())
    if first <= os.getgid() <= last:
        return ""
    return (
        f"net.ipv4.ping_group_range is {first} {last}, without your group {os.getgid()}; "
        "an administrator can run: sysctl net.ipv4.ping_group_range='0 2147483647'"
    )


def first_port() -> int:
    """The first port that an unprivileged user may publish (ip(7), ip_unprivileged_port_start)."""
    return int(FIRST_PORT.read_text())
