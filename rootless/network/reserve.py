"""The host's ports that a container wants: free ones found, taken ones told, and kept until somebody listens there."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ..container.network import Port
from ..errors import ConflictError, NotFoundError, RootlessError, UnavailableError

ATTEMPTS = 20
"""How often a free port is looked for that is free in every address family."""

PATIENCE = 0.3
"""Seconds after which a port counts as taken: a killed pasta has its ports until the kernel has removed its tap."""

START = "/proc/sys/net/ipv4/ip_unprivileged_port_start"


class Reservation:
    """Ports bound by this process, for a program that sets SO_REUSEADDR and will listen on them.

    Attributes:
        ports: with the host's ports as they are.
    """

    def __init__(self) -> None:
        self.ports: tuple[Port, ...] = ()
        self._sockets: list[socket.socket] = []

    def take(self, wanted: Iterable[Port]) -> None:
        """Bind the host's ports.

        Raises:
            ConflictError: one is taken.
            UnavailableError: one is below those that an unprivileged user may use.
            NotFoundError: the machine has no such address.
        """
        deadline = time.monotonic() + PATIENCE
        self.ports = tuple(self._bind_patiently(port, deadline) for port in wanted)

    def release(self) -> None:
        """Let go of them."""
        for held in self._sockets:
            held.close()
        self._sockets = []

    def _bind_patiently(self, port: Port, deadline: float) -> Port:
        """As `_bind`, and again as long as the pasta of a container that has just ended may still have it."""
        while True:
            try:
                return self._bind(port)
            except ConflictError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _bind(self, port: Port) -> Port:
        if port.host_end:
            return self._bind_any(
                msgspec.structs.replace(port, host=n, host_end=0) for n in range(port.host, port.host_end + 1)
            )
        if port.host:
            return self._bind_families(port)
        # The kernel's choice may be taken by somebody in this moment, or be free in one address family only.
        return self._bind_any(msgspec.structs.replace(port, host=_any_port(port)) for _ in range(ATTEMPTS))

    def _bind_any(self, choices: Iterable[Port]) -> Port:
        """The first of them that is free."""
        for port in choices:
            try:
                return self._bind_families(port)
            except ConflictError as problem:
                last = problem
        raise last

    def _bind_families(self, port: Port) -> Port:
        bound = []
        for family in _families(port.address):
            try:
                bound.append(_bound(port, family))
            except OSError as problem:
                if problem.errno == errno.EAFNOSUPPORT and family == socket.AF_INET6 and not port.address:
                    continue  # a kernel without IPv6
                for held in bound:
                    held.close()
                raise _failure(port, problem) from problem
        self._sockets += bound
        return port


def _families(address: str) -> tuple[socket.AddressFamily, ...]:
    if not address:
        return socket.AF_INET, socket.AF_INET6
    return (socket.AF_INET6,) if ":" in address else (socket.AF_INET,)


def _bound(port: Port, family: socket.AddressFamily) -> socket.socket:
    kind = socket.SOCK_DGRAM if port.protocol == "udp" else socket.SOCK_STREAM
    sock = socket.socket(family, kind | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # those in TIME_WAIT are not in the way
        sock.bind((port.address or ("::" if family == socket.AF_INET6 else "0.0.0.0"), port.host))
        # Of datagrams it would let two programs have one port: only now, for the one this is kept for.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except OSError:
        sock.close()
        raise
    return sock


def _any_port(port: Port) -> int:
    with _bound(msgspec.structs.replace(port, host=0), _families(port.address)[0]) as sock:
        number: int = sock.getsockname()[1]
        return number


def _failure(port: Port, problem: OSError) -> RootlessError:
    address = f"[{port.address}]" if ":" in port.address else port.address or "0.0.0.0"
    what = f"Bind for {address}:{port.host} failed"
    match problem.errno:
        case errno.EADDRINUSE:
            kind = "-lunp" if port.protocol == "udp" else "-ltnp"
            return ConflictError(
                f"{what}: port is already allocated",
                hint=f"`ss {kind}` shows by whom; or let -p {port.container} choose one",
            )
        case errno.EACCES:
            first = Path(START).read_text().strip()
            return UnavailableError(
                f"{what}: ports below {first} are not for unprivileged users here",
                hint=f"take one from {first} up, or an administrator can run: "
                f"sysctl net.ipv4.ip_unprivileged_port_start={port.host}",
            )
        case errno.EADDRNOTAVAIL:
            return NotFoundError(f"{what}: this machine has no such address", hint="`ip address` shows which it has")
        case _:
            return RootlessError(f"{what}: {(problem.strerror or '').lower()}")
