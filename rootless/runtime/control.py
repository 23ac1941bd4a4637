"""The control socket of a container: where commands find its monitor.

It lies in the run directory of the session that started the container, which only the caller may enter, and which the
state names: the command may come from another session. A command connects, makes one request, and hears the
answer on the same connection; `attach` sends the far end of its byte socket along with the request.
"""

from __future__ import annotations

import os
import select
import socket
import time
from contextlib import suppress

from ..container.container import Container
from ..errors import ConflictError
from ..paths import Paths, private_directory, socket_name
from .stream import AnyMessage, Attach, Connection, Done, Stop, Wait

SOCKET = "control"
BACKLOG = 64


def listen(paths: Paths, container_id: str) -> socket.socket:
    """The monitor's side: a listening socket, close-on-exec and non-blocking.

    What a killed monitor left at its place is removed: the caller holds the container's lock, so nobody listens there.
    """
    private_directory(paths.run)
    directory = paths.runtime_of(container_id)
    directory.mkdir(mode=0o700, exist_ok=True)
    path = directory / SOCKET
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    with socket_name(path) as name:
        listener.bind(name)
    listener.listen(BACKLOG)
    return listener


def stop_listening(paths: Paths, container_id: str) -> None:
    """Take the run directory of an ended container away."""
    directory = paths.runtime_of(container_id)
    with suppress(OSError):
        (directory / SOCKET).unlink(missing_ok=True)
        directory.rmdir()


def ask(container: Container, request: AnyMessage, *fds: int) -> Connection:
    """Connect to the monitor of a running container and make a request. The answer is the caller's to receive.

    Raises:
        ConflictError: nobody listens: it does not run.
    """
    messages = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with socket_name(container.runtime_paths.runtime_of(container.id) / SOCKET) as name:
            messages.connect(name)
        connection = Connection(messages, messages)
        connection.send(request, *fds)
    except OSError as problem:
        messages.close()
        raise ConflictError(f"container {container.id[:12]} is not running") from problem
    return connection


def attach(container: Container, *, stdin: bool) -> Connection:
    """Attach to a running container.

    Raises:
        ConflictError: it does not run.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with theirs:
        try:
            connection = ask(container, Attach(stdin), theirs.fileno())
        except BaseException:
            ours.close()
            raise
    return Connection(ours, connection.messages)


def stopped_within(listener: socket.socket, seconds: float, waiting: list[Connection]) -> bool:
    """While a container waits for its restart: answer who connects, and tell whether somebody asked to stop.

    Connections that want to hear of the end are added to `waiting`; the others are turned away.
    """
    from .quiet import first_request  # loaded by every monitor, and by no command

    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([listener], [], [], left)[0]:
            break
        with suppress(OSError):
            messages, _ = listener.accept()
            messages.settimeout(1)
            connection = Connection(messages, messages)
            request, fds = first_request(messages)
            for fd in fds:
                os.close(fd)
            if isinstance(request, Stop | Wait):
                waiting.append(connection)
            else:
                connection.close()
            if isinstance(request, Stop):
                with suppress(OSError):  # whoever asked may have gone: it was asked for all the same
                    connection.send(Done())
                return True
    return False


def hang_up(listener: socket.socket) -> None:
    """Turn away whoever connected too late: they see the end of the connection, and look at the state instead."""
    with suppress(OSError):
        while True:
            listener.accept()[0].close()
