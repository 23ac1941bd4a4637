"""What a pull or a push tells while it goes on. No printing here."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class Step(msgspec.Struct, frozen=True):
    """Where a layer stands.

    Attributes:
        digest: of its blob.
        status: in Docker's words: `Downloading`, `Pull complete` ...
        done, total: bytes, where they are counted; else 0.
    """

    digest: str
    status: str
    done: int = 0
    total: int = 0

    @property
    def short(self) -> str:
        """The 12 hexadecimal digits that stand in front of a line."""
        return self.digest.partition(":")[2][:12]


Tell = Callable[[Step], object]


def silence(_: Step) -> None:
    """For those who want to hear nothing."""
