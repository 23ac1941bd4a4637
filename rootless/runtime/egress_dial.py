"""Connections of the machine's, made in the place of a container with --egress."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

import trio

from ..network import host
from ..network.egress_rules import Rules, joined, normal
from ..network.hosts import GATEWAY
from ..network.own import is_own
from .egress_tries import Tries

PATIENCE = 15.0
"""Seconds for each address of a name."""

MAX_ADDRESSES = 4
LOCALHOST = "localhost"

NO_SEARCH = {"LOCALDOMAIN": "."}
"""Environment in which the C library looks names up as they stand: with the machine's search domains a name that is
allowed could lead to another one below these."""

_Pairs = Sequence[tuple[socket.AddressFamily, tuple[object, ...]]]


class DialError(Exception):
    """There is no connection; why."""

    def __init__(self, why: str, *, refused: bool = False) -> None:
        super().__init__(why)
        self.refused = refused


class Dialler:
    """Connects where the rules allow it, and writes down every try.

    Args:
        hosts: `NAME:ADDRESS` of --add-host: where such a name leads, without a question.
        search: domains that a name without a dot is looked up in first (resolv.conf(5)). One with a dot means itself,
            for which `NO_SEARCH` is to be set.
    """

    def __init__(self, rules: Rules, hosts: Iterable[str], tries: Tries, search: Sequence[str] = ()) -> None:
        self.rules, self.tries, self.search = rules, tries, search
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
            try:
                sock = trio.socket.socket(family, socket.SOCK_STREAM)
            except OSError as problem:  # no descriptor is free: this try fails, and nothing else
                raise DialError(os.strerror(problem.errno or 0)) from None
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

    async def _addresses(self, name: str, port: int) -> _Pairs:
        """Where a name leads.

        What a name server says is not trusted to lead to the machine itself: whoever has an allowed domain could have
        the container speak with what counts on being reached from here alone. `localhost`, an address, or what
        --add-host says was meant so.
        """
        given = self._hosts.get(name, "")
        meant = bool(given) or name == LOCALHOST or name.endswith(f".{LOCALHOST}") or _is_literal(name)
        if given == GATEWAY:
            given = host.address() or "127.0.0.1"
        pairs = await self._look_up(given or name, port)
        kept = [pair for pair in pairs if meant or not is_own(str(pair[1][0]))]
        if pairs and not kept:
            raise DialError(
                f"the name leads to {pairs[0][1][0]}, which is this machine's own: --add-host would allow it"
            )
        return kept

    async def _look_up(self, name: str, port: int) -> _Pairs:
        within = (
            [] if "." in name or ":" in name or name == LOCALHOST else [f"{name}.{domain}" for domain in self.search]
        )
        why = ""
        for text in (*within, name):
            try:
                found = await trio.socket.getaddrinfo(text, port, type=socket.SOCK_STREAM)
                return [(family, address) for family, _, _, _, address in found]
            except (OSError, UnicodeError, RuntimeError) as problem:  # RuntimeError: there can't be another thread
                why = getattr(problem, "strerror", None) or str(problem)
        raise DialError(why)


def _is_literal(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
