"""The switch: the one network namespace of a room in which the bridges of its networks stand.

It lives as the room does (holders.py): every monitor of a container on a network holds a descriptor on it. Nothing is
forwarded in it and nothing leads out of it; its interfaces are one bridge a network, and one side of a veth pair for
each container on that. The kernel removes a pair with the container's namespace, and all of it with the switch.

Whoever changes something in it does so in a forked child that enters the room, whose root has every capability over the
switch and over the containers' namespaces: only there both sides of a pair can be reached.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import socket
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .. import child, holders, idmap, room
from ..errors import RootlessError, UnavailableError
from ..idmap import IdMap
from ..kernel import namespaces as ns
from ..kernel.netlink import IPAddress, IPInterface, Link, Netlink
from ..paths import Paths
from . import guard, ipam
from .record import Lease, Network

WHAT = "a process in the networks' namespace"

DNS_PORT = 53


@dataclass(frozen=True)
class Plug:
    """A container's place on a network, as an interface of its own."""

    network: Network
    lease: Lease

    @property
    def port(self) -> str:
        """The name of the bridge's side of the pair."""
        return f"veth{self.lease.endpoint[:7]}"

    @property
    def addresses(self) -> list[IPInterface]:
        return [
            ipaddress.ip_interface(f"{address}/{subnet.network.prefixlen}")
            for version, address in ((4, self.lease.ipv4), (6, self.lease.ipv6))
            if address and (subnet := self.network.subnet_of(version)) is not None
        ]


def tag(room: str) -> str:
    """How the list of its holders is called, where that of the room's is called after the id map."""
    return f"{room}-net"


def open_switch(paths: Paths, ids: IdMap, room_fd: int, *, hold: bool) -> int:
    """A descriptor on the switch of this room, found or made. As `holders.find_or_make`."""
    make, fits = partial(_make, room_fd), partial(_is_of, room_fd)
    return holders.find_or_make(paths.rooms, tag(ids.tag), make, hold=hold, fits=fits)


def find(paths: Paths, ids: IdMap, room_fd: int) -> int | None:
    """A descriptor on the switch of this room, or None when there is none."""
    return holders.find(paths.rooms, tag(ids.tag), partial(_is_of, room_fd))


def _is_of(room_fd: int, switch: int) -> bool:
    """Whether a switch belongs to this room, and not to one before it, whose last process is about to end."""
    owner = ns.owner(switch)
    try:
        return ns.same_namespace(owner, room_fd)
    finally:
        os.close(owner)


def hold(paths: Paths, ids: IdMap, switch: int) -> None:
    """The calling process holds it from now on, by this descriptor."""
    holders.hold(paths.rooms, tag(ids.tag), switch)


def forget(paths: Paths, ids: IdMap) -> None:
    """The calling process holds it no more."""
    holders.forget(paths.rooms, tag(ids.tag))


def _make(room_fd: int) -> int:
    def work() -> list[int]:
        room.inhabit(room_fd)
        ns.unshare(ns.CLONE_NEWNET)
        # A new namespace begins with the machine's own settings of IPv4 (net.core.devconf_inherit_init_net), and a
        # machine that forwards for others is no rarity. Here it would join what shall be apart.
        _set("ipv4/ip_forward", "0")
        _set("ipv4/conf/all/rp_filter", "1")
        _set("ipv4/conf/default/rp_filter", "1")
        with suppress(OSError):  # a kernel without IPv6
            _set("ipv6/conf/all/forwarding", "0")
        with Netlink() as netlink:
            netlink.set_up(1)
        guard.try_to_begin()
        return [os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)]

    return child.descriptors(work, WHAT)[0]


def _set(name: str, value: str) -> None:
    path = Path("/proc/sys/net", name)
    if path.read_text().strip() != value:
        path.write_text(value)


# --- interfaces ------------------------------------------------------------------------------------------------------


def plug(
    room_fd: int, switch: int, container: int, plugs: Sequence[Plug], *, confined: bool = False
) -> child.Child[None]:
    """Begin to give a container an interface on each of these networks.

    Args:
        container: a descriptor on its network namespace.
        confined: it must not get outside by its neighbours' names: UnavailableError where ports can't be guarded.
    """

    def work() -> None:
        room.inhabit(room_fd)
        lock = _alone(switch)
        ns.setns(switch, ns.CLONE_NEWNET)
        if confined and not guard.is_there():
            raise UnavailableError(
                "--egress on a network of containers needs the kernel's packet filters (nf_tables), which are not here",
                hint="it works without --network; or an administrator can run: modprobe nf_tables",
            )
        with Netlink() as netlink:
            for one in plugs:
                _connect(netlink, one, container)
        os.close(lock)
        ns.setns(container, ns.CLONE_NEWNET)
        with Netlink() as netlink:
            for one in plugs:
                _configure(netlink, one)

    return child.Child(work, WHAT)


