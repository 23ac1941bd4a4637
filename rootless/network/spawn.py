"""How a helper is started that stands with one foot in the container: pasta, slirp4netns."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

from .. import room
from ..kernel import namespaces as ns
from ..kernel import process
from .helper import Starting
from .setup import Place

NET, READY = "/proc/self/fd/0", "/proc/self/fd/1"
"""What a helper opens: the container's network namespace, and where it shall write something when it can be used.

They are its standard input and output, because newer versions of pasta close all other descriptors that they inherit;
and under /proc/PID/ns of PID 1, which is undumpable, nobody may open anything."""


def start(name: str, argv: list[str], place: Place, *, fork: bool = True, ready_at: int = 1) -> Starting:
    """Start a helper outside the container's namespaces but for its user namespace.

    Args:
        fork: by fork(2); else, under trio, as a new interpreter.
        ready_at: the descriptor by which it says that it is ready, where that is not `READY`.

    Raises:
        OSError: no process or no descriptor is to be had.
    """

    def begin(ready: int, said: int) -> int:
        os.fchmod(ready, 0o666)  # the helper opens it anew, as whoever is root in the container
        return (_fork if fork else _spawn)(argv, place, ready, said, ready_at)

    return Starting(name, begin)


def _fork(argv: list[str], place: Place, ready: int, said: int, ready_at: int) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            become(argv, place, ready, said, parent, ready_at)
        except OSError as problem:
            os.write(said, str(problem).encode())
        finally:
            os._exit(127)
    return pid


def _spawn(argv: list[str], place: Place, ready: int, said: int, ready_at: int) -> int:
    """posix_spawn(3): safe beside other threads, and by this very thread, whose end would be the helper's
    (PR_SET_PDEATHSIG); trio starts processes in others."""
    fds = place.namespaces["user"], place.namespaces["net"], place.room, ready, said
    words = [
        sys.executable,
        "-m",
        "rootless.network.respawn",
        str(os.getpid()),
        *map(str, (*fds, ready_at)),
        "--",
        *argv,
    ]
    try:
        for fd in fds:
            os.set_inheritable(fd, True)
        return os.posix_spawn(sys.executable, words, os.environ)
    finally:
        for fd in fds:
            os.set_inheritable(fd, False)


def become(argv: list[str], place: Place, ready: int, errors: int, parent: int, ready_at: int) -> NoReturn:
    """Turn into a helper that ends with `parent`, with `NET`, `READY` and standard error and no other descriptor.

    Raises:
        OSError: a namespace can't be entered, or the program not be executed.
    """
    if os.geteuid() == 0:
        room.enter(place.room)
    ns.setns(place.namespaces["user"], ns.CLONE_NEWUSER)
    with suppress(PermissionError):  # in a map of one id setgroups(2) was given up
        os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of credentials, which clears it
    if os.getppid() != parent:
        os._exit(1)
    # Out of the way of each other first.
    net, ready, errors = (
        fcntl.fcntl(fd, fcntl.F_DUPFD, ready_at + 3) for fd in (place.namespaces["net"], ready, errors)
    )
    for source, target in (net, 0), (errors, 1), (errors, 2), (ready, ready_at):
        os.dup2(source, target)
    process.close_from(3, frozenset({ready_at}))
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # pasta takes an ignored one for a failure of its own
    os.execv(argv[0], argv)
