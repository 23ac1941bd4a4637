"""Writing to a descriptor that may not block.

O_NONBLOCK belongs to the open file, not to the process: any program that shares a terminal or a pipe with this one may
have set it, and may need it so.
"""

from __future__ import annotations

import io
import os
import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def write_all(fd: int, data: ReadableBuffer) -> int:
    """write(2) until everything is written, waiting for the reader where the descriptor does not; the number of bytes.

    Raises:
        OSError: as write(2), EAGAIN excepted.
    """
    left = memoryview(data).cast("B")
    length = len(left)
    while left:
        try:
            left = left[os.write(fd, left) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
    return length


class Output(io.FileIO):
    """A descriptor to write to, which stays open; what is buffered before it is written whole."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd, "wb", closefd=False)

    def write(self, data: ReadableBuffer, /) -> int:
        return write_all(self.fileno(), data)
