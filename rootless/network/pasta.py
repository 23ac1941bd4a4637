"""pasta: a process that speaks Ethernet with the container through a tap device, and sockets with the host (passt(1)).

It runs as the caller, outside the container's other namespaces: the caller (for real root: the room's root) owns the
container's user namespace, and so may enter it and the network namespace within. It keeps no right but there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress

from ..container.network import Connected, Port
from ..errors import RootlessError
from . import addresses, host, ports, reserve, resolv
from .helper import Process, Starting
from .setup import Ask, Place
from .spawn import NET, READY, start

READY_TIMEOUT = 10.0
"""Seconds for which pasta may take to set up its interface; some milliseconds are usual."""

FORWARD = "169.254.1.1"
"""Queries to this address go to the machine's first nameserver, be it on its loopback (--dns-forward); as in podman."""

MAP_GATEWAY = "--map-gw"
"""Not pasta's option but podman's: the gateway's address shall lead to the host's loopback."""

VALUED = {
    "-a": "--address",
    "-n": "--netmask",
    "-g": "--gateway",
    "-I": "--ns-ifname",
    "-T": "--tcp-ns",
    "-U": "--udp-ns",
    "-D": "--dns",
}
"""Short forms of options for which there is a default here that gives way."""


class Pasta:
    """A container's own pasta."""

    def __init__(self, ask: Ask, program: str, options: str = "") -> None:
        self.ask, self.net, self.program = ask, ask.record.spec.net, program
        self.options = [word for word in options.split(",") if word]
        self.helpers: list[Process] = []
        self.warnings: tuple[str, ...] = ()
        self._reserved = reserve.Reservation()
        self._starting: Starting | None = None
        self._place: Place | None = None

    def prepare(self) -> None:
        """Find the ports of the host's, and keep them from others until pasta has them."""
        self._reserved.take(ports.wanted(self.net))

    def attach(self, place: Place, *, fork: bool = True) -> None:
        """Start pasta."""
        self._place = place
        self._start(fork=fork)

    def _start(self, *, fork: bool) -> Starting:
        assert self._place is not None, "attach comes first"
        self._starting = start("pasta", self.command(), self._place, fork=fork)
        self.helpers = [self._starting.process]
        return self._starting

    def settle(self) -> Connected:
        """Wait for its interface."""
        assert self._starting is not None and self._place is not None, "settle comes after attach"
        try:
            self._starting.wait(READY_TIMEOUT)
        except RootlessError as problem:
            raise RootlessError(problem.message, hint=_hint(problem.message)) from problem
        self._reserved.release()
        mac = self.net.mac or (addresses.own(self.net).mac if "--ns-mac-addr" in self.command() else "")
        found = addresses.read(self._place.pid, "pasta", mac)
        return Connected(
            endpoints=(found,) if found is not None else (),
            ports=self._reserved.ports,
            host=self._gateway() if MAP_GATEWAY in self.options else host.address(),
        )

    def nameservers(self, wanted: Sequence[str], host: Sequence[str]) -> Sequence[str]:
        """The host's, with one address in the place of those on its loopback."""
        if wanted:
            return wanted
        if not self._forwards(host):
            return host
        # Answers of the first one come as the forwarder's (passt of 2023), whoever was asked.
        return [FORWARD, *(server for server in host[1:] if not addresses.is_loopback(server))]

    def _forwards(self, host: Sequence[str]) -> bool:
        return not host or any(addresses.is_loopback(server) for server in host)

    def repair(self, helper: Process) -> Starting:
        """Another pasta for the same ports. With the old one its interface went, and all connections."""
        self._end()
        return self._start(fork=False)

    def detach(self) -> None:
        """Kill pasta; its tap device goes with it."""
        self._reserved.release()
        self._end()

    def _end(self) -> None:
        if self._starting is not None:
            self._starting.close()
            self._starting = None
        for helper in self.helpers:
            helper.end()
        self.helpers = []

    # --- its command line ----------------------------------------------------------------------------------------

    def command(self) -> list[str]:
        """pasta's command line. When all is set up it writes its pid, which is how it says that it is ready."""
        words = [self.program, "--foreground", "--quiet", "--config-net", "--netns", NET, "--pid", READY]
        given = set(self._given())
        for option, value in self._defaults():
            if option not in given:
                words += [option, value] if value else [option]
        for protocol, option in ("tcp", "--tcp-ports"), ("udp", "--udp-ports"):
            specs = [_forward(port) for port in self._reserved.ports if port.protocol == protocol]
            for spec in specs or ([] if option in given else ["none"]):
                words += [option, spec]
        return words + [word for word in self.options if word != MAP_GATEWAY]

    def _given(self) -> Iterable[str]:
        """The long names of the options that the user gave."""
        for word in self.options:
            name = word.partition("=")[0]
            yield VALUED.get(name, {"-t": "--tcp-ports", "-u": "--udp-ports"}.get(name, name))

    def _defaults(self) -> Iterable[tuple[str, str]]:
        yield "--ns-ifname", "eth0"
        # Without these whatever listens on the loopback of one side would be there on the other's.
        yield "--tcp-ns", "none"
        yield "--udp-ns", "none"
        if MAP_GATEWAY not in self.options:
            yield "--no-map-gw", ""
        given = set(self._given())
        if not given & {"--address", "--netmask", "--gateway"}:
            own = addresses.own(self.net)
            # Addresses of the container's own, not copies of the host's: these can be reached from inside then.
            yield "--address", own.ip
            yield "--netmask", str(own.prefix)
            yield "--gateway", own.gateway
            if host.has_ipv6():
                yield "--address", own.ip6
                yield "--gateway", own.gateway6
            yield "--ns-mac-addr", own.mac
        if self._forwards(resolv.host().nameservers):
            yield "--dns-forward", FORWARD

    def _gateway(self) -> str:
        return addresses.own(self.net).gateway


def _forward(port: Port) -> str:
    target = f"{port.host}:{port.container}"
    return f"{port.address}/{target}" if port.address else target


def _hint(message: str) -> str:
    if "routable interface" in message or "External interface" in message:
        return "this machine has no route to the outside: --network none works without one"
    with suppress(OSError):
        if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            return "/dev/net/tun must be there and writable: an administrator can run: modprobe tun"
    return "--network none starts the container without it"
