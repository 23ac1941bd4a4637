"""Which address a container gets on a network, from its start to its end."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import count

from ..container.network import Wish
from ..errors import ConflictError, InvalidError
from ..kernel import process
from ..kernel.netlink import IPAddress
from . import ipam
from .record import Lease, Network, Subnet
from .store import Networks
from .switch import Plug


@dataclass(frozen=True)
class Tenant:
    """Who leases: a container, and the process with whose end its leases are void: its monitor."""

    container: str
    monitor: int
    started: int

    @classmethod
    def own(cls, container: str) -> Tenant:
        """A container that the calling process is the monitor of."""
        return cls(container, os.getpid(), process.start_time(os.getpid()))


def take(networks: Networks, tenant: Tenant, wishes: Iterable[Wish], *, interfaces: Collection[str] = ()) -> list[Plug]:
    """Lease a place on each of these networks: on all or on none.

    Args:
        interfaces: names of interfaces that the container has already.

    Raises:
        NotFoundError: there is no such network.
        ConflictError: no address is left, or the one asked for is another's.
        InvalidError: the address asked for is none of the network's.
    """
    plugs: list[Plug] = []
    names = (name for name in map("eth{}".format, count()) if name not in interfaces)
    with networks.lock():
        for wish in wishes:
            network = networks.load(wish.name)
            plugs.append(Plug(network, _lease(networks, network, wish, tenant, next(names))))
        for plug in plugs:
            networks.put_lease(plug.network.name, plug.lease)
            networks.emit("connect", plug.network, container=tenant.container)
    return plugs


def drop(networks: Networks, container_id: str, names: Iterable[str]) -> None:
    """Give back what a container has on these networks; where it has nothing, nothing is done."""
    with networks.lock():
        for name in names:
            if any(lease.container == container_id for lease in networks.leases(name)):
                networks.drop_lease(name, container_id)
                networks.emit("disconnect", networks.load(name), container=container_id)


def drop_all(networks: Networks, container_id: str) -> None:
    """Give back what a container has on any network."""
    drop(networks, container_id, networks.names())


def _lease(networks: Networks, network: Network, wish: Wish, tenant: Tenant, interface: str) -> Lease:
    living = networks.leases(network.name)
    if any(lease.container == tenant.container for lease in living):
        name = networks.container_name(next(lease for lease in living if lease.container == tenant.container))
        raise ConflictError(f"endpoint with name {name} already exists in network {network.name}")
    taken = {
        ipaddress.ip_address(address): networks.container_name(lease) for lease in living for address in lease.addresses
    }
    wanted = {4: wish.ip, 6: wish.ip6}
    for version, text in wanted.items():
        if text and network.subnet_of(version) is None:
            raise InvalidError(f"no configured subnet contains IP address {text}")
    found = {s.network.version: str(_address(s, wanted[s.network.version], taken)) for s in _firsts(network)}
    return Lease(
        container=tenant.container,
        endpoint=os.urandom(32).hex(),
        interface=interface,
        ipv4=found.get(4, ""),
        ipv6=found.get(6, ""),
        mac=wish.mac or ipam.hardware_address(ipaddress.ip_address(found[4])).hex(":"),
        aliases=wish.aliases,
        monitor=tenant.monitor,
        monitor_started=tenant.started,
        boot_id=process.boot_id(),
        machine_id=process.machine_id(),
    )


def _firsts(network: Network) -> Iterator[Subnet]:
    """The subnet of each version that addresses come out of."""
    for version in 4, 6:
        if (subnet := network.subnet_of(version)) is not None:
            yield subnet


def _address(subnet: Subnet, wanted: str, taken: dict[IPAddress, str]) -> IPAddress:
    reserved = taken | dict.fromkeys(subnet.reserved, "")
    if not wanted:
        return ipam.next_address(subnet.network, subnet.within, reserved)
    address = ipam.parse_address(wanted, "IP")
    if not subnet.chosen:
        raise InvalidError(
            "user specified IP address is supported only when connecting to networks with user configured subnets",
            hint="make the network with --subnet",
        )
    if not ipam.is_host(address, subnet.network):
        raise InvalidError(f"no configured subnet contains IP address {wanted}", hint=f"there is {subnet.subnet}")
    if address in reserved:
        by = f"by container {reserved[address]}" if reserved[address] else "by the network itself"
        raise ConflictError(f"Address already in use: {wanted} is taken {by}")
    return address
