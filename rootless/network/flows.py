"""The connections of a container that passes through our own process, as the packets of its TUN device have them.

A container's packets to an address outside are turned round: they go back into its own kernel, readdressed to a socket
on which our process listens, and come from an address that stands for the connection. So the container's kernel is both
ends of the TCP that it speaks, and our process sees bytes.

    client:port ──▶ target:port        becomes        RETURN:number ──▶ own:listener
    client:port ◀── target:port        becomes        RETURN:number ◀── own:listener
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from .packets import Endpoint

RETURN = socket.inet_aton("198.19.0.1")
"""The address that connections come from, in a network for tests of devices, which nobody has (RFC 2544)."""

MAX_FLOWS = 1024
FIRST, LAST = 1024, 65535

LINGER = 60.0
"""Seconds for which one that ended is remembered: the last packets of its kernel may still be to come."""


@dataclass
class Flow:
    """One connection.

    Attributes:
        client, target: as the container has it.
        number: the port that stands for it.
        ready: its packets are passed on; begun: it has come to us.
        ended: when it ended; None while it has not.
    """

    client: Endpoint
    target: Endpoint
    number: int
    ready: bool = False
    begun: bool = False
    ended: float | None = field(default=None)

    @property
    def back(self) -> Endpoint:
        """Where it comes from, as the listener sees it."""
        return Endpoint(RETURN, self.number)


class Flows:
    """Those of one container."""

    def __init__(self) -> None:
        self._by_ends: dict[tuple[Endpoint, Endpoint], Flow] = {}
        self._by_number: dict[int, Flow] = {}
        self._last = LAST

    def __len__(self) -> int:
        return len(self._by_number)

    def find(self, client: Endpoint, target: Endpoint) -> Flow | None:
        """The connection between these."""
        return self._by_ends.get((client, target))

    def of(self, number: int) -> Flow | None:
        """The connection that a port stands for."""
        return self._by_number.get(number)

    def open(self, client: Endpoint, target: Endpoint) -> Flow | None:
        """A new connection, in the place of one that has ended; None when there are too many."""
        if known := self.find(client, target):
            self.drop(known)
        if len(self) >= MAX_FLOWS:
            self._drop_oldest_end()
        if len(self) >= MAX_FLOWS:
            return None
        flow = Flow(client, target, self._free())
        self._by_ends[client, target] = self._by_number[flow.number] = flow
        return flow

    def _free(self) -> int:
        """The next number that nobody has: one that has just become free may still be remembered by a kernel."""
        while True:
            self._last = self._last + 1 if self._last < LAST else FIRST
            if self._last not in self._by_number:
                return self._last

    def _drop_oldest_end(self) -> None:
        over = [flow for flow in self._by_number.values() if flow.ended is not None]
        if over:
            self.drop(min(over, key=lambda flow: flow.ended or 0.0))

    def end(self, flow: Flow, now: float) -> None:
        """Both sides have closed it."""
        flow.ended = now

    def drop(self, flow: Flow) -> None:
        """Know it no more."""
        self._by_number.pop(flow.number, None)
        if self._by_ends.get((flow.client, flow.target)) is flow:
            del self._by_ends[flow.client, flow.target]

    def sweep(self, now: float) -> None:
        """Drop those that ended a while ago."""
        for flow in [flow for flow in self._by_number.values() if flow.ended is not None]:
            if now - (flow.ended or 0.0) > LINGER:
                self.drop(flow)
