"""What the monitor does about a container's network: before its start, while it runs, and after its end."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ..container.container import Container
from ..container.network import Connected
from ..errors import StoreError
from ..idmap import IdMap
from ..network import choice, hosts, resolv
from ..network.setup import Ask, Place


class Networking:
    """The network of one run of a container; the `Company` of its start.

    Attributes:
        connected: how the container is connected, once it has been started.
    """

    def __init__(self, container: Container, idmap: IdMap, room: int) -> None:
        self.container = container
        self.room = room
        self.network = choice.network(Ask(container.paths, container.record, idmap))
        self.connected = Connected()

    def prepare(self) -> None:
        """Take what the network needs of the machine. As `Network.prepare`."""
        self.network.prepare()

    def cloned(self, pid: int, namespaces: Mapping[str, int]) -> None:
        """Begin to connect it, while PID 1 mounts its file systems."""
        self.network.attach(Place(pid, namespaces, self.room))

    def prepared(self) -> None:
        """Wait for the network, and write the files that tell of it. They are bound in the container already."""
        self.connected = self.network.settle()
        spec, host = self.container.spec, resolv.host()
        if spec.network.startswith("container:"):
            return  # it sees the files of that one
        servers = self.network.nameservers(spec.net.dns, host.nameservers)
        self._write("resolv.conf", resolv.container(host, spec.net, servers).text())
        self._write("hosts", hosts.text(spec, self.connected))

    def _write(self, name: str, text: str) -> None:
        """Into the file as it stands: another one of the same name would not be the one that is bound."""
        path: Path = self.container.directory / name
        try:
            fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC)
            with open(fd, "w", errors="replace") as file:
                file.write(text)
        except OSError as problem:
            raise StoreError(f"{path}: {problem.strerror}") from problem

    def detach(self) -> None:
        """Give everything back. As `Network.detach`."""
        self.network.detach()
