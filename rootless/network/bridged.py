"""A container on named networks: an interface on each one's bridge, beside its own way out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import msgspec

from ..child import Child
from ..container.network import Connected, Endpoint
from ..errors import ConflictError, RootlessError
from . import leases, ports, switch
from .helper import Process, Starting
from .holding import Holding
from .setup import Ask, Network, Place, Unconnected
from .store import Networks
from .switch import Plug


class Bridged:
    """The networks of one run of a container.

    Args:
        way_out: pasta or its like, which is the container's default route; `Unconnected` on internal networks.
        holding: where the monitor keeps what it holds for them.
    """

    def __init__(self, ask: Ask, way_out: Network, holding: Holding) -> None:
        self.ask, self.way_out, self.holding = ask, way_out, holding
        self.networks = Networks(ask.paths)
        self.plugs: list[Plug] = []
        self._plugging: Child[None] | None = None
        self._place: Place | None = None

    def prepare(self) -> None:
        """Lease the addresses."""
        record = self.ask.record
        if record.spec.net.egress and isinstance(self.way_out, Unconnected):
            names = ", ".join(wish.name for wish in record.spec.net.networks)
            raise ConflictError(
                f"--egress on a network that leads nowhere: {names}",
                hint="a network made without --internal has a way out",
            )
        self.plugs = leases.take(self.networks, leases.Tenant.own(record.id), record.spec.net.networks)
        self.way_out.prepare()

    def attach(self, place: Place, *, fork: bool = True) -> None:
        """Begin to make the interfaces; see that somebody answers for names."""
        self._place = place
        self.holding.take(place.room)
        confined = bool(self.ask.record.spec.net.egress)
        self._plugging = switch.plug(
            place.room, self.holding.switch, place.namespaces["net"], self.plugs, confined=confined
        )
        self.way_out.attach(place)

    def settle(self) -> Connected:
        """Wait for all of it."""
        assert self._plugging is not None, "settle comes after attach"
        plugging, self._plugging = self._plugging, None
        try:
            plugging.result()
        except OSError as problem:
            raise RootlessError(f"the container's interfaces could not be made: {problem}") from problem
        connected = self.way_out.settle()
        return msgspec.structs.replace(connected, endpoints=tuple(map(endpoint, self.plugs)))

    def nameservers(self, wanted: Sequence[str], host: Sequence[str]) -> Sequence[str]:
        """The networks' own, at the bridges' addresses; it knows what --dns says, and the machine's. With --egress the
        filter's, which knows the networks, too."""
        if self.ask.record.spec.net.egress and not isinstance(self.way_out, Unconnected):
            return self.way_out.nameservers(wanted, host)
        networks = [self.networks.load(wish.name) for wish in self.ask.record.spec.net.networks]
        return [network.subnets[0].gateway for network in networks]

    @property
    def helpers(self) -> Sequence[Process]:
        return self.way_out.helpers

    def repair(self, helper: Process) -> Starting | None:
        return self.way_out.repair(helper)

    def change_way_out(self, wanted: Network) -> Connected | None:
        """While it runs: another way out, if the one it has is not of this kind; as much of how it is connected as is
        about that, or None. Does not fork. When it fails, there is none.

        Raises:
            RootlessError: it failed.
        """
        if isinstance(wanted, Unconnected) == isinstance(self.way_out, Unconnected):
            return None
        assert self._place is not None, "it runs"
        self.way_out.detach()
        self.way_out = Unconnected()
        try:
            wanted.prepare()
            wanted.attach(self._place, fork=False)
            connected = wanted.settle()  # some ten milliseconds, in which the monitor does nothing else
        except BaseException:
            wanted.detach()
            raise
        self.way_out = wanted
        return connected

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was asked for and does not hold."""
        net = self.ask.record.spec.net
        if isinstance(self.way_out, Unconnected) and ports.wanted(net):
            return ("published ports are discarded: the container is on networks that lead nowhere",)
        return ()

    def detach(self) -> None:
        """Give the addresses back. The interfaces go with the container's namespace, the bridges with the switch."""
        if self._plugging is not None:
            with suppress(OSError, RootlessError):
                self._plugging.result()
            self._plugging = None
        self.way_out.detach()
        with suppress(OSError, RootlessError):  # a full disk: the end of this process voids them as well
            leases.drop(self.networks, self.ask.record.id, [plug.network.name for plug in self.plugs])
        self.plugs = []


def endpoint(plug: Plug) -> Endpoint:
    """A container's place on a network, as its state has it."""
    network, lease = plug.network, plug.lease
    four, six = network.subnet_of(4), network.subnet_of(6)
    return Endpoint(
        network=network.name,
        interface=lease.interface,
        ip=lease.ipv4,
        prefix=four.network.prefixlen if four else 0,
        gateway=four.gateway if four else "",
        ip6=lease.ipv6,
        prefix6=six.network.prefixlen if six else 0,
        gateway6=six.gateway if six else "",
        mac=lease.mac,
        aliases=lease.aliases,
    )
