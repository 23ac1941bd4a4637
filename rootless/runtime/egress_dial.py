"""Connections of the machine's, made in the place of a container with --egress."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

import trio

from ..network import host
from ..network.egress_rules import Rules, joined, normal
from ..network.hosts import GATEWAY
from .egress_tries import Tries

PATIENCE = 15.0
"""Seconds for each address of a name."""

MAX_ADDRESSES = 4
LOCALHOST = "localhost"


class DialError(Exception):
    """There is no connection; why."""

    def __init__(self, why: str, *, refused: bool = False) -> None:
        super().__init__(why)
        self.refused = refused


class Dialler:
    """Connects where the rules allow it, and writes down every try.

    Args:
        hosts: `NAME:ADDRESS` of --add-host: where such a name leads, without a question.
    """

    def __init__(self, rules: Rules, hosts: Iterable[str], tries: Tries) -> None:
        self.rules, self.tries = rules, tries
        self._hosts = {normal(name): address for name, _, address in (item.partition(":") for item in hosts)}

    async def connect(self, kind: str, name: str, port: int) -> trio.SocketStream:
        """A connection to a port of a name.

        Raises:
            DialError: it is not allowed, or could not be made.
        """
        target = joined(name, port)
        if not self.rules.allow(name, port):
            self.tries.refused(kind, target)
            raise DialError(f"--egress does not allow {target}", refused=True)
        try:
            stream = await self._connect(normal(name), port)
        except DialError as problem:
            self.tries.failed(kind, target, str(problem))
            raise
        self.tries.allowed(kind, target)
        return stream

    async def _connect(self, name: str, port: int) -> trio.SocketStream:
        why = "it has no address"
        for family, address in (await self._addresses(name, port))[:MAX_ADDRESSES]:
            sock = trio.socket.socket(family, socket.SOCK_STREAM)
            try:
                with trio.fail_after(PATIENCE):
                    await sock.connect(address)
            except OSError as problem:
                why = os.strerror(problem.errno) if problem.errno else str(problem)
            except trio.TooSlowError:
                why = "timed out"
            except BaseException:
                sock.close()
                raise
            else:
                return trio.SocketStream(sock)
            sock.close()
        raise DialError(why)

    async def _addresses(self, name: str, port: int) -> Sequence[tuple[socket.AddressFamily, tuple[object, ...]]]:
        """Where a name leads.

        What a name server says is not trusted to lead to the machine itself: whoever has an allowed domain could have
        the container speak with what counts on being reached from here alone. `localhost`, an address, or what
        --add-host says was meant so.
        """
        given = self._hosts.get(name, "")
        meant = bool(given) or name == LOCALHOST or name.endswith(f".{LOCALHOST}") or _is_literal(name)
        if given == GATEWAY:
            given = host.address() or "127.0.0.1"
        try:
            found = await trio.socket.getaddrinfo(given or name, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as problem:
            raise DialError(getattr(problem, "strerror", None) or str(problem)) from None
        pairs = [(family, address) for family, _, _, _, address in found]
        kept = [pair for pair in pairs if meant or not is_own(str(pair[1][0]))]
        if pairs and not kept:
            raise DialError(f"the name leads to {pairs[0][1][0]}, which is this machine's own")
        return kept


def _is_literal(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def is_own(text: str) -> bool:
    """Whether an address means the machine itself, or its own link."""
    address: IPv4Address | IPv6Address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified
