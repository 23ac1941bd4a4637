"""What the commands about networks share: which there are, their filters, and the document that `inspect` prints."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..container.query import has_label
from ..errors import InvalidError
from ..network.record import Lease, Network, Subnet
from ..network.store import PREDEFINED, Networks
from .inspect_container import NEVER
from .template import Map

FILTERS = ("driver", "id", "label", "name", "scope", "type")
PREDEFINED_DRIVERS = {"bridge": "pasta", "host": "host", "none": "null"}
"""`bridge` is what a container has that asks for nothing: here its own namespace behind pasta (or slirp4netns)."""


def predefined(name: str) -> Network:
    """A network that is always there, with an id that is the same everywhere."""
    return Network(
        id=hashlib.sha256(f"rootless {name}".encode()).hexdigest(),
        name=name,
        created=NEVER,
        subnets=(),
        driver=PREDEFINED_DRIVERS[name],
    )


def every(networks: Networks) -> list[Network]:
    """All networks with those that are always there, by name."""
    return sorted([*map(predefined, PREDEFINED), *networks.all()], key=lambda network: network.name)


def find(networks: Networks, text: str) -> Network:
    """As `Networks.resolve`, for the predefined ones as well."""
    for network in map(predefined, PREDEFINED):
        if text == network.name or (len(text) >= 12 and network.id.startswith(text)):
            return network
    return networks.resolve(text)


def matcher(filters: Mapping[str, Sequence[str]]) -> Callable[[Network], bool]:
    """Which networks fit: one of a filter's values has to, of labels every one.

    Raises:
        InvalidError: a value that can't be one.
    """
    kinds = filters.get("type", ())
    for value in kinds:
        if value not in ("custom", "builtin"):
            raise InvalidError(f"invalid filter: 'type'='{value}'", hint="it is custom or builtin")

    def fits(network: Network) -> bool:
        kind = "builtin" if network.name in PREDEFINED else "custom"
        return (
            _one_of(filters.get("driver"), lambda value: network.driver == value)
            and _one_of(filters.get("id"), network.id.startswith)
            and _one_of(filters.get("name"), lambda value: value in network.name)
            and _one_of(filters.get("scope"), lambda value: value == "local")
            and _one_of(kinds, lambda value: value == kind)
            and all(has_label(network.labels, label) for label in filters.get("label", ()))
        )

    return fits


def _one_of(values: Iterable[str] | None, fits: Callable[[str], bool]) -> bool:
    values = tuple(values or ())
    return not values or any(fits(value) for value in values)


def network_document(networks: Networks, network: Network) -> dict[str, Any]:
    """A network as `inspect` shows it: Docker's keys, in Docker's order."""
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": network.created,
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv4": True,
        "EnableIPv6": network.ipv6,
        "IPAM": {"Driver": "default", "Options": Map(), "Config": [_config(subnet) for subnet in network.subnets]},
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": Map(
            {lease.container: _endpoint(networks, network, lease) for lease in _leases(networks, network)}
        ),
        "Options": Map(network.options),
        "Labels": Map(network.labels),
    }


def _leases(networks: Networks, network: Network) -> list[Lease]:
    return [] if network.name in PREDEFINED else networks.leases(network.name)


def _config(subnet: Subnet) -> dict[str, Any]:
    config: dict[str, Any] = {"Subnet": subnet.subnet}
    if subnet.ip_range:
        config["IPRange"] = subnet.ip_range
    config["Gateway"] = subnet.gateway
    if subnet.aux:
        config["AuxiliaryAddresses"] = Map(subnet.aux)
    return config


def _endpoint(networks: Networks, network: Network, lease: Lease) -> dict[str, Any]:
    return {
        "Name": networks.container_name(lease),
        "EndpointID": lease.endpoint,
        "MacAddress": lease.mac,
        "IPv4Address": _with_length(network, lease.ipv4, 4),
        "IPv6Address": _with_length(network, lease.ipv6, 6),
    }


def _with_length(network: Network, address: str, version: int) -> str:
    subnet = network.subnet_of(version)
    return f"{address}/{subnet.network.prefixlen}" if address and subnet else ""
