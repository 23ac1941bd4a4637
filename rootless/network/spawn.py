"""How a helper process of a network is started, and told to be ready."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from .. import room
from ..errors import RootlessError
from ..kernel import namespaces as ns
from ..kernel import process
from .setup import Place, Process

NET, READY = "/proc/self/fd/0", "/proc/self/fd/1"
"""What a helper opens: the container's network namespace, and where it shall write something when it can be used.

They are its standard input and output, because newer versions of pasta close all other descriptors that they inherit;
and under /proc/PID/ns of PID 1, which is undumpable, nobody may open anything."""


class Starting:
    """A helper between its start and the moment in which it can be used.

    Attributes:
        process: the helper.
        argv: its command line.
    """

    def __init__(self, name: str, argv: list[str], place: Place, *, fork: bool = True, ready_at: int = 1) -> None:
        """Start it outside the container's namespaces but for its user namespace.

        Args:
            fork: by fork(2); else, under trio, as a new interpreter.
            ready_at: the descriptor by which it says that it is ready, where that is not `READY`.
        """
        _reap()
        self.argv = argv
        self._ready, ready = os.pipe2(os.O_CLOEXEC)
        os.fchmod(ready, 0o666)  # the helper opens it anew, as whoever is root in the container
        self._said, said = os.pipe2(os.O_CLOEXEC)
        start = _fork if fork else _spawn
        pid = start(argv, place, ready, said, ready_at)
        os.close(ready)
        os.close(said)
        self.process = Process(name, pid, os.pidfd_open(pid))

    def fileno(self) -> int:
        """Readable when it is ready, or has ended."""
        return self._ready

    def wait(self, seconds: float) -> None:
        """Until it says that it is ready.

        Raises:
            RootlessError: it ended before, with what it said; or the time is over.
        """
        poll = select.poll()
        poll.register(self._ready, select.POLLIN)
        try:
            if not poll.poll(seconds * 1000):
                raise RootlessError(f"{self.process.name} was not ready within {seconds:g} s")
            if not os.read(self._ready, 64):
                raise RootlessError(f"{self.process.name}: {self._words() or 'it ended at once'}")
        finally:
            self.close()

    def _words(self) -> str:
        """The last of what it wrote to standard error; it has ended."""
        os.set_blocking(self._said, False)
        with suppress(OSError):
            return _telling(os.read(self._said, 65536).decode(errors="replace").splitlines())
        return ""

    def close(self) -> None:
        """Listen no longer: what it writes from now on is lost, which it must bear (EPIPE)."""
        for fd in self._ready, self._said:
            if fd >= 0:
                os.close(fd)
        self._ready = self._said = -1


def _telling(lines: Sequence[str]) -> str:
    """The line that tells what happened, without the time before it and what pasta says of a missing syslog."""
    told = [line for line in lines if line.strip() and not line.startswith("Failed to send ")]
    if not told:
        return ""
    stamp, _, rest = told[-1].partition(": ")
    return (rest if stamp.replace(".", "").isdecimal() else told[-1]).strip()


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
    for fd in fds:
        os.set_inheritable(fd, True)
    try:
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


_dying: list[int] = []


def end(helper: Process) -> None:
    """Kill a helper. Its tap device takes the kernel 20 to 50 ms to remove, for which nobody waits: whoever is left is
    reaped with the next one, or by init when this process ends."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(helper.pidfd, signal.SIGKILL)
    os.close(helper.pidfd)
    _dying.append(helper.pid)
    _reap()


def _reap() -> None:
    for pid in list(_dying):
        try:
            gone = os.waitpid(pid, os.WNOHANG)[0] == pid
        except ChildProcessError:
            gone = True
        if gone:
            _dying.remove(pid)
