"""A way out that lets pass only what --egress allows: a TUN device, and a process of ours that reads its packets.

The container has no other way out: whatever it sends arrives in that process, which stands outside, in the caller's own
namespaces (rootless/runtime/egress.py). Nothing in the container can change that, not even with CAP_NET_ADMIN.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from collections.abc import Sequence
from functools import partial

from .. import child, room
from ..container.network import Connected, Endpoint
from ..errors import RootlessError
from ..kernel import namespaces as ns
from ..kernel import tun
from ..kernel.netlink import Netlink
from . import addresses
from .helper import Process, Starting
from .setup import Ask, Place

NAME = "egress"

PLACES = TUN, LISTENER, READY = 3, 4, 5
"""The descriptors that the process is started with."""

MTU = 65520
"""Bytes of a packet: the fewer there are, the less each costs us."""

BACKLOG = 256


class Egress:
    """A container's own filter.

    Args:
        interface: what the way out is called inside.
    """

    def __init__(self, ask: Ask, interface: str = "eth0") -> None:
        self.ask, self.interface = ask, interface
        self.own = addresses.own(ask.record.spec.net)
        self.helpers: list[Process] = []
        self.warnings: tuple[str, ...] = ()
        self._tun = self._listener = -1
        self._starting: Starting | None = None

    def prepare(self) -> None:
        """Nothing of the machine's is taken."""

    def attach(self, place: Place, *, fork: bool = True) -> None:
        """Make the device, and start the process. What the container sends before that is ready waits in the device.

        Raises:
            RootlessError: there is no /dev/net/tun.
        """
        if not fork:
            raise RootlessError("a filter is made at the container's start only")
        try:
            self._tun, self._listener = child.descriptors(partial(self._make, place), "a process in the container")
        except OSError as problem:
            raise RootlessError(
                f"--egress needs a TUN device, and there is none: {problem.strerror}",
                hint=f"{tun.PATH} must be there and writable: an administrator can run: modprobe tun",
            ) from problem
        self._start()

    def _make(self, place: Place) -> list[int]:
        """In a child: the device with its address and the default route, and a socket on which connections arrive."""
        room.inhabit(place.room)
        ns.setns(place.namespaces["net"], ns.CLONE_NEWNET)
        from ipaddress import ip_interface, ip_network

        device = tun.create(self.interface)
        address = ip_interface(f"{self.own.ip}/{self.own.prefix}")
        with Netlink() as netlink:
            link = netlink.link(self.interface)
            assert link is not None, "it has just been made"
            netlink.set_mtu(link.index, MTU)
            netlink.add_address(link.index, address)
            netlink.set_up(link.index)
            netlink.add_route(ip_network("0.0.0.0/0"), link.index)
        listener = socket.create_server((self.own.ip, 0), backlog=BACKLOG)
        return [device, listener.detach()]

    def _start(self) -> Starting:
        descriptors = self._tun, self._listener
        self._starting = Starting(NAME, lambda ready, _: _spawn(self.ask, descriptors, ready))
        self.helpers = [self._starting.process]
        return self._starting

    def settle(self) -> Connected:
        """Nothing is waited for."""
        own = self.own
        endpoint = Endpoint(network=NAME, interface=self.interface, ip=own.ip, prefix=own.prefix)
        return Connected(endpoints=(endpoint,))

    def nameservers(self, wanted: Sequence[str], host: Sequence[str]) -> Sequence[str]:
        """Our own alone."""
        return (addresses.RESOLVER,)

    def repair(self, helper: Process) -> Starting:
        """Another process for the same device. The connections are lost."""
        self._end()
        return self._start()

    def detach(self) -> None:
        """Kill the process; the device goes with the last descriptor."""
        self._end()
        for fd in self._tun, self._listener:
            if fd >= 0:
                os.close(fd)
        self._tun = self._listener = -1

    def _end(self) -> None:
        if self._starting is not None:
            self._starting.close()
            self._starting = None
        for helper in self.helpers:
            helper.end()
        self.helpers = []


def _spawn(ask: Ask, descriptors: tuple[int, int], ready: int) -> int:
    """The process. Its own troubles go to standard error, which is the monitor's.

    By posix_spawn(3), which is safe beside other threads; and by this very thread, whose end is the process's
    (PR_SET_PDEATHSIG).
    """
    words = [sys.executable, "-m", "rootless.runtime.egress", str(os.getpid())]
    words += [str(ask.paths.store), str(ask.paths.run), ask.record.id]
    copies: list[int] = []
    try:
        # Out of the way of each other first.
        copies.extend(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, READY + 1) for fd in (*descriptors, ready))
        actions = [(os.POSIX_SPAWN_DUP2, fd, place) for fd, place in zip(copies, PLACES, strict=True)]
        return os.posix_spawn(sys.executable, words, os.environ, file_actions=actions)
    finally:
        for fd in copies:
            os.close(fd)
