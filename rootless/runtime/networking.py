"""What the monitor does about a container's network: before its start, while it runs, and after its end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..container.container import Container
from ..container.network import Connected, Helper
from ..errors import RootlessError, StoreError
from ..idmap import IdMap
from ..kernel import process
from ..network import choice, hosts, resolv
from ..network.helper import Process
from ..network.setup import Ask, Network, Place

if TYPE_CHECKING:
    from ..network.holding import Holding


class Networking:
    """The network of one run of a container; the `Company` of its start.

    Attributes:
        connected: how the container is connected, once it has been started.
    """

    def __init__(self, container: Container, idmap: IdMap, room: int) -> None:
        self.container = container
        self.room = room
        self.idmap = idmap
        named = bool(container.spec.net.networks)
        self.network = choice.network(Ask(container.paths, container.record, idmap), self.holding if named else None)
        self.connected = Connected()

    @cached_property
    def holding(self) -> Holding:
        """What is held for named networks. Made, and imported, when the container gets on one."""
        from ..network.holding import Holding

        return Holding(self.container.paths, self.idmap)

    @property
    def is_named(self) -> bool:
        """Whether the container is on a named network, or was."""
        return "holding" in self.__dict__

    def prepare(self) -> None:
        """Take what the network needs of the machine. As `Network.prepare`."""
        self.network.prepare()

    def cloned(self, pid: int, namespaces: Mapping[str, int]) -> None:
        """Begin to connect it, while PID 1 mounts its file systems."""
        self.network.attach(Place(pid, namespaces, self.room))

    def prepared(self) -> None:
        """Wait for the network, and write the files that tell of it. They are bound in the container already."""
        connected = self.network.settle()
        self.connected = msgspec.structs.replace(connected, helpers=as_helpers(self.network.helpers))
        write_files(self.container, self.connected, self.network)

    def tell(self, down: str) -> None:
        """A helper ended, for this reason, or was started anew (empty). Does not fail: the container goes on in any
        case."""
        try:
            self.container.emit("network_down" if down else "network_up", **({"reason": down} if down else {}))
            state = self.container.stored_state()
            now = self._now(state.network, down)
            self.container.try_to_write_state(msgspec.structs.replace(state, network=now))
        except (OSError, RootlessError) as problem:  # no descriptor is free, the store can't be read
            with suppress(OSError):
                print(f"rootless: warning: {down or 'the network is up again'}: {problem}", file=sys.stderr, flush=True)

    def rewire(self) -> None:
        """See that a running container whose networks have changed has the way out that these lead to.

        Raises:
            OSError, RootlessError: there is none now, which is told and written down.
        """
        try:
            connected = self._change_way_out()
        except (OSError, RootlessError) as problem:
            self.tell(f"there is no way out: {problem}")
            raise
        state = self.container.stored_state()
        if connected is None and not self.network.helpers:
            connected = self._now(state.network, "")  # nothing is missed any more
        if connected is not None:
            self.container.write_state(msgspec.structs.replace(state, network=connected))

    def _change_way_out(self) -> Connected | None:
        """As `Bridged.change_way_out`."""
        from ..network.bridged import Bridged

        if not isinstance(self.network, Bridged):
            raise RootlessError("it was started on no network")
        self.container.refresh()
        ask = Ask(self.container.paths, self.container.record, self.idmap)
        changed = self.network.change_way_out(choice.way_out(ask))
        if changed is None:
            return None
        before = self.container.stored_state().network or self.connected
        return msgspec.structs.replace(
            before, ports=changed.ports, host=changed.host, helpers=as_helpers(self.network.helpers), down=""
        )

    def _now(self, before: Connected | None, down: str) -> Connected:
        """How the container is connected, after a helper ended or was started anew. Of `before` all else is kept."""
        helpers = () if down else as_helpers(self.network.helpers)
        return msgspec.structs.replace(before or self.connected, down=down, helpers=helpers)

    def detach(self) -> None:
        """Give everything back. As `Network.detach`."""
        self.network.detach()
        if self.is_named:
            from ..network.leases import drop_all
            from ..network.store import Networks

            with suppress(OSError, RootlessError):  # a full disk: the end of this process voids the leases as well
                drop_all(Networks(self.container.paths), self.container.id)
            self.holding.release()


def write_files(container: Container, connected: Connected, network: Network) -> None:
    """/etc/resolv.conf and /etc/hosts, as the container's network has it."""
    spec, host = container.spec, resolv.host()
    if spec.network.startswith("container:"):
        return  # it sees the files of that one
    servers = network.nameservers(spec.net.dns, host.nameservers)
    _write(container.directory / "resolv.conf", resolv.container(host, spec.net, servers).text())
    _write(container.directory / "hosts", hosts.text(spec, connected))


def _write(path: Path, text: str) -> None:
    """Into the file as it stands: another one of the same name would not be the one that is bound."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(fd, "w", errors="replace") as file:
            file.write(text)
    except OSError as problem:
        raise StoreError(f"{path}: {problem.strerror}") from problem


def as_helpers(processes: Iterable[Process]) -> tuple[Helper, ...]:
    """Helper processes as a state names them."""
    return tuple(Helper(p.name, p.pid, process.start_time(p.pid)) for p in processes)
