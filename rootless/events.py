"""What happens to containers and images, for whoever wants to follow it: one JSON object a line, in Docker's form.

The file lies in the run directory: events are for watching, not for the record, and a reboot may take them. Whoever
does something appends one line with one write(2), so that lines of several processes never mix.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from .paths import Paths, private_directory

LIMIT = 1 << 20
"""Bytes after which the file begins anew; the one before is kept beside it."""


class Actor(msgspec.Struct, frozen=True, rename="pascal"):
    """To whom it happened. The attributes are the labels, the name, and what belongs to the action."""

    id: str = msgspec.field(name="ID")
    attributes: dict[str, str]


class Event(msgspec.Struct, frozen=True):
    """One event, as `docker events --format json` prints it."""

    type: str = msgspec.field(name="Type")
    action: str = msgspec.field(name="Action")
    actor: Actor = msgspec.field(name="Actor")
    time: int
    time_nano: int = msgspec.field(name="timeNano")
    scope: str = "local"


def file(paths: Paths) -> Path:
    """Where the newest events are; the older ones are in `events.1` beside it."""
    return paths.run / "events"


def emit(paths: Paths, kind: str, action: str, identifier: str, attributes: Mapping[str, str]) -> None:
    """Note that `action` happened. Nothing fails because it could not be noted.

    Args:
        kind: `container` or `image`.
    """
    moment = time.time_ns()
    event = Event(kind, action, Actor(identifier, dict(attributes)), moment // 1_000_000_000, moment)
    path = file(paths)
    with suppress(OSError):
        private_directory(paths.run)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, msgspec.json.encode(event) + b"\n")
            if os.fstat(fd).st_size > LIMIT:
                path.rename(path.with_name("events.1"))
        finally:
            os.close(fd)