def _alone(switch: int) -> int:
    """Be the only one who changes the bridges until the descriptor is closed, by this process's end at the latest.

    A lock belongs to an open file: one of this process's own, not the one that its parent goes on to hold.
    """
    lock = os.open(f"/proc/self/fd/{switch}", os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _connect(netlink: Netlink, plug: Plug, container: int) -> None:
    """The bridge, and a pair from it into the container."""
    network, lease = plug.network, plug.lease
    bridge = _bridge(netlink, network)
    address = bytes.fromhex(lease.mac.replace(":", ""))
    netlink.add_veth(plug.port, lease.interface, container, address=address, mtu=network.mtu)
    port = _existing(netlink, plug.port)
    if guard.is_there():
        gateways = [str(subnet.gateway) for subnet in network.subnets if subnet.network.version == 4]
        guard.put(plug.port, lease.ipv4, gateways, [link.name for link in netlink.links()])
    netlink.set_master(port.index, bridge.index)
    if network.isolated:
        netlink.isolate(port.index)
    netlink.set_up(port.index)


def _bridge(netlink: Netlink, network: Network) -> Link:
    """A network's bridge, found or made."""
    found = netlink.link(network.bridge)
    if found is not None and found.up:
        return found
    if found is not None:  # whoever began it was killed
        netlink.delete_link(found.index)
    netlink.add_bridge(network.bridge, ipam.hardware_address(_gateway(network)), mtu=network.mtu)
    made = _existing(netlink, network.bridge)
    for subnet in network.subnets:
        address = ipaddress.ip_interface(f"{subnet.gateway}/{subnet.network.prefixlen}")
        netlink.add_address(made.index, address)
    netlink.set_up(made.index)
    return made


def _gateway(network: Network) -> IPAddress:
    return ipaddress.ip_address(network.subnets[0].gateway)


def _configure(netlink: Netlink, plug: Plug) -> None:
    """In the container's namespace: the addresses of the other side."""
    link = _existing(netlink, plug.lease.interface)
    for address in plug.addresses:
        netlink.add_address(link.index, address)
    netlink.set_up(link.index)
    # Whoever could speak for the bridge's address would answer for every name.
    for subnet in plug.network.subnets:
        gateway = ipaddress.ip_address(subnet.gateway)
        if any(gateway in address.network for address in plug.addresses):
            netlink.add_neighbour(link.index, gateway, ipam.hardware_address(_gateway(plug.network)))


def _existing(netlink: Netlink, name: str) -> Link:
    found = netlink.link(name)
    if found is None:
        raise RootlessError(f"the interface {name} vanished", hint="try again")
    return found


def unplug(room_fd: int, switch: int, port: str) -> None:
    """Remove a port, and with it the container's side of the pair, whatever that is called by now. One that is gone is
    no failure."""

    def work() -> None:
        room.inhabit(room_fd)
        _alone(switch)
        ns.setns(switch, ns.CLONE_NEWNET)
        with Netlink() as netlink:
            if (link := netlink.link(port)) is not None:
                netlink.delete_link(link.index)

    child.call(work, WHAT)


def interfaces(room_fd: int, container: int) -> list[str]:
    """The names of a container's interfaces."""

    def work() -> list[str]:
        room.inhabit(room_fd)
        ns.setns(container, ns.CLONE_NEWNET)
        with Netlink() as netlink:
            return [link.name for link in netlink.links()]

    return child.call(work, WHAT)


def tidy(paths: Paths, known: Iterable[Network]) -> None:
    """Remove the bridges of networks that there are no more, where there is a switch."""
    ids = idmap.detect()
    room_fd = holders.find(paths.rooms, ids.tag)
    if room_fd is None:
        return
    switch = find(paths, ids, room_fd)
    if switch is not None:
        child.call(partial(_tidy, room_fd, switch, {network.bridge for network in known}), WHAT)
        os.close(switch)
    os.close(room_fd)


def _tidy(room_fd: int, switch: int, names: Collection[str]) -> None:
    room.inhabit(room_fd)
    _alone(switch)
    ns.setns(switch, ns.CLONE_NEWNET)
    with Netlink() as netlink:
        for link in netlink.links():
            if link.kind == "bridge" and link.name not in names:
                netlink.delete_link(link.index)


def is_guarded(room_fd: int, switch: int) -> bool:
    """Whether who asks for names in it asks with an address of its own (guard.py)."""

    def work() -> bool:
        room.inhabit(room_fd)
        ns.setns(switch, ns.CLONE_NEWNET)
        return guard.is_there()

    return child.call(work, WHAT)


def listen(room_fd: int, switch: int) -> list[int]:
    """The sockets at which names are asked for, of UDP and of TCP: at every address of the switch."""

    def work() -> list[int]:
        room.inhabit(room_fd)
        ns.setns(switch, ns.CLONE_NEWNET)
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for sock in datagrams, stream:
            sock.bind(("0.0.0.0", DNS_PORT))
        stream.listen(64)
        return [datagrams.detach(), stream.detach()]

    return child.descriptors(work, WHAT)
