"""What the machine itself has of networks."""

from __future__ import annotations

import socket

OUTSIDE = {socket.AF_INET: "1.1.1.1", socket.AF_INET6: "2606:4700:4700::1111"}
"""Somewhere beyond every network of one's own. Nothing is sent there."""


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
