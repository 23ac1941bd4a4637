"""Packet filters on interfaces: nf_tables over netlink(7), as much of it as we need, without nft(8).

Chains of the family `netdev` see what comes in by one interface, before a bridge does. The numbers are those of
linux/netfilter/nf_tables.h and nfnetlink.h; all of them travel in network byte order, but the headers.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from types import TracebackType

NETLINK_NETFILTER, NFNL_SUBSYS_NFTABLES, NFPROTO_NETDEV = 12, 10, 5
NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END = 0x10, 0x11
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP, NLM_F_CREATE, NLM_F_APPEND = 0x1, 0x4, 0x300, 0x400, 0x800
NLMSG_ERROR, NLMSG_DONE = 2, 3

NFT_MSG_NEWTABLE, NFT_MSG_GETTABLE, NFT_MSG_NEWRULE = 0, 1, 6
NFT_MSG_NEWCHAIN, NFT_MSG_GETCHAIN, NFT_MSG_DELCHAIN = 3, 4, 5
NFTA_TABLE_NAME = 1
NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME, NFTA_CHAIN_HOOK, NFTA_CHAIN_POLICY, NFTA_CHAIN_TYPE = 1, 3, 4, 5, 7
NFTA_HOOK_HOOKNUM, NFTA_HOOK_PRIORITY, NFTA_HOOK_DEV, NF_NETDEV_INGRESS = 1, 2, 3, 0
NFTA_RULE_TABLE, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS = 1, 2, 4
NFTA_LIST_ELEM, NFTA_EXPR_NAME, NFTA_EXPR_DATA = 1, 1, 2
NFTA_META_DREG, NFTA_META_KEY, NFT_META_PROTOCOL = 1, 2, 1
NFTA_PAYLOAD_DREG, NFTA_PAYLOAD_BASE, NFTA_PAYLOAD_OFFSET, NFTA_PAYLOAD_LEN = 1, 2, 3, 4
NFTA_CMP_SREG, NFTA_CMP_OP, NFTA_CMP_DATA, NFT_CMP_EQ, NFT_CMP_NEQ = 1, 2, 3, 0, 1
NFTA_IMMEDIATE_DREG, NFTA_IMMEDIATE_DATA = 1, 2
NFTA_DATA_VALUE, NFTA_DATA_VERDICT, NFTA_VERDICT_CODE, NF_DROP, NF_ACCEPT = 1, 2, 1, 0, 1
NFT_REG_VERDICT, NFT_REG_1 = 0, 1

NETWORK, TRANSPORT = 1, 2
"""What an offset counts from: NFT_PAYLOAD_NETWORK_HEADER, NFT_PAYLOAD_TRANSPORT_HEADER."""

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_FAMILY = struct.Struct("!BBH")  # struct nfgenmsg: family, version, resource
_NESTED, _TYPE_MASK = 0x8000, 0x3FFF
_BUFFER = 1 << 16

Message = tuple[int, int, bytes]
"""Its kind, its flags, its attributes."""


class Filters:
    """A socket that speaks of the filters of the caller's network namespace. OSError when the kernel has none."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        self._sequence = 0

    def __enter__(self) -> Filters:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def commit(self, messages: Sequence[Message]) -> None:
        """All of these changes, or none.

        Raises:
            OSError: the kernel's reason. ENOENT where a table is not there; EOPNOTSUPP, ENOENT or EPROTONOSUPPORT where
                the kernel lacks a part.
        """
        first = self._sequence + 1
        resource = _FAMILY.pack(socket.AF_UNSPEC, 0, NFNL_SUBSYS_NFTABLES)
        packets = [self._packed(NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, resource)]
        for kind, flags, attributes in messages:
            body = _FAMILY.pack(NFPROTO_NETDEV, 0, 0) + attributes
            packets.append(self._packed(_kind(kind), flags | NLM_F_REQUEST | NLM_F_ACK, body))
        packets.append(self._packed(NFNL_MSG_BATCH_END, NLM_F_REQUEST, resource))
        self._socket.send(b"".join(packets))
        acknowledged = 0
        while acknowledged < len(messages):
            for kind, sequence, body in self._receive():
                if kind == NLMSG_ERROR and sequence >= first:
                    _raise_unless_zero(body)
                    acknowledged += 1

    def has_table(self, table: str) -> bool:
        """Whether there is a table of this name. OSError when the kernel can't tell."""
        body = _FAMILY.pack(NFPROTO_NETDEV, 0, 0) + _text(NFTA_TABLE_NAME, table)
        self._socket.send(self._packed(_kind(NFT_MSG_GETTABLE), NLM_F_REQUEST | NLM_F_ACK, body))
        while True:
            for kind, sequence, answer in self._receive():
                if kind == NLMSG_ERROR and sequence == self._sequence:
                    if _errno(answer) == errno.ENOENT:
                        return False
                    _raise_unless_zero(answer)
                    return True

    def chains(self, table: str) -> list[str]:
        """The names of a table's chains; none where there is no such table."""
        body = _FAMILY.pack(NFPROTO_NETDEV, 0, 0) + _text(NFTA_CHAIN_TABLE, table)
        self._socket.send(self._packed(_kind(NFT_MSG_GETCHAIN), NLM_F_REQUEST | NLM_F_DUMP, body))
        found: list[str] = []
        while True:
            for kind, sequence, answer in self._receive():
                if sequence != self._sequence:
                    continue
                if kind in (NLMSG_DONE, NLMSG_ERROR):
                    _raise_unless_zero(answer)
                    return found
                values = dict(_attributes(answer[_FAMILY.size :]))
                if values.get(NFTA_CHAIN_TABLE) == table.encode() + b"\0":  # older kernels do not sort them out
                    found.append(values.get(NFTA_CHAIN_NAME, b"").rstrip(b"\0").decode())

    def _packed(self, kind: int, flags: int, body: bytes) -> bytes:
        self._sequence += 1
        return _HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0) + body

    def _receive(self) -> Iterator[tuple[int, int, bytes]]:
        """(kind, sequence, body) of each message of one packet."""
        data, position = self._socket.recv(_BUFFER), 0
        while position + _HEADER.size <= len(data):
            length, kind, _, sequence, _ = _HEADER.unpack_from(data, position)
            yield kind, sequence, data[position + _HEADER.size : position + length]
            position += max((length + 3) & ~3, _HEADER.size)


