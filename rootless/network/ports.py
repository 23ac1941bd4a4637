"""The texts of -p and --expose, and ports as `ps`, `port` and `inspect` show them; all in Docker's words."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence

from ..container.network import Connected, Net, Port
from ..errors import UsageError

PROTOCOLS = ("tcp", "udp")

_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)


def parse(text: str) -> list[Port]:
    """`[[ADDRESS:][HOST]:]CONTAINER[/PROTOCOL]`, with ranges; also `target=,published=,protocol=`.

    Raises:
        UsageError: it means nothing.
    """
    if "=" in text:
        text = _from_words(text)
    address, host, container = _split(text)
    container, _, protocol = container.partition("/")
    protocol = _protocol(protocol, text)
    if not container:
        raise UsageError(f"no port specified: {text}<empty>")
    first, last = _range(container, "containerPort")
    if not host:
        return [Port(container=port, protocol=protocol, address=address) for port in range(first, last + 1)]
    host_first, host_last = _range(host, "hostPort")
    if first == last and host_last > host_first:  # any of them
        return [Port(container=first, protocol=protocol, host=host_first, host_end=host_last, address=address)]
    if last - first != host_last - host_first:
        raise UsageError(f"invalid ranges specified for container and host Ports: {container} and {host}")
    pairs = zip(range(first, last + 1), range(host_first, host_last + 1), strict=True)
    return [Port(container=c, protocol=protocol, host=h, address=address) for c, h in pairs]


def _from_words(text: str) -> str:
    """Docker's long form as the short one."""
    words = dict(part.partition("=")[::2] for part in text.split(","))
    unknown = words.keys() - {"target", "published", "protocol", "mode"}
    if unknown or "target" not in words:
        raise UsageError(f"invalid publish opts format (should be name=value but got '{text}')")
    if words.get("mode", "host") not in ("host", "ingress"):
        raise UsageError(f"invalid publish opts format: mode {words['mode']!r}")
    host = f"{words['published']}:" if words.get("published") else ""
    return f"{host}{words['target']}/{words.get('protocol', 'tcp')}"


def _split(text: str) -> tuple[str, str, str]:
    """(address, host's ports, container's ports); an IPv6 address stands in brackets."""
    rest, _, container = text.rpartition(":")
    if not rest:
        return "", "", container
    address, colon, host = rest.rpartition(":")
    if not colon:
        return "", rest, container
    return _address(address, text), host, container


def _address(text: str, whole: str) -> str:
    from ipaddress import ip_address

    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if not bare:
        return ""
    try:
        return str(ip_address(bare))
    except ValueError:
        raise UsageError(f"invalid IP address: {bare}", hint=f"in -p {whole}") from None


def _protocol(text: str, whole: str) -> str:
    protocol = text.lower() or "tcp"
    if protocol == "sctp":
        raise UsageError(f"sctp can't be published: {whole}", hint="the programs behind -p pass tcp and udp")
    if protocol not in PROTOCOLS:
        raise UsageError(f"invalid proto: {text}")
    return protocol


def _range(text: str, what: str) -> tuple[int, int]:
    match = _RANGE.fullmatch(text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 0 < first <= 65535 or last > 65535:
        raise UsageError(f"invalid {what}: {text}")
    if last < first:
        raise UsageError(f"invalid range specified for port: {text}")
    return first, last


def parse_exposed(text: str) -> list[str]:
    """`PORT[-PORT][/PROTOCOL]` of --expose, as `PORT/PROTOCOL` each.

    Raises:
        UsageError: it means nothing.
    """
    if ":" in text:
        raise UsageError(f"invalid port format for --expose: {text}")
    ports, _, protocol = text.partition("/")
    try:
        first, last = _range(ports, "port")
    except UsageError as problem:
        raise UsageError(f"invalid range format for --expose: {text}, error: {problem.message}") from None
    protocol = protocol.lower() or "tcp"
    if protocol not in (*PROTOCOLS, "sctp"):
        raise UsageError(f"invalid proto: {protocol}")
    return [f"{port}/{protocol}" for port in range(first, last + 1)]


def wanted(net: Net) -> tuple[Port, ...]:
    """What is to be published: what -p says, and with -P every exposed port beside that."""
    if not net.publish_all:
        return net.ports
    told = {f"{port.container}/{port.protocol}" for port in net.ports}
    exposed = (text.partition("/") for text in net.exposed if text not in told)
    return net.ports + tuple(Port(container=int(n), protocol=p) for n, _, p in exposed if p in PROTOCOLS)


# --- how they are shown ----------------------------------------------------------------------------------------------


def addresses(port: Port) -> Sequence[str]:
    """The host's addresses on which a port is published; those that mean all of them as Docker writes them."""
    if port.address:
        return (port.address,)
    return ("0.0.0.0", "::") if os.path.exists("/proc/net/if_inet6") else ("0.0.0.0",)


def joined(address: str, port: int | str) -> str:
    """`ADDRESS:PORT`, an IPv6 address in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def bindings(ports: Iterable[Port]) -> dict[str, list[tuple[str, int]]]:
    """`80/tcp` to the (address, port) pairs of the host that lead there."""
    found: dict[str, list[tuple[str, int]]] = {}
    for port in ports:
        pairs = found.setdefault(f"{port.container}/{port.protocol}", [])
        pairs += [(address, port.host) for address in addresses(port)]
    return found


def column(net: Net, connected: Connected | None) -> str:
    """What `ps` shows of a container: `0.0.0.0:8080->80/tcp`, ports that follow each other in one, then the others that
    are exposed."""
    if connected is None:
        return ""
    published = bindings(connected.ports)
    rows = [(a, h, int(k.partition("/")[0]), k.partition("/")[2]) for k, pairs in published.items() for a, h in pairs]
    rows += [("", 0, int(text.partition("/")[0]), text.partition("/")[2]) for text in _unpublished(net, published)]
    rows.sort(key=lambda row: (not row[0], row[0] != "0.0.0.0", row[0], row[3], row[2], row[1]))
    return ", ".join(_group(rows))


def _unpublished(net: Net, published: Iterable[str]) -> list[str]:
    return [text for text in net.exposed if text not in set(published)]


def _group(rows: Sequence[tuple[str, int, int, str]]) -> Iterator[str]:
    """(address, host's port, port, protocol) rows, in order, as texts; a run of them is one."""
    start = 0
    for end in range(1, len(rows) + 1):
        if end < len(rows) and _follows(rows[end - 1], rows[end]):
            continue
        (address, host, port, protocol), (_, host_last, last, _) = rows[start], rows[end - 1]
        start = end
        inside = f"{_span(port, last)}/{protocol}"
        yield f"{joined(address, _span(host, host_last))}->{inside}" if address else inside


def _follows(one: tuple[str, int, int, str], other: tuple[str, int, int, str]) -> bool:
    return (one[0], one[3], one[2] + 1) == (other[0], other[3], other[2]) and (not one[0] or one[1] + 1 == other[1])


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
