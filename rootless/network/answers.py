"""What the name server of a room's networks answers, out of the store: the leases, and the containers' documents.

Nothing is remembered but what a document said when it was last changed: so the server may be killed at any time, and a
container that was renamed, connected or ended is known as it is now.
"""

from __future__ import annotations

import ipaddress
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import dnslib

from ..container.network import OWN
from ..container.record import Spec, decode_record
from ..errors import StoreError
from ..kernel.netlink import IPAddress
from . import resolv
from .record import Lease, Network
from .store import Networks

TTL = 0
"""Seconds for which an answer may be kept: a container may be started anew, with another address, in any of them."""

MAX_UDP = 1232
"""Bytes of an answer in a datagram, where the asking side takes more than 512: what passes everywhere unfragmented."""

HEADER = 12
MAX_ADDITIONAL = 4
"""Records behind a question: OPT (RFC 6891), and room for signatures."""
"""Bytes of a packet's header (RFC 1035, 4.1.1)."""

REVERSE = {4: "in-addr.arpa", 6: "ip6.arpa"}


@dataclass(frozen=True)
class Forward:
    """The question is not ours to answer.

    Attributes:
        servers: whom to ask, in order.
        failure: the answer when none of them answers.
    """

    servers: tuple[str, ...]
    failure: bytes


@dataclass
class _Document:
    key: tuple[int, int]
    name: str
    spec: Spec


@dataclass(frozen=True)
class Member:
    """A container on a network, as its neighbours see it."""

    names: tuple[str, ...]
    lease: Lease


@dataclass(frozen=True)
class View:
    """What one container may know: the networks it is on, in the order of its interfaces, and what it is itself."""

    networks: tuple[tuple[Network, tuple[Member, ...]], ...]
    spec: Spec | None = None

    @property
    def servers(self) -> tuple[str, ...]:
        """Who is asked about what is outside: nobody for one that reaches nothing there, or only what its filter lets
        pass, or questions would be a way out."""
        if self.spec is None or self.spec.net.egress:
            return ()
        made_with_one = self.spec.network.partition(":")[0] in OWN
        if not made_with_one and all(network.internal for network, _ in self.networks):
            return ()
        return tuple(self.spec.net.dns or resolv.host().nameservers)


class Answers:
    """The answers of one store's networks.

    Args:
        guarded: nobody on them can ask with a neighbour's address (guard.py).
    """

    def __init__(self, networks: Networks, *, guarded: bool = True) -> None:
        self.networks = networks
        self.guarded = guarded
        self._documents: dict[str, _Document] = {}

    def respond(self, packet: bytes, client: str, *, datagram: bool) -> bytes | Forward | None:
        """The answer to a query from the address `client`; None to what deserves none."""
        query = read_query(packet)
        if not isinstance(query, dnslib.DNSRecord):
            return query
        view = self.view(client)
        if view is None:
            return error(query, dnslib.RCODE.REFUSED)
        reply = self._local(query, view)
        if reply is not None:
            return packed(reply, query, datagram=datagram)
        failure = error(query, dnslib.RCODE.SERVFAIL)
        if not view.servers:
            return failure
        if not self.guarded and not self._all_may_ask(client):
            return error(query, dnslib.RCODE.REFUSED)
        return Forward(view.servers, failure)

    def _all_may_ask(self, client: str) -> bool:
        """Whether each container on the network of this address may ask outside: so it does not matter whose it is."""
        found = self._found()
        return all(
            self._view_of(lease.container, found).servers
            for _, leases in found
            if any(client in lease.addresses for lease in leases)
            for lease in leases
        )

    def about_neighbours(self, query: dnslib.DNSRecord, container: str) -> dnslib.DNSRecord | None:
        """The reply to a question of a container, by its id, about those on its networks; None when it is about
        something else."""
        view = self._view_of(container, self._found())
        return self._local(query, view) if view.networks else None

    # --- what is ours ------------------------------------------------------------------------------------------------

    def _local(self, query: dnslib.DNSRecord, view: View) -> dnslib.DNSRecord | None:
        """The reply to a question about the networks; None when it is about something else."""
        question = query.q
        name = str(question.qname).rstrip(".").lower()
        if question.qclass != dnslib.CLASS.IN:
            return None
        if name.endswith(tuple(REVERSE.values())):
            return self._reverse(query, name, view)
        members = find(view, name)
        if not members:
            return None
        reply = query.reply()
        for address in _addresses(members):
            kind = "A" if address.version == 4 else "AAAA"
            if question.qtype in (getattr(dnslib.QTYPE, kind), dnslib.QTYPE.ANY):
                data = dnslib.A(str(address)) if address.version == 4 else dnslib.AAAA(str(address))
                reply.add_answer(dnslib.RR(question.qname, getattr(dnslib.QTYPE, kind), ttl=TTL, rdata=data))
        return reply  # of a name that has no such record: no error and no answer (NODATA)

    def _reverse(self, query: dnslib.DNSRecord, name: str, view: View) -> dnslib.DNSRecord | None:
        address = parse_reverse(name)
        if address is None:
            return None
        for network, members in view.networks:
            if not any(address in subnet.network for subnet in network.subnets):
                continue
            reply = query.reply()
            names = [m.names[0] for m in members if str(address) in m.lease.addresses]
            if not names:
                reply.header.rcode = dnslib.RCODE.NXDOMAIN
            elif query.q.qtype in (dnslib.QTYPE.PTR, dnslib.QTYPE.ANY):
                data = dnslib.PTR(f"{names[0]}.{network.name}")
                reply.add_answer(dnslib.RR(query.q.qname, dnslib.QTYPE.PTR, ttl=TTL, rdata=data))
            return reply
        return None

    # --- who knows what ----------------------------------------------------------------------------------------------

    def view(self, client: str) -> View | None:
        """What the container with this address may know; None when it is nobody's."""
        found = self._found()
        own = next((lease.container for _, leases in found for lease in leases if client in lease.addresses), "")
        return self._view_of(own, found) if own else None

    def _found(self) -> list[tuple[Network, list[Lease]]]:
        return [(network, self.networks.leases(network.name)) for network in self.networks.all()]

    def _view_of(self, own: str, found: list[tuple[Network, list[Lease]]]) -> View:
        mine = [(network, leases) for network, leases in found if any(lease.container == own for lease in leases)]
        mine.sort(key=lambda pair: next(lease.interface for lease in pair[1] if lease.container == own))
        document = self._document(own)
        return View(
            tuple((network, tuple(self._members(leases))) for network, leases in mine),
            document.spec if document is not None else None,
        )

    def _members(self, leases: list[Lease]) -> Iterator[Member]:
        for lease in leases:
            document = self._document(lease.container)
            if document is not None:
                yield Member(names_of(lease, document.name, document.spec.hostname), lease)

    def _document(self, container: str) -> _Document | None:
        """A container's name and spec, read when they have changed; None when they can't be."""
        path = self.networks.paths.container(container) / "config.json"
        try:
            status = path.stat()
            key = (status.st_mtime_ns, status.st_ino)
            known = self._documents.get(container)
            if known is None or known.key != key:
                record = decode_record(path.read_bytes(), str(path))
                known = self._documents[container] = _Document(key, record.name, record.spec)
        except (OSError, StoreError):
            self._documents.pop(container, None)
            return None
        return known


