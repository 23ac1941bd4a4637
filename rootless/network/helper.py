"""A helper process of a network: the time until it can be used, and its end."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress

from ..errors import RootlessError


class Process:
    """A helper, a child of the monitor that it ends with (PR_SET_PDEATHSIG).

    Attributes:
        pidfd: readable when it has ended; -1 once `end` was called, as its number may be another file's from then on.
    """

    def __init__(self, name: str, pid: int) -> None:
        """Watch a child that was started just now, which is ended if it can't be watched (OSError)."""
        self.name, self.pid = name, pid
        try:
            self.pidfd = os.pidfd_open(pid)
        except OSError:
            os.kill(pid, signal.SIGKILL)  # nobody has reaped it: the number is its own
            _dying.append(pid)
            raise

    def how_it_ended(self) -> str:
        """In words; it is not reaped by this."""
        ended = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return "ended"
        if ended.si_code == os.CLD_EXITED:
            return f"ended with code {ended.si_status}"
        return f"was killed by signal {ended.si_status}"

    def end(self) -> None:
        """Kill it; a second call does nothing. Its tap device takes the kernel 20 to 50 ms to remove, for which nobody
        waits: whoever is left is reaped with the next one, or by init when this process ends."""
        if self.pidfd < 0:
            return
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        pidfd, self.pidfd = self.pidfd, -1
        os.close(pidfd)
        _dying.append(self.pid)
        reap()


class Starting:
    """A helper between its start and the moment in which it can be used.

    Attributes:
        process: the helper.
    """

    def __init__(self, name: str, start: Callable[[int, int], int]) -> None:
        """Start it.

        Args:
            start: does so, and gives its pid. It is handed two descriptors for it, on which it shall write when it can
                be used, and what it complains about; the copies here are closed then.

        Raises:
            OSError: there is none.
        """
        reap()
        self._ready, self._said = -1, -1
        theirs: list[int] = []
        try:
            self._ready, ready = os.pipe2(os.O_CLOEXEC)
            theirs.append(ready)
            self._said, said = os.pipe2(os.O_CLOEXEC)
            theirs.append(said)
            self.process = Process(name, start(ready, said))
        except BaseException:
            self.close()
            raise
        finally:
            for fd in theirs:
                os.close(fd)

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


_dying: list[int] = []


def reap() -> None:
    """Those of the ended ones that are gone."""
    for pid in list(_dying):
        try:
            gone = os.waitpid(pid, os.WNOHANG)[0] == pid
        except ChildProcessError:
            gone = True
        if gone:
            _dying.remove(pid)
