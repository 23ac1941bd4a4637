"""What a container with --egress has tried, as `logs --egress` shows it: a log like that of its output, beside it.

allowed tcp example.org:443
refused dns example.com
failed connect example.org:25 (Connection refused)
"""

from __future__ import annotations

import time
from pathlib import Path

from .logs import LogOptions, LogWriter

NAME = "log-egress"

OPTIONS = LogOptions(max_size=5_000_000, max_files=2)
"""A container may try as often as it likes: what is kept of it is bounded."""

SAME = 10.0
"""Seconds in which the same datagram's refusal is written once."""

MAX_KNOWN = 4096
LONGEST = 512


class Tries:
    """Writes them down."""

    def __init__(self, directory: Path) -> None:
        self._log = LogWriter(directory / NAME, OPTIONS)
        self._known: dict[tuple[str, str], float] = {}

    def allowed(self, kind: str, target: str) -> None:
        """A connection was made."""
        self._write("allowed", kind, target)

    def failed(self, kind: str, target: str, why: str) -> None:
        """It was allowed, and could not be made."""
        self._write("failed", kind, target, why)

    def refused(self, kind: str, target: str, why: str = "") -> None:
        """It was not allowed. Who does not hear of that sends again: that is told once."""
        now = time.monotonic()
        if kind not in ("tcp", "http", "connect"):
            if self._known.get((kind, target), 0.0) > now - SAME:
                return
            if len(self._known) < MAX_KNOWN:
                self._known[kind, target] = now
        self._write("refused", kind, target, why)

    def forget(self) -> None:
        """Those that would be told again."""
        now = time.monotonic()
        self._known = {key: when for key, when in self._known.items() if when > now - SAME}

    def _write(self, verdict: str, kind: str, target: str, why: str = "") -> None:
        line = f"{verdict} {kind} {plain(target)}" + (f" ({plain(why)})" if why else "")
        self._log.write(1, line.encode() + b"\n")


def plain(text: str) -> str:
    """On one line, whatever a container has made of a name."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text[:LONGEST])
