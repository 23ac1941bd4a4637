"""Signals to a command that starts a container or is attached to one: the container's, or the end of the command."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import FrameType
from typing import Any, Self

from ..errors import CommandError, Interrupted
from ..kernel import pty
from . import stream

NOT_PASSED_ON = frozenset(
    {signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, signal.SIGURG, signal.SIGWINCH}
    # The terminal's answer to one who uses it from the background. Passed on, the same call would be tried for ever.
    | {signal.SIGTTIN, signal.SIGTTOU}
    # A fault of this process itself: a handler of Python's would return to the instruction that faults, for ever.
    | {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}
)
"""Signals to the command that are not meant for the container."""

PASSED_ON = frozenset(signal.valid_signals()) - NOT_PASSED_ON
ENDING = PASSED_ON - {signal.SIGCONT, signal.SIGTSTP}
"""Those of them that end a process which does not expect them (signal(7))."""

PATIENCE = 3
"""So many SIGINT and SIGTERM in all end the attachment, as with Docker's command: the container may not heed them."""

Handler = Callable[[int, FrameType | None], None]


class Signals:
    """What becomes of the signals to this process; they are taken when there is something to do about them, and given
    back at the end of the block.

    While a container is started for it, one that would end this process ends the start; once it runs, all are PID 1's.
    Both are said in the same way on the same connection, and the monitor knows how far it has got (start.py): no signal
    falls between the two.

    Handlers run between two steps of whatever the command does, also while it waits. A signal that was ignored when the
    command began stays so (nohup).

    Args:
        proxy: they are the container's. Otherwise one that ends a process ends this one in good order: the terminal is
            put right, the container goes on.

    Attributes:
        last: the last one that was passed on; 0 for none.
    """

    def __init__(self, *, proxy: bool) -> None:
        self.proxy = proxy
        self.last = 0
        self._connection: stream.Connection | None = None
        self._before: dict[int, Any] = {}
        self._insisted = 0
        self._interrupted = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def starting(self, connection: stream.Connection) -> None:
        """On this connection it will be told that the container runs."""
        self._connection = connection
        if self.proxy:
            self._take(ENDING, self._pass_on)

    def attached(self, connection: stream.Connection, *, window: bool) -> None:
        """The container runs. `window`: its terminal follows the size of this one."""
        self._connection = connection
        if self.proxy:
            self._take(PASSED_ON, self._pass_on)
        else:
            self._take(ENDING, self._end)
        if window:
            self._take({signal.SIGWINCH}, self._follow_window)

    def release(self) -> None:
        """Have signals do what they did before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _take(self, numbers: Iterable[int], handler: Handler) -> None:
        for number in numbers:
            before = self._before.get(number, signal.getsignal(number))
            if before not in (signal.SIG_IGN, None):  # None: a handler that is not Python's
                self._before[number] = before
                signal.signal(number, handler)

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        self.last = number
        if not self._say(stream.Signal(number)) and number in ENDING:
            self._end(number, None)  # the container has ended; what this command still does, nobody waits for
        self._insisted += number in (signal.SIGINT, signal.SIGTERM)
        if self._insisted == PATIENCE:
            self._insisted += 1  # it is said once: what is put right meanwhile must not be put right by half
            raise CommandError(
                f"got {PATIENCE} SIGTERM/SIGINTs, forcefully exiting",
                exit_code=1,
                hint="the container may go on: `rootless ps` tells, and `rootless kill` ends it",
            )

    def _end(self, number: int, _: FrameType | None) -> None:
        if not self._interrupted:  # once is enough, as above
            self._interrupted = True
            raise Interrupted(number)

    def _follow_window(self, _number: int, _: FrameType | None) -> None:
        with suppress(OSError):
            self._say(stream.Resize(*pty.window_size(1)))

    def _say(self, message: stream.AnyMessage) -> bool:
        """Whether somebody may hear it."""
        try:
            if self._connection is not None:
                self._connection.send(message)
        except BlockingIOError:
            return True  # it does not listen at the moment
        except OSError:
            return False
        return True
