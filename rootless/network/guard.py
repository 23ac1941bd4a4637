"""Guards at the ports of the switch: who asks for names asks with an address of its own.

The name server knows a container by its address (answers.py), and asks outside for those that may. Docker's containers
have CAP_NET_RAW, with which any source address can be written into a packet: without a guard one that reaches nothing
outside could ask there in a neighbour's name, and what it asks would be a way out.

A kernel may lack these filters. Then none of a switch's ports has a guard, for as long as the switch lives; the mark
of one with guards is that it has the table.
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Sequence

from ..kernel import nftables as nft
from ..kernel.nftables import NETWORK, TRANSPORT, Filters
from ..kernel.nlsocket import Request

TABLE = "rootless"
DNS = (53).to_bytes(2)

MAX_GONE = 64
"""Guards without a port that are kept: they are removed together, because that takes the kernel 15 ms in any case."""

ETH_P_IP, ETH_P_ARP, ETH_P_8021Q, ETH_P_8021AD = 0x0800, 0x0806, 0x8100, 0x88A8
IP_SOURCE, ARP_SENDER, TARGET_PORT = 12, 14, 2
"""Offsets: of the source address (RFC 791), of the sender's protocol address (RFC 826), of the port in UDP and TCP."""


def try_to_begin() -> None:
    """Make the table in a new switch, if this kernel can all that a guard needs: together with a guard of lo, where
    nothing passes. It stays, because the kernel takes 15 ms to remove one."""
    try:
        with Filters() as filters:
            filters.commit([nft.add_table(TABLE), *_guard("lo", "127.0.0.1", ["127.0.0.2"])])
    except OSError:
        return  # is_there tells it


def is_there() -> bool:
    """Whether the ports of the switch that the caller is in have guards."""
    try:
        with Filters() as filters:
            return filters.has_table(TABLE)
    except OSError:
        return False


def put(port: str, address: str, gateways: Sequence[str], ports: Collection[str]) -> None:
    """Guard a port, whose interface is not up yet.

    Args:
        address: of the container behind it; gateways: the bridge's own.
        ports: all interfaces that there are: since Linux 6.16 a chain outlives its interface.

    Raises:
        OSError: it can't be done.
    """
    with Filters() as filters:
        gone = [nft.delete_chain(TABLE, chain) for chain in filters.chains(TABLE) if chain not in ports]
        if len(gone) < MAX_GONE:
            gone = []
        filters.commit([*gone, *_guard(port, address, gateways)])


def _guard(port: str, address: str, gateways: Sequence[str]) -> list[Request]:
    """The rules of one port.

    A frame with a VLAN's tag within another's would be looked into later than here; a bridge takes off both.
    """
    own = socket.inet_aton(address)
    rules = [
        nft.add_chain(TABLE, port, port),
        nft.drop(TABLE, port, nft.protocol(ETH_P_8021Q)),
        nft.drop(TABLE, port, nft.protocol(ETH_P_8021AD)),
        nft.drop(
            TABLE,
            port,
            nft.protocol(ETH_P_IP),
            nft.bytes_at(NETWORK, IP_SOURCE, own, differ=True),
            nft.bytes_at(TRANSPORT, TARGET_PORT, DNS),
        ),
    ]
    for gateway in map(socket.inet_aton, gateways):  # nobody answers in the name server's name
        rules.append(nft.drop(TABLE, port, nft.protocol(ETH_P_IP), nft.bytes_at(NETWORK, IP_SOURCE, gateway)))
        rules.append(nft.drop(TABLE, port, nft.protocol(ETH_P_ARP), nft.bytes_at(NETWORK, ARP_SENDER, gateway)))
    return rules
