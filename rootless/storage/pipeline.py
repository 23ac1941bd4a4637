"""Read ahead: decompression and hashing in a thread, while the main one makes files of what is ready.

Both sides spend their time in system calls and C code that let go of the interpreter's lock: two processors are used.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import BinaryIO

CHUNK = 1 << 18
_AHEAD = 8
"""2 MiB in all: enough to bridge a file's fsync-free write, small enough to stay in the processor's cache."""


class ReadAhead:
    """The bytes of a stream in chunks, in a `with` block; the thread has ended when the block is left.

    What reading raises is raised by the iterator. `stream` must not be one that may block for ever.
    """

    def __init__(self, stream: BinaryIO, seen: Callable[[bytes], object]) -> None:
        """`seen` is called with each chunk, in the thread: a hash's `update`."""
        self._stream = stream
        self._seen = seen
        self._queue: queue.Queue[bytes | BaseException] = queue.Queue(_AHEAD)
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)

    def __enter__(self) -> Iterator[bytes]:
        self._thread.start()
        return self._chunks()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop = True
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.01)
            except queue.Empty:
                continue
        self._thread.join()

    def _chunks(self) -> Iterator[bytes]:
        while True:
            item = self._queue.get()
            if isinstance(item, BaseException):
                raise item
            if not item:
                return
            yield item

    def _run(self) -> None:
        try:
            chunk = b"-"
            while chunk and not self._stop:
                chunk = self._stream.read(CHUNK)
                self._seen(chunk)
                self._queue.put(chunk)
        except BaseException as problem:
            self._queue.put(problem)
