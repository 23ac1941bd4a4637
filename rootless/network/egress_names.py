"""The names of a container with --egress: each that it may reach has an address here that means that name and no other.

A name is not looked up before somebody connects to it. So a question tells nobody outside anything.
"""

from __future__ import annotations

import socket
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable

import dnslib

from . import addresses
from .answers import TTL, Answers, packed, parse_reverse, read_query
from .egress_rules import Rules, normal

BASE = int.from_bytes(socket.inet_aton(addresses.NAMES))
"""No host outside has one of these."""

FIRST, LAST = 256, 65534
"""The addresses of names, counted from `BASE`; those before are our own."""

MAX_NAMES = 16384
"""A rule `*.DOMAIN` allows any number of them; the one that was asked for the longest ago is forgotten."""


class Names:
    """Addresses for names. A name gets the same one again, in another process too, unless another name has it."""

    def __init__(self) -> None:
        self._addresses: OrderedDict[str, int] = OrderedDict()
        self._names: dict[int, str] = {}

    def address(self, name: str) -> str:
        """The address that means this name."""
        known = normal(name)
        if known not in self._addresses:
            if len(self._addresses) >= MAX_NAMES:
                del self._names[self._addresses.popitem(last=False)[1]]
            self._add(known)
        self._addresses.move_to_end(known)
        return socket.inet_ntoa((BASE + self._addresses[known]).to_bytes(4))

    def _add(self, name: str) -> None:
        number = FIRST + zlib.crc32(name.encode()) % (LAST - FIRST)
        while number in self._names:
            number = number + 1 if number < LAST else FIRST
        self._addresses[name], self._names[number] = number, name

    def name(self, address: str) -> str:
        """The name that an address means; the address itself where it means none."""
        return self._names.get(int.from_bytes(socket.inet_aton(address)) - BASE, address)


class Resolver:
    """Answers a container's questions.

    Args:
        refused: is told of each name that was asked for and may not be reached.
        neighbours: what the container's named networks know, and the container's id.
        search: the container's search domains, which its C library may try before the name itself.
    """

    def __init__(
        self,
        rules: Rules,
        names: Names,
        refused: Callable[[str], None],
        neighbours: tuple[Answers, str] | None = None,
        search: Iterable[str] = (),
    ) -> None:
        self.rules, self.names, self.refused, self.neighbours = rules, names, refused, neighbours
        self.search = tuple(f".{normal(domain)}" for domain in search if normal(domain))

    def respond(self, packet: bytes, *, datagram: bool) -> bytes | None:
        """The answer to a packet; None to what deserves none."""
        query = read_query(packet)
        if not isinstance(query, dnslib.DNSRecord):
            return query
        reply = self._of_neighbours(query)
        return packed(self._reply(query) if reply is None else reply, query, datagram=datagram)

    def _of_neighbours(self, query: dnslib.DNSRecord) -> dnslib.DNSRecord | None:
        if self.neighbours is None:
            return None
        answers, container = self.neighbours
        return answers.about_neighbours(query, container)

    def _reply(self, query: dnslib.DNSRecord) -> dnslib.DNSRecord:
        question, reply = query.q, query.reply()
        name = str(question.qname).rstrip(".")
        if self.rules.know(name):
            if question.qtype in (dnslib.QTYPE.A, dnslib.QTYPE.ANY) and question.qclass == dnslib.CLASS.IN:
                address = dnslib.A(self.names.address(name))
                reply.add_answer(dnslib.RR(question.qname, dnslib.QTYPE.A, ttl=TTL, rdata=address))
            return reply  # it has nothing else: no error and no answer (NODATA)
        address = parse_reverse(name.lower())
        if address is not None and address.version == 4:
            known = self.names.name(str(address))
            if known != str(address):
                data = dnslib.PTR(known)
                reply.add_answer(dnslib.RR(question.qname, dnslib.QTYPE.PTR, ttl=TTL, rdata=data))
                return reply
        if not self._is_detour(name):
            self.refused(name)
        reply.header.rcode = dnslib.RCODE.NXDOMAIN
        return reply

    def _is_detour(self, name: str) -> bool:
        """Whether this is a name that may be reached with a search domain behind it: nobody has asked for that."""
        known = normal(name)
        return any(known.endswith(domain) and self.rules.know(known.removesuffix(domain)) for domain in self.search)
