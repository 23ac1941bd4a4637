"""The name servers of the machine: /etc/resolv.conf as resolv.conf(5) describes it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..kernel.netlink import IPAddress

MAX_SERVERS = 3
"""What the C library heeds (MAXNS)."""

RESOLV_CONF = Path("/etc/resolv.conf")


@dataclass(frozen=True)
class Resolvers:
    """What the file says: addresses without their zones, and the words of `search` and `options`."""

    servers: tuple[IPAddress, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def read(path: Path = RESOLV_CONF) -> Resolvers:
    """The machine's own; empty where there is no such file. Lines that mean nothing are passed over, as by libc."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return Resolvers()
    return parse(text.splitlines())


def parse(lines: Iterable[str]) -> Resolvers:
    """What these lines say. Of `search` the last line counts, of servers the first three."""
    servers: list[IPAddress] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    for line in lines:
        match line.split():
            case ["nameserver", text, *_]:
                servers += _address(text)
            case ["search" | "domain", *words]:
                search = tuple(words)
            case ["options", *words]:
                options += words
    return Resolvers(tuple(servers[:MAX_SERVERS]), search, tuple(options))


def _address(text: str) -> list[IPAddress]:
    try:
        return [ipaddress.ip_address(text.partition("%")[0])]
    except ValueError:
        return []