def _errno(body: bytes) -> int:
    """Of a NLMSG_ERROR or NLMSG_DONE; 0 for none."""
    return -int(struct.unpack_from("=i", body)[0]) if len(body) >= 4 else 0


def _raise_unless_zero(body: bytes) -> None:
    if number := _errno(body):
        raise OSError(number, f"packet filter: {os.strerror(number)}")


# --- changes ---------------------------------------------------------------------------------------------------------


def add_table(table: str) -> Message:
    """A table, unless it is there."""
    return NFT_MSG_NEWTABLE, NLM_F_CREATE, _text(NFTA_TABLE_NAME, table)


def add_chain(table: str, chain: str, interface: str) -> Message:
    """A chain that sees what comes in by an interface, and lets it pass unless a rule says otherwise."""
    hook = _number(NFTA_HOOK_HOOKNUM, NF_NETDEV_INGRESS) + _number(NFTA_HOOK_PRIORITY, 0)
    attributes = _text(NFTA_CHAIN_TABLE, table) + _text(NFTA_CHAIN_NAME, chain)
    attributes += _nested(NFTA_CHAIN_HOOK, hook + _text(NFTA_HOOK_DEV, interface))
    attributes += _number(NFTA_CHAIN_POLICY, NF_ACCEPT) + _text(NFTA_CHAIN_TYPE, "filter")
    return NFT_MSG_NEWCHAIN, NLM_F_CREATE, attributes


def delete_chain(table: str, chain: str) -> Message:
    """A chain and its rules go."""
    return NFT_MSG_DELCHAIN, 0, _text(NFTA_CHAIN_TABLE, table) + _text(NFTA_CHAIN_NAME, chain)


def drop(table: str, chain: str, *matches: bytes) -> Message:
    """A rule: what all of these match is dropped."""
    verdict = _nested(NFTA_DATA_VERDICT, _number(NFTA_VERDICT_CODE, NF_DROP))
    immediate = _number(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT) + _nested(NFTA_IMMEDIATE_DATA, verdict)
    expressions = b"".join(matches) + _expression("immediate", immediate)
    attributes = _text(NFTA_RULE_TABLE, table) + _text(NFTA_RULE_CHAIN, chain)
    attributes += _nested(NFTA_RULE_EXPRESSIONS, expressions)
    return NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, attributes


def protocol(number: int) -> bytes:
    """A match: what the frame carries, an EtherType."""
    load = _number(NFTA_META_DREG, NFT_REG_1) + _number(NFTA_META_KEY, NFT_META_PROTOCOL)
    return _expression("meta", load) + _compared(NFT_CMP_EQ, number.to_bytes(2))


def bytes_at(base: int, offset: int, value: bytes, *, differ: bool = False) -> bytes:
    """A match: what stands at an offset from `NETWORK` or `TRANSPORT`, or that something else does. A fragment that is
    not the first one has no transport header, and matches nothing there."""
    load = _number(NFTA_PAYLOAD_DREG, NFT_REG_1) + _number(NFTA_PAYLOAD_BASE, base)
    load += _number(NFTA_PAYLOAD_OFFSET, offset) + _number(NFTA_PAYLOAD_LEN, len(value))
    return _expression("payload", load) + _compared(NFT_CMP_NEQ if differ else NFT_CMP_EQ, value)


def _compared(operator: int, value: bytes) -> bytes:
    data = _nested(NFTA_CMP_DATA, _attribute(NFTA_DATA_VALUE, value))
    return _expression("cmp", _number(NFTA_CMP_SREG, NFT_REG_1) + _number(NFTA_CMP_OP, operator) + data)


def _expression(name: str, data: bytes) -> bytes:
    return _nested(NFTA_LIST_ELEM, _text(NFTA_EXPR_NAME, name) + _nested(NFTA_EXPR_DATA, data))


# --- attributes ------------------------------------------------------------------------------------------------------


def _kind(number: int) -> int:
    return NFNL_SUBSYS_NFTABLES << 8 | number


def _attribute(kind: int, value: bytes) -> bytes:
    data = struct.pack("=HH", 4 + len(value), kind) + value
    return data + b"\0" * (-len(data) % 4)


def _nested(kind: int, value: bytes) -> bytes:
    return _attribute(kind | _NESTED, value)


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, value.to_bytes(4))


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, position)
        if length < 4:
            return
        yield kind & _TYPE_MASK, data[position + 4 : position + length]
        position += (length + 3) & ~3
