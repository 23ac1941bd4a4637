"""The last output of a process that has ended, for those who are attached and have not read it yet, and then its end.

Nothing of the container's may wait for them: not its next run, nor the lock that its monitor holds, nor a `stop`. What
they can't take at once is given to them by a process that does nothing else.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Sequence
from contextlib import suppress

from ..kernel import process
from . import stream

PATIENCE = 10.0
"""Seconds without a byte read after which a client is let go."""


class Guest:
    """A client that was attached, and the output that it has still to get."""

    def __init__(self, connection: stream.Connection, rest: Sequence[bytes | memoryview] = ()) -> None:
        self.connection = connection
        self._rest = [memoryview(data) for data in reversed(rest)]
        self.gone = False

    def add(self, number: int, data: bytes) -> None:
        """Further output, after what is there."""
        self._rest.insert(0, memoryview(stream.frame(number, data)))

    def take(self) -> bool:
        """Send what it takes without waiting. Whether that was all, or it is gone."""
        try:
            while self._rest:
                count = self.connection.data.send(self._rest[-1], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                last = self._rest.pop()
                if count < len(last):
                    self._rest.append(last[count:])
        except BlockingIOError:
            return False
        except OSError:
            self._rest, self.gone = [], True
        return True

    def dismiss(self, last: stream.AnyMessage) -> None:
        """Say a last word."""
        with suppress(OSError):
            if isinstance(last, stream.Exited):
                self.connection.data.shutdown(socket.SHUT_WR)
            self.connection.send(last)
        self.connection.close()


def dropped() -> stream.Dropped:
    """What a client is told that is let go."""
    return stream.Dropped(f"its output was not read for {PATIENCE:.0f} seconds")


def see_off(guests: Sequence[Guest], end: stream.Exited) -> None:
    """Give all of them what they have still to get, and tell them of the end. Does not wait for any of them.

    It may fork: nothing of trio's may run.
    """
    slow = []
    for guest in guests:
        if guest.take():
            guest.dismiss(end)
        else:
            slow.append(guest)
    if slow:
        _leave_to_a_child(slow, end)
        for guest in slow:
            guest.connection.close()


def _leave_to_a_child(guests: list[Guest], end: stream.Exited) -> None:
    """Nobody has to wait for it: its parent ends at once. Where no process is to be had, they are waited for here."""
    try:
        child = os.fork()
    except OSError:
        _wait_for(guests, end)
        return
    if child:
        os.waitpid(child, 0)
        return
    try:
        # The container's lock, among others: it must be free as soon as the monitor leaves it.
        process.close_from(3, frozenset().union(*(guest.connection.filenos() for guest in guests)))
        if os.fork() == 0:
            _wait_for(guests, end)
    finally:
        os._exit(0)


def _wait_for(guests: list[Guest], end: stream.Exited) -> None:
    """Until each of them has everything, or has not read for too long."""
    poll, left = select.poll(), {}
    for guest in guests:
        left[guest.connection.data.fileno()] = guest
        poll.register(guest.connection.data.fileno(), select.POLLOUT)
    read = dict.fromkeys(left, time.monotonic())
    while left:
        ready = {fd for fd, _ in poll.poll(max(0.0, min(read.values()) + PATIENCE - time.monotonic()) * 1000)}
        for fd, guest in list(left.items()):
            done = fd in ready and guest.take()
            if fd in ready:
                read[fd] = time.monotonic()
            if done or time.monotonic() - read[fd] >= PATIENCE:
                poll.unregister(fd)
                del left[fd], read[fd]
                guest.dismiss(end if done else dropped())
