"""How the name server of a room's networks (dns.py) is found, and started by whoever finds none.

Every monitor of a container on a network keeps a connection to it. These tell it how long it is needed, and their end
tells the monitors that it was killed; nothing is ever said over them. Its sockets are made by whoever starts it, so
nobody waits for it: what is asked before it is there waits in them.

It belongs to one switch: its control socket is named after that, because a server that is about to end serves a switch
that nobody will find any more.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from pathlib import Path

from .. import idmap, locks, room
from ..errors import UnavailableError
from ..idmap import IdMap
from ..kernel import process
from ..paths import Paths, socket_name
from . import switch

BACKLOG = 4096
"""Monitors that may be waiting while the server starts; the kernel bounds it (net.core.somaxconn)."""

CONTROL, DATAGRAMS, STREAM, SWITCH, ROOM = 3, 4, 5, 6, 7
"""The descriptors that the server is started with."""

GUARDED = "guarded"
"""Its last argument, in a switch whose ports have guards."""


def control_path(paths: Paths, tag: str, switch_fd: int) -> Path:
    """The control socket of the server of a switch."""
    return paths.rooms / f"{tag}-{os.fstat(switch_fd).st_ino}.names"


def lock_path(paths: Paths, tag: str) -> Path:
    """Held by who connects, and by a server that ends because nobody is connected."""
    return paths.rooms / f"{tag}.names.lock"


def log_path(paths: Paths, tag: str) -> Path:
    """The server's own troubles."""
    return paths.rooms / f"{tag}.names.log"


def connect(paths: Paths, ids: IdMap, room_fd: int, switch_fd: int) -> socket.socket:
    """A connection to the switch's name server, which is started if there is none. Forks; only without threads."""
    tag = switch.tag(ids.tag)
    with locks.lock(lock_path(paths, tag)):
        found = _try(control_path(paths, tag, switch_fd))
        if found is None:
            _start(paths, ids, room_fd, switch_fd)
            found = _try(control_path(paths, tag, switch_fd))
    if found is None:
        raise UnavailableError("the name server of the networks can't be reached", hint="try again")
    return found


def reconnect(paths: Paths, ids: IdMap, switch_fd: int) -> socket.socket | None:
    """A connection to the server if there is one."""
    tag = switch.tag(ids.tag)
    with locks.lock(lock_path(paths, tag)):
        return _try(control_path(paths, tag, switch_fd))


def _try(path: Path) -> socket.socket | None:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        with socket_name(path) as name:
            sock.connect(name)
    except OSError:
        sock.close()
        return None
    return sock


def _start(paths: Paths, ids: IdMap, room_fd: int, switch_fd: int) -> None:
    tag = switch.tag(ids.tag)
    _sweep(paths, tag)
    path = control_path(paths, tag, switch_fd)
    guarded = switch.is_guarded(room_fd, switch_fd)
    sockets = switch.listen(room_fd, switch_fd)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control:
            with socket_name(path) as name:
                control.bind(name)
            control.listen(BACKLOG)
            _spawn(paths, ids, (control.fileno(), *sockets, switch_fd, room_fd), guarded=guarded)
    finally:
        for fd in sockets:
            os.close(fd)


def _sweep(paths: Paths, tag: str) -> None:
    """Remove the control sockets of servers that were killed."""
    for path in paths.rooms.glob(f"{tag}-*.names"):
        found = _try(path)
        if found is None:
            path.unlink(missing_ok=True)
        else:
            found.close()


def _spawn(paths: Paths, ids: IdMap, descriptors: tuple[int, ...], *, guarded: bool) -> None:
    """Start the server as nobody's child: it outlives the container whose monitor happened to be the first."""
    argv = [sys.executable, "-m", "rootless.network.dns", str(paths.store), str(paths.run), ids.tag]
    argv += [GUARDED] if guarded else []
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                os.chdir("/")
                _arrange(descriptors, log_path(paths, switch.tag(ids.tag)))
                os.execv(sys.executable, argv)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def _arrange(descriptors: tuple[int, ...], log: Path) -> None:
    """The descriptors in their places, from CONTROL on; nothing else is open."""
    null = os.open(os.devnull, os.O_RDWR)
    errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, ROOM + 1) for fd in (null, null, errors, *descriptors)]
    for place, fd in enumerate(high):
        os.dup2(fd, place)
    process.close_from(len(high))


def revive(arguments: list[str]) -> None:
    """What a monitor, which must not fork, has a process of its own for: see that there is a server.

    Args:
        arguments: the store, the run directory.
    """
    paths = Paths(Path(arguments[0]), Path(arguments[1]))
    ids = idmap.detect()
    room_fd = room.open_room(paths, ids)
    found = switch.find(paths, ids, room_fd)
    if found is not None:
        connect(paths, ids, room_fd, found).close()


if __name__ == "__main__":
    revive(sys.argv[1:])
