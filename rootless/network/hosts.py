"""/etc/hosts of a container (hosts(5))."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ..container.network import Connected
from ..container.record import Spec
from ..errors import UnavailableError

GATEWAY = "host-gateway"
"""What stands for the host's address in --add-host."""

FIXED = (
    ("127.0.0.1", "localhost"),
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::", "ip6-localnet"),
    ("ff00::", "ip6-mcastprefix"),
    ("ff02::1", "ip6-allnodes"),
    ("ff02::2", "ip6-allrouters"),
)
HOST_NAMES = "host.docker.internal host.containers.internal"
"""The names under which programs for Docker and podman look for the machine they run on."""


def text(spec: Spec, connected: Connected) -> str:
    """The file of a container.

    Raises:
        UnavailableError: `host-gateway` was asked for, and no way leads to the host.
    """
    if spec.network == "host":
        lines = [*_own(), *_added(spec.net.hosts, connected.host or "127.0.0.1")]
    else:
        lines = [*_lines(spec, connected)]
    return "".join(f"{line}\n" for line in lines)


def _own() -> list[str]:
    try:
        return Path("/etc/hosts").read_text(errors="replace").splitlines()
    except OSError:
        return ["127.0.0.1\tlocalhost"]


def _lines(spec: Spec, connected: Connected) -> Iterator[str]:
    for address, names in FIXED:
        yield f"{address}\t{names}"
    yield from _added(_unfiltered(spec), connected.host)
    if connected.host:
        yield f"{connected.host}\t{HOST_NAMES}"
    full = f"{spec.hostname}.{spec.domainname} " if spec.domainname else ""
    own = [ip for endpoint in connected.endpoints for ip in (endpoint.ip, endpoint.ip6) if ip]
    for address in own or ["127.0.0.1"]:
        yield f"{address}\t{full}{spec.hostname}"


def _unfiltered(spec: Spec) -> Iterable[str]:
    """--add-host without the names that --egress allows: those lead to its filter, which knows where they are."""
    if not spec.net.egress:
        return spec.net.hosts
    from .egress_rules import Rules

    rules = Rules(spec.net.egress)
    return [item for item in spec.net.hosts if not rules.know(item.partition(":")[0])]


def _added(hosts: Iterable[str], gateway: str) -> Iterator[str]:
    for item in hosts:
        name, _, address = item.partition(":")
        if address == GATEWAY:
            if not gateway:
                raise UnavailableError(
                    f"the host has no address that the container could reach: --add-host {item}",
                    hint="give an address in the place of host-gateway",
                )
            address = gateway
        yield f"{address}\t{name}"
