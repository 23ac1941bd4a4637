"""What a monitor holds for its container's networks: the switch, and a connection to the name server."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress

from ..idmap import IdMap
from ..paths import Paths
from . import names, switch


class Holding:
    """A descriptor on the switch, by which others find it, and the connection by which the name server knows that it is
    needed. Nothing at first."""

    def __init__(self, paths: Paths, idmap: IdMap) -> None:
        self.paths, self.idmap = paths, idmap
        self.switch = -1
        self.link: socket.socket | None = None

    def take(self, room: int) -> None:
        """Find or make both. Forks."""
        self.switch = switch.open_switch(self.paths, self.idmap, room, hold=True)
        self.link = names.connect(self.paths, self.idmap, room, self.switch)

    def adopt(self, switch_fd: int, link: int) -> None:
        """Hold these, which somebody else has found or made; or nothing more, if it has both already."""
        if self.switch >= 0:
            os.close(switch_fd)
            os.close(link)
            return
        self.switch, self.link = switch_fd, socket.socket(fileno=link)
        switch.hold(self.paths, self.idmap, switch_fd)

    def revival(self) -> list[str]:
        """The command that sees to it that there is a name server."""
        return [sys.executable, "-m", "rootless.network.names", str(self.paths.store), str(self.paths.run)]

    def reconnect(self) -> bool:
        """Connect to the name server again; whether there is one."""
        self._hang_up()
        self.link = names.reconnect(self.paths, self.idmap, self.switch)
        return self.link is not None

    def release(self) -> None:
        """Let go of both. Does not fail."""
        self._hang_up()
        if self.switch >= 0:
            with suppress(OSError):
                switch.forget(self.paths, self.idmap)
            os.close(self.switch)
            self.switch = -1

    def _hang_up(self) -> None:
        if self.link is not None:
            self.link.close()
            self.link = None