def names_of(lease: Lease, name: str, hostname: str) -> tuple[str, ...]:
    """What its neighbours may call a container: its name first, the beginning of its id, its aliases, its host name."""
    known = (name, lease.container[:12], *lease.aliases, hostname)
    return tuple(dict.fromkeys(text.lower() for text in known if text))


def find(view: View, name: str) -> list[Member]:
    """Those that are called so on the first network where somebody is; also as `name.network`."""
    for network, members in view.networks:
        plain = name.removesuffix(f".{network.name.lower()}")
        if found := [member for member in members if name in member.names or plain in member.names]:
            return found
    return []


def _addresses(members: list[Member]) -> list[IPAddress]:
    """In any order: whoever takes the first one spreads over all who have an alias."""
    found = [ipaddress.ip_address(text) for member in members for text in member.lease.addresses]
    random.shuffle(found)
    return found


def parse_reverse(name: str) -> IPAddress | None:
    """The address that a name of in-addr.arpa or ip6.arpa is about (RFC 1035, 3.5; RFC 3596, 2.5); None of another."""
    labels = name.split(".")[:-2][::-1]
    try:
        if name.endswith(f".{REVERSE[4]}") and len(labels) == 4:
            return ipaddress.IPv4Address(".".join(labels))
        if name.endswith(f".{REVERSE[6]}") and len(labels) == 32 and all(len(label) == 1 for label in labels):
            return ipaddress.IPv6Address(int("".join(labels), 16))
    except ValueError:
        return None
    return None


def read_query(packet: bytes) -> dnslib.DNSRecord | bytes | None:
    """The query in a packet: one question. Else the answer to what it is, or None to what deserves none."""
    if len(packet) >= HEADER and not packet[2] & 0xF8:  # a query: its counts before its names, each of which costs
        questions, *others, additional = struct.unpack_from("!HHHH", packet, 4)
        if questions != 1 or any(others) or additional > MAX_ADDITIONAL:
            return refuse(packet, dnslib.RCODE.FORMERR)
    try:
        query = dnslib.DNSRecord.parse(packet)
    except (dnslib.DNSError, ValueError, IndexError):
        return refuse(packet, dnslib.RCODE.FORMERR)
    if query.header.qr:
        return None  # an answer: two servers must not talk to each other for ever
    if query.header.opcode != dnslib.OPCODE.QUERY:
        return refuse(packet, dnslib.RCODE.NOTIMP)
    if len(query.questions) != 1:
        return refuse(packet, dnslib.RCODE.FORMERR)
    return query


def packed(reply: dnslib.DNSRecord, query: dnslib.DNSRecord, *, datagram: bool) -> bytes:
    """The reply as bytes; cut to nothing, and marked so, where a datagram can't hold it: TCP can."""
    reply.header.aa, reply.header.ra = 1, 1
    option = next((record for record in query.ar if record.rtype == dnslib.QTYPE.OPT), None)
    limit = 512 if option is None else max(512, min(option.rclass, MAX_UDP))
    if option is not None:  # RFC 6891, 7: who speaks it is answered in it
        reply.add_ar(dnslib.EDNS0(udp_len=MAX_UDP))
    packed = bytes(reply.pack())
    if datagram and len(packed) > limit:
        reply.rr, reply.header.tc = [], 1
        packed = bytes(reply.pack())
    return packed


def error(query: dnslib.DNSRecord, code: int) -> bytes:
    """An answer that says why there is none."""
    reply = query.reply()
    reply.header.rcode = code
    return bytes(reply.pack())


def refuse(packet: bytes, code: int) -> bytes | None:
    """A packet that means nothing, as an error: its header alone. None to what has none, or is an answer itself."""
    if len(packet) < HEADER or packet[2] & 0x80:
        return None
    flags = bytes([packet[2] & 0x79 | 0x80, 0x80 | code])  # QR; opcode and RD as asked; RA
    return packet[:2] + flags + bytes(8)
