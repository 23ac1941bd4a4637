"""The seam between a container's start and its network: what the monitor asks of each way to be connected.

    prepare ──▶ attach ──▶ settle ──▶ (repair) ──▶ detach

All of it happens in the container's monitor. `attach` only begins: meanwhile PID 1 mounts its file systems; `settle`
waits for the rest, and then the command is executed. After the start the monitor watches the `helpers`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from ..container.network import Connected
from ..container.record import Record
from ..idmap import IdMap
from ..paths import Paths
from .helper import Process, Starting


class Place(msgspec.Struct, frozen=True):
    """Where a network is to be set up: a container between clone(2) and execve(2), with nothing but lo.

    Attributes:
        pid: PID 1, a child of the caller that is not reaped; so /proc/PID/net is about it for sure. Its /proc/PID/ns is
            closed to everybody: it is undumpable.
        namespaces: the caller's descriptors on its namespaces, by their names under /proc/PID/ns. The caller owns them:
            in a forked child setns(2) into `user`, then `net`, succeeds (real root enters the room first).
        room: a descriptor on the room (room.enter), the parent of the container's user namespace.
    """

    pid: int
    namespaces: Mapping[str, int]
    room: int


class Ask(msgspec.Struct, frozen=True):
    """For whom a network is made."""

    paths: Paths
    record: Record
    idmap: IdMap


class Network(Protocol):
    """How one container is connected during one run."""

    def prepare(self) -> None:
        """Take what is needed from the machine (ports, addresses), before anything of the container is there.

        Raises:
            RootlessError: it can't be had. `detach` is called after this as well.
        """

    def attach(self, place: Place, *, fork: bool = True) -> None:
        """Begin, without waiting for anything that takes time.

        Args:
            fork: whether it may fork; without, trio is running.

        Raises:
            RootlessError: it failed at once.
        """

    def settle(self) -> Connected:
        """Wait until the network can be used; how the container is connected (without `helpers`).

        Raises:
            RootlessError: it can't; the container is not started then.
        """

    def nameservers(self, wanted: Sequence[str], host: Sequence[str]) -> Sequence[str]:
        """What shall stand in /etc/resolv.conf; called after `settle`.

        Args:
            wanted: what --dns says; host: the machine's own nameservers, loopback addresses included.
        """

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was asked for and does not hold, each a line; after `settle`."""

    @property
    def helpers(self) -> Sequence[Process]:
        """Whose end means that the network is down."""

    def repair(self, helper: Process) -> Starting | None:
        """Start a helper anew that has ended; None when the network stays down. Must not fork: trio is running.

        From then on the new one stands in `helpers` in its place, whether or not it comes to something.

        Raises:
            OSError, RootlessError: none could be started, and there is none then. It may be tried again.
        """

    def detach(self) -> None:
        """End the helpers, and give everything back. May be called at any time, and again; must not fork (trio may be
        running), does not wait and does not fail."""


class Unconnected:
    """No network of one's own making: `none`, `host`, and `container:NAME`."""

    helpers: Sequence[Process] = ()
    warnings: tuple[str, ...] = ()

    def prepare(self) -> None:
        pass

    def attach(self, place: Place, *, fork: bool = True) -> None:
        pass

    def settle(self) -> Connected:
        return Connected()

    def nameservers(self, wanted: Sequence[str], host: Sequence[str]) -> Sequence[str]:
        return wanted or host

    def repair(self, helper: Process) -> Starting | None:
        return None

    def detach(self) -> None:
        pass
