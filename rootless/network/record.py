"""What stands on disk of a network: networks/<name>.json (what it is) and networks/<name>.leases (who is on it)."""

from __future__ import annotations

import ipaddress

import msgspec

from ..errors import StoreError
from ..kernel import process
from ..kernel.netlink import IPAddress, IPNetwork

MTU_OPTIONS = ("com.docker.network.driver.mtu", "mtu")
ICC_OPTION = "com.docker.network.bridge.enable_icc"


class Subnet(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One range of addresses of a network.

    Attributes:
        subnet: in CIDR notation.
        gateway: the bridge's own address in it, where the network's DNS server listens.
        ip_range: the part of it that containers get addresses of; empty for all of it.
        aux: addresses that no container gets, by what they are for.
        chosen: the caller named it. Only in such a subnet a container may ask for an address of its own.
    """

    subnet: str
    gateway: str
    ip_range: str = ""
    aux: dict[str, str] = {}
    chosen: bool = False

    @property
    def network(self) -> IPNetwork:
        return ipaddress.ip_network(self.subnet)

    @property
    def within(self) -> IPNetwork | None:
        return ipaddress.ip_network(self.ip_range) if self.ip_range else None

    @property
    def reserved(self) -> frozenset[IPAddress]:
        """What no container gets: the gateway and the auxiliary addresses."""
        return frozenset(ipaddress.ip_address(text) for text in (self.gateway, *self.aux.values()))


class Network(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """networks/<name>.json.

    Attributes:
        id: 64 hexadecimal digits.
        created: RFC 3339, UTC, nanoseconds.
        internal: it reaches nothing outside.
        attachable: Docker's swarm would let containers in; here it is only shown.
        options: of the driver, as given (definition.py knows which there are).
    """

    id: str
    name: str
    created: str
    subnets: tuple[Subnet, ...]
    driver: str = "bridge"
    internal: bool = False
    ipv6: bool = False
    attachable: bool = False
    labels: dict[str, str] = {}
    options: dict[str, str] = {}

    @property
    def bridge(self) -> str:
        """The name of its bridge, in the namespace where the bridges are: Docker's."""
        return f"br-{self.id[:12]}"

    @property
    def mtu(self) -> int:
        """Bytes a packet; 0 for the kernel's default."""
        return int(next((self.options[name] for name in MTU_OPTIONS if name in self.options), 0))

    @property
    def isolated(self) -> bool:
        """Its containers don't reach each other."""
        return self.options.get(ICC_OPTION, "true") in FALSE

    def subnet_of(self, version: int) -> Subnet | None:
        """The first subnet of this version of IP."""
        return next((s for s in self.subnets if s.network.version == version), None)


FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


class Lease(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A container's place on a network, from its start to its end.

    Attributes:
        container, endpoint: 64 hexadecimal digits each.
        interface: its name in the container, such as `eth0`.
        ipv4, ipv6: addresses; empty for none.
        mac: six bytes in hexadecimal, with colons.
        aliases: further names, as given.
        monitor, monitor_started, boot_id, machine_id: whose lease it is: with the end of this process it is void.
    """

    container: str
    endpoint: str
    interface: str
    ipv4: str = ""
    ipv6: str = ""
    mac: str = ""
    aliases: tuple[str, ...] = ()
    monitor: int = 0
    monitor_started: int = 0
    boot_id: str = ""
    machine_id: str = ""

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(address for address in (self.ipv4, self.ipv6) if address)

    def is_void(self) -> bool:
        """Whether the container's monitor is dead. Another machine's can't be judged from here, and is none."""
        if self.machine_id != process.machine_id():
            return False
        if self.boot_id != process.boot_id():
            return True
        return not process.is_running(self.monitor, self.monitor_started)


def decode_network(data: bytes, path: str) -> Network:
    """A network's document, checked.

    Raises:
        StoreError: not JSON, a field missing or of another type, or an address that is none.
    """
    try:
        network = msgspec.json.decode(data, type=Network)
        for subnet in network.subnets:
            if not subnet.reserved or subnet.network.num_addresses < 4:
                raise ValueError(subnet.subnet)
        if network.mtu < 0:
            raise ValueError(network.mtu)
    except (msgspec.MsgspecError, ValueError) as problem:
        raise StoreError(f"{path} is damaged ({problem})", hint="remove it, and make the network anew") from problem
    return network


def decode_leases(data: bytes) -> list[tuple[Lease, msgspec.Raw]]:
    """The leases of a network, each with its text. None of a torn file, which a power cut may leave: no lease outlives
    a boot."""
    try:
        raws = msgspec.json.decode(data, type=list[msgspec.Raw])
        return [(msgspec.json.decode(raw, type=Lease), raw) for raw in raws]
    except msgspec.MsgspecError:
        return []
