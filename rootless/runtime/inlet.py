"""The container's standard input, into which any number of clients may write."""

from __future__ import annotations

import os

import trio


class Inlet:
    """One end for writing: a pipe's, or the controlling side of a terminal.

    Whoever writes has it alone until all is written. So no chunk is torn, only one task waits for the descriptor (trio
    allows no second one), and nobody comes upon a closed one, whose number may be another file's by then. What a client
    sent stands before what comes after it, as in a pipe, also when it has gone meanwhile.

    Attributes:
        fd: the descriptor; -1 when there is none any more.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._turn = trio.Lock()

    async def write(self, data: bytes) -> None:
        """Write all of it; nothing where the input is closed.

        Raises:
            OSError: EPIPE when nobody can read it any more.
        """
        async with self._turn:
            view = memoryview(data)
            while view and self.fd >= 0:
                try:
                    view = view[os.write(self.fd, view) :]
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self.fd)

    async def close(self) -> None:
        """End the container's input, after what is being written."""
        async with self._turn:
            if self.fd >= 0:
                os.close(self.fd)
                self.fd = -1
