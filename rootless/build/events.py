"""What a build tells while it goes on: typed events, for whoever shows them.

A vertex is one thing that takes time and is shown with a number of its own: a step, a download, the export.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from ..errors import Interrupted


class Event(msgspec.Struct, frozen=True, tag=True):
    """What may be told about the vertex `vertex`; `at` is a moment of time.monotonic()."""

    vertex: str
    at: float


class Began(Event, frozen=True, tag=True):
    """It is at work now."""

    name: str


class Status(Event, frozen=True, tag=True):
    """A line about how far it is."""

    text: str


class Output(Event, frozen=True, tag=True):
    """What its command has written, to stream 1 or 2."""

    stream: int
    data: bytes


class Ended(Event, frozen=True, tag=True):
    """It is over; with an `error` when it failed."""

    error: str = ""
    canceled: bool = False


class Cached(Event, frozen=True, tag=True):
    """It was done by an earlier build."""

    name: str


class Warned(Event, frozen=True, tag=True):
    """Something that the user should hear about the build as a whole."""

    text: str


AnyEvent = Began | Status | Output | Ended | Cached | Warned
Tell = Callable[[AnyEvent], None]


def silence(_: AnyEvent) -> None:
    """For whoever wants to hear nothing."""


@contextmanager
def vertex(tell: Tell, name: str, key: str = "") -> Iterator[Callable[[str], None]]:
    """Tell of something that begins and ends with the block; yields what tells a line about it."""
    key = key or name
    tell(Began(key, time.monotonic(), name))
    try:
        yield lambda text: tell(Status(key, time.monotonic(), text))
    except BaseException as problem:
        canceled = isinstance(problem, Interrupted) or not isinstance(problem, Exception)
        tell(Ended(key, time.monotonic(), error=str(problem), canceled=canceled))
        raise
    tell(Ended(key, time.monotonic()))
