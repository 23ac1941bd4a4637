"""Who is attached to a container, as its monitor sees them: each with a queue of output of its own.

The container is never held up for good. A client that keeps reading, however slowly, gets every byte, and meanwhile the
container waits as it would for a pipe; one that reads nothing for `PATIENCE` seconds with a full queue is let go.
"""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress

import trio

from . import stream
from .farewell import PATIENCE, dropped

QUEUE = 1 << 20
"""Bytes that may wait for one client."""


class Client:
    """One attached client.

    Attributes:
        stdin: its bytes are the container's input.
        gone: nothing can be sent to it any more.
    """

    def __init__(self, connection: stream.Connection, *, stdin: bool) -> None:
        self.connection = connection
        self.stdin = stdin
        self.gone = False
        self._queue: deque[memoryview] = deque()
        self._queued = self._sent = 0
        self._hurry = False
        self._more, self._less = trio.Event(), trio.Event()
        connection.data.setblocking(False)
        connection.messages.setblocking(False)

    async def offer(self, number: int, data: bytes) -> None:
        """Queue output for this client, waiting while its queue is full."""
        while self._queued > QUEUE and self._waits():
            before = self._sent
            with trio.move_on_after(PATIENCE):
                await self._less.wait()
            if self._sent == before and self._waits():
                self._let_go()

        if not self.gone:
            frame = stream.frame(number, data)
            self._queue.append(memoryview(frame))
            self._queued += len(frame)
            self._more.set()

    def _waits(self) -> bool:
        return not (self.gone or self._hurry)

    def hurry(self) -> None:
        """Queue without waiting from now on: the container has ended, and what is left fits into its pipes."""
        self._hurry = True
        self._less.set()
        self._less = trio.Event()

    def _let_go(self) -> None:
        self.leave()
        with suppress(OSError):
            self.connection.send(dropped())

    def leave(self) -> None:
        """Forget what is queued; the client is gone."""
        self.gone = True
        self._queue.clear()
        self._more.set()
        self._less.set()

    async def send_queue(self) -> None:
        """The client's own task: move the queue to its socket."""
        fd = self.connection.data.fileno()
        while not self.gone:
            await self._more.wait()
            self._more = trio.Event()
            while self._queue:
                try:
                    count = os.write(fd, self._queue[0])
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(fd)
                except OSError:
                    self.leave()
                else:
                    self._advance(count)

    def _advance(self, count: int) -> None:
        self._sent += count
        self._queued -= count
        first = self._queue.popleft()
        if count < len(first):
            self._queue.appendleft(first[count:])
        self._less.set()
        self._less = trio.Event()

    def rest(self) -> list[memoryview]:
        """What it has not been sent yet."""
        return list(self._queue)
