"""slirp4netns: in the place of pasta where only it is installed, or the machine has no way out (slirp4netns(1)).

It knows IPv4 ports only, and the source address of what arrives by them is its own.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

import msgspec

from ..container.network import Connected, Port
from ..errors import ConflictError, RootlessError, UnavailableError, UsageError
from . import addresses, host, ports, reserve
from .helper import Process, Starting
from .setup import Ask, Place
from .spawn import NET, start

READY_TIMEOUT = 10.0
READY_FD = 3
"""Standard output is no place to say that it is ready: it talks there."""

OPTIONS = {"mtu": "--mtu", "cidr": "--cidr", "outbound_addr": "--outbound-addr"}
"""Options with a value, by podman's names for them."""

SWITCHES = ("allow_host_loopback", "enable_ipv6")


class Slirp:
    """A container's own slirp4netns.

    Args:
        interface: what its interface is called inside.
    """

    def __init__(self, ask: Ask, program: str, options: str = "", interface: str = "eth0") -> None:
        self.interface = interface
        self.ask, self.net, self.program = ask, ask.record.spec.net, program
        self.options = read_options(options)
        self.helpers: list[Process] = []
        self.warnings: tuple[str, ...] = ()
        self._api = str(ask.paths.runtime_of(ask.record.id) / "slirp")
        self._reserved = reserve.Reservation()
        self._starting: Starting | None = None
        self._place: Place | None = None

    def prepare(self) -> None:
        """Find the ports of the host's.

        Raises:
            UnavailableError: what slirp4netns does not offer.
        """
        if self.net.ip or self.net.ip6:
            raise UnavailableError("slirp4netns gives the address itself", hint="--ip is for pasta and named networks")
        wanted = [_of_ipv4(port) for port in ports.wanted(self.net)]
        if wanted and (os.geteuid() == 0 or self.ask.record.spec.userns):
            # It runs as the container's root, who could not open the socket's directory: that is the caller's alone.
            raise UnavailableError("slirp4netns publishes ports only of containers whose root is you", hint="use pasta")
        self._reserved.take(wanted)

    def attach(self, place: Place, *, fork: bool = True) -> None:
        """Start it."""
        self._place = place
        self._start(fork=fork)

    def _start(self, *, fork: bool) -> Starting:
        assert self._place is not None, "attach comes first"
        self._starting = start("slirp4netns", self.command(), self._place, fork=fork, ready_at=READY_FD)
        self.helpers = [self._starting.process]
        return self._starting

    def settle(self) -> Connected:
        """Wait for its interface, and have the ports forwarded."""
        assert self._starting is not None and self._place is not None, "settle comes after attach"
        self._starting.wait(READY_TIMEOUT)
        self._reserved.release()
        found = addresses.read(self._place.pid, "slirp4netns", self.net.mac)
        self._forward(self._nth(100))
        loopback = self.options.get("allow_host_loopback") == "true"
        return Connected(
            endpoints=(found,) if found is not None else (),
            ports=self._reserved.ports,
            host=self._nth(2) if loopback else host.address(),
        )

    def nameservers(self, wanted: Sequence[str], host: Sequence[str]) -> Sequence[str]:
        """The host's; its own, which asks the host's, where one of those is on the host's loopback."""
        if wanted:
            return wanted
        if host and not any(addresses.is_loopback(server) for server in host):
            return host
        return [self._nth(3)]

    def _nth(self, number: int) -> str:
        """An address of its network: 2 is the machine's, 3 a name server's, 100 the container's."""
        from ipaddress import ip_interface

        return str(ip_interface(self.options.get("cidr", "10.0.2.0/24")).network[number])

    def repair(self, helper: Process) -> None:
        """What it forwarded went with it, and can't be asked for again under trio: the network stays down."""

    def detach(self) -> None:
        """Kill it; its tap device goes with it."""
        self._reserved.release()
        if self._starting is not None:
            self._starting.close()
            self._starting = None
        for helper in self.helpers:
            helper.end()
        self.helpers = []

    def command(self) -> list[str]:
        """Its command line, with what podman makes its defaults: no way to the host's loopback, and its own sandbox."""
        words = [self.program, "--configure", f"--ready-fd={READY_FD}", "--netns-type=path"]
        words += ["--enable-sandbox", "--enable-seccomp"]
        if self.options.get("allow_host_loopback") != "true":
            words.append("--disable-host-loopback")
        if self.options.get("enable_ipv6") == "true":
            words.append("--enable-ipv6")
        words += [f"{OPTIONS[name]}={value}" for name, value in self.options.items() if name in OPTIONS]
        if "mtu" not in self.options:
            words.append("--mtu=65520")
        if self.net.mac:
            words.append(f"--macaddress={self.net.mac}")
        if self._reserved.ports:
            words.append(f"--api-socket={self._api}")
        return [*words, NET, self.interface]

    def _forward(self, address: str) -> None:
        for port in self._reserved.ports:
            answer = self._ask(port, address)
            if "error" in answer:
                where = ports.joined(port.address, port.host)
                raise ConflictError(f"Bind for {where} failed: {answer['error'].get('desc', 'refused')}")

    def _ask(self, port: Port, address: str) -> dict[str, dict[str, str]]:
        """One request over its socket; the answer ends the connection."""
        arguments = {
            "proto": port.protocol,
            "host_addr": port.address,
            "host_port": port.host,
            "guest_addr": address,
            "guest_port": port.container,
        }
        request = msgspec.json.encode({"execute": "add_hostfwd", "arguments": arguments})
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(READY_TIMEOUT)
                connection.connect(self._api)
                connection.sendall(request)
                connection.shutdown(socket.SHUT_WR)
                return msgspec.json.decode(_all(connection), type=dict)
        except (OSError, msgspec.MsgspecError) as problem:
            raise RootlessError(f"slirp4netns does not forward port {port.host}: {problem}") from problem


def read_options(text: str) -> dict[str, str]:
    """podman's `name=value,...`.

    Raises:
        UsageError: there is no such option.
    """
    options = dict(word.partition("=")[::2] for word in text.split(",") if word)
    for name, value in options.items():
        if name not in OPTIONS and not (name in SWITCHES and value in ("true", "false")):
            known = ", ".join((*OPTIONS, *(f"{name}=true|false" for name in SWITCHES)))
            raise UsageError(f"invalid slirp4netns_options {name}={value}", hint=f"there are: {known}")
    return options


def _of_ipv4(port: Port) -> Port:
    if ":" in port.address:
        raise UnavailableError(f"slirp4netns publishes no ports on IPv6: {port.address}", hint="use pasta")
    return msgspec.structs.replace(port, address=port.address or "0.0.0.0")


def _all(connection: socket.socket) -> bytes:
    chunks = []
    while chunk := connection.recv(4096):
        chunks.append(chunk)
    return b"".join(chunks)
