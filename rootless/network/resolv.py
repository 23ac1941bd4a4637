"""/etc/resolv.conf: the machine's, and what a container gets instead (resolv.conf(5))."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from ..container.network import Net

PATH = Path("/etc/resolv.conf")


class Resolv(msgspec.Struct, frozen=True):
    """What a resolv.conf says.

    Attributes:
        nameservers: addresses, in order.
        search: domains.
        options: words such as `ndots:2`.
    """

    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def text(self) -> str:
        """As the file has it."""
        lines = [f"search {' '.join(self.search)}"] if self.search else []
        lines += [f"nameserver {server}" for server in self.nameservers]
        lines += [f"options {' '.join(self.options)}"] if self.options else []
        return "".join(line + "\n" for line in lines)


def parse(text: str) -> Resolv:
    """What a resolv.conf says; of `search` and `domain` the last counts, as in resolv.conf(5)."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        match line.split("#")[0].split(";")[0].split():
            case ["nameserver", server, *_]:
                servers.append(server)
            case ["search" | "domain", *domains]:
                search = tuple(domains)
            case ["options", *words]:
                options += words
    return Resolv(tuple(servers), search, tuple(options))


def host() -> Resolv:
    """The machine's own; empty when it has none."""
    try:
        return parse(PATH.read_text(errors="replace"))
    except OSError:
        return Resolv()


def container(own: Resolv, net: Net, nameservers: Iterable[str]) -> Resolv:
    """A container's, by Docker's rules: what an option says takes the place of what the machine's file says."""
    options = net.dns_options or own.options
    if net.networks and not any(word.startswith("ndots:") for word in options):
        options += ("ndots:0",)  # a neighbour's name is asked for as it is, before the search domains are tried
    return Resolv(tuple(nameservers), _search(net.dns_search) if net.dns_search else own.search, options)


def _search(domains: Sequence[str]) -> tuple[str, ...]:
    """`--dns-search .` means none."""
    return tuple(domain for domain in domains if domain != ".")
