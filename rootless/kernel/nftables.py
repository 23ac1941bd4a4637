"""Packet filters on interfaces: nf_tables over netlink(7), as much of it as we need, without nft(8).

Chains of the family `netdev` see what comes in by one interface, before a bridge does. The numbers are those of
linux/netfilter/nf_tables.h and nfnetlink.h; all of them travel in network byte order, but the headers.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Sequence
from types import TracebackType

from .nlsocket import NLA_F_NESTED, NLM_F_APPEND, NLM_F_CREATE, Conversation, Request, attribute, attributes

NETLINK_NETFILTER, NFNL_SUBSYS_NFTABLES, NFPROTO_NETDEV = 12, 10, 5
NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END = 0x10, 0x11

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

_FAMILY = struct.Struct("!BBH")  # struct nfgenmsg: family, version, resource


class Filters:
    """A socket that speaks of the filters of the caller's network namespace. OSError when the kernel has none."""

    def __init__(self) -> None:
        self._kernel = Conversation(NETLINK_NETFILTER)

    def __enter__(self) -> Filters:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kernel.__exit__(kind, problem, trace)

    def commit(self, changes: Sequence[Request]) -> None:
        """All of these changes, or none.

        Raises:
            OSError: the kernel's reason. ENOENT where a table is not there; EOPNOTSUPP, ENOENT or EPROTONOSUPPORT where
                the kernel lacks a part.
        """
        resource = _FAMILY.pack(socket.AF_UNSPEC, 0, NFNL_SUBSYS_NFTABLES)
        begin, end = Request(NFNL_MSG_BATCH_BEGIN, 0, resource), Request(NFNL_MSG_BATCH_END, 0, resource)
        self._kernel.all_or_none(changes, begin, end)

    def has_table(self, table: str) -> bool:
        """Whether there is a table of this name. OSError when the kernel can't tell."""
        try:
            self._kernel.ask(_request(NFT_MSG_GETTABLE, 0, _text(NFTA_TABLE_NAME, table)))
        except OSError as problem:
            if problem.errno == errno.ENOENT:
                return False
            raise
        return True

    def chains(self, table: str) -> list[str]:
        """The names of a table's chains; none where there is no such table."""
        kind, _, body = _request(NFT_MSG_GETCHAIN, 0, _text(NFTA_CHAIN_TABLE, table))
        found = []
        for answer in self._kernel.dump(kind, body):
            values = dict(attributes(answer[_FAMILY.size :]))
            if values.get(NFTA_CHAIN_TABLE) == table.encode() + b"\0":  # older kernels do not sort them out
                found.append(values.get(NFTA_CHAIN_NAME, b"").rstrip(b"\0").decode())
        return found


# --- changes ---------------------------------------------------------------------------------------------------------


def add_table(table: str) -> Request:
    """A table, unless it is there."""
    return _request(NFT_MSG_NEWTABLE, NLM_F_CREATE, _text(NFTA_TABLE_NAME, table))


def add_chain(table: str, chain: str, interface: str) -> Request:
    """A chain that sees what comes in by an interface, and lets it pass unless a rule says otherwise."""
    hook = _number(NFTA_HOOK_HOOKNUM, NF_NETDEV_INGRESS) + _number(NFTA_HOOK_PRIORITY, 0)
    body = _text(NFTA_CHAIN_TABLE, table) + _text(NFTA_CHAIN_NAME, chain)
    body += _nested(NFTA_CHAIN_HOOK, hook + _text(NFTA_HOOK_DEV, interface))
    body += _number(NFTA_CHAIN_POLICY, NF_ACCEPT) + _text(NFTA_CHAIN_TYPE, "filter")
    return _request(NFT_MSG_NEWCHAIN, NLM_F_CREATE, body)


def delete_chain(table: str, chain: str) -> Request:
    """A chain and its rules go."""
    return _request(NFT_MSG_DELCHAIN, 0, _text(NFTA_CHAIN_TABLE, table) + _text(NFTA_CHAIN_NAME, chain))


def drop(table: str, chain: str, *matches: bytes) -> Request:
    """A rule: what all of these match is dropped."""
    verdict = _nested(NFTA_DATA_VERDICT, _number(NFTA_VERDICT_CODE, NF_DROP))
    immediate = _number(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT) + _nested(NFTA_IMMEDIATE_DATA, verdict)
    expressions = b"".join(matches) + _expression("immediate", immediate)
    body = _text(NFTA_RULE_TABLE, table) + _text(NFTA_RULE_CHAIN, chain)
    body += _nested(NFTA_RULE_EXPRESSIONS, expressions)
    return _request(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, body)


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
    data = _nested(NFTA_CMP_DATA, attribute(NFTA_DATA_VALUE, value))
    return _expression("cmp", _number(NFTA_CMP_SREG, NFT_REG_1) + _number(NFTA_CMP_OP, operator) + data)


def _expression(name: str, data: bytes) -> bytes:
    return _nested(NFTA_LIST_ELEM, _text(NFTA_EXPR_NAME, name) + _nested(NFTA_EXPR_DATA, data))


# --- attributes ------------------------------------------------------------------------------------------------------


def _request(kind: int, flags: int, body: bytes) -> Request:
    return Request(NFNL_SUBSYS_NFTABLES << 8 | kind, flags, _FAMILY.pack(NFPROTO_NETDEV, 0, 0) + body)


def _nested(kind: int, value: bytes) -> bytes:
    return attribute(kind | NLA_F_NESTED, value)


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, value.to_bytes(4))


def _text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")
