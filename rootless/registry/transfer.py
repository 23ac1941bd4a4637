"""A blob on its way: does what a server sends continue what is here already?"""

from __future__ import annotations

import re
from collections.abc import Callable

from ..errors import InvalidError
from .http import Response


class Transfer:
    """A blob on its way: where it stands, and what may still come."""

    def __init__(self, digest: str, size: int, start: int, sink: Callable[[bytes], object]) -> None:
        self.digest = digest
        self.size = size
        self.position = start
        self._sink = sink
        self._skip = 0

    def begin(self, answer: Response) -> None:
        """Look at the head of an answer: does it go on where we stand?

        Raises:
            InvalidError: it is of a blob of another size, or begins elsewhere.
        """
        self._skip = 0
        whole = answer.announced
        if answer.status == 206:
            match = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)", answer.header("content-range"))
            if match is None or int(match[1]) != self.position:
                raise InvalidError(f"{answer.url}: the server sends another part than was asked for")
            whole = int(match[2]) if match[2] != "*" else None
        else:
            self._skip = self.position  # a server that knows no ranges begins from the beginning
        if whole is not None and whole != self.size:
            raise InvalidError(f"{self.digest}: the server has {whole} bytes where {self.size} are announced")

    def take(self, piece: bytes) -> None:
        if self._skip:
            dropped = min(self._skip, len(piece))
            self._skip -= dropped
            piece = piece[dropped:]
        if self.position + len(piece) > self.size:
            raise InvalidError(f"{self.digest}: the server sends more than the {self.size} bytes that are announced")
        if piece:
            self._sink(piece)
            self.position += len(piece)
