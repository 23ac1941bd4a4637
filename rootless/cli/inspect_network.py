"""How a container is connected, as `inspect` shows it: Docker's NetworkSettings, and what of HostConfig and Config
is about networks. `Down` and `Helpers` are not Docker's: why nothing passes, and the processes behind it."""

from __future__ import annotations

from typing import Any

from ..container.container import Container
from ..container.network import RESERVED, Connected, Endpoint, Port, Wish
from ..container.record import Spec, State
from ..network import ports
from ..network.record import Lease, Network
from .template import Map


def network_settings(container: Container, state: State) -> dict[str, Any]:
    """The interfaces and ports of a running container, and what one that does not run is made for."""
    connected = state.network
    spec = container.spec
    if spec.net.networks:
        networks = {wish.name: _named(container, wish) for wish in spec.net.networks}
    elif spec.network.partition(":")[0] not in RESERVED:
        networks = {}  # it has been disconnected from all that it was made for
    else:
        endpoints = connected.endpoints if connected is not None else ()
        networks = {spec.network: _document(endpoints[0] if endpoints else Endpoint(network=spec.network))}
    first = next(iter(networks.values()), _document(Endpoint(network="")))
    return {
        "Ports": _ports(spec, connected),
        "Down": connected.down if connected is not None else "",
        "Helpers": [{"Name": h.name, "Pid": h.pid} for h in connected.helpers] if connected is not None else [],
        "Gateway": first["Gateway"],
        "IPAddress": first["IPAddress"],
        "IPPrefixLen": first["IPPrefixLen"],
        "MacAddress": first["MacAddress"],
        "Networks": Map(networks),
    }


def _ports(spec: Spec, connected: Connected | None) -> Map:
    """Those that are published, and the other exposed ones as null; nothing while it does not run."""
    if connected is None:
        return Map({})
    bound = ports.bindings(connected.ports)
    found: dict[str, Any] = dict.fromkeys(spec.net.exposed)
    found |= {key: [_binding(address, str(host)) for address, host in pairs] for key, pairs in bound.items()}
    return Map(found)


def _binding(address: str, port: str) -> dict[str, str]:
    return {"HostIp": address, "HostPort": port}


def network_host_config(spec: Spec) -> dict[str, Any]:
    """The part of HostConfig that was asked for."""
    net = spec.net
    return {
        "NetworkMode": spec.network,
        "PortBindings": _asked(net.ports),
        "PublishAllPorts": net.publish_all,
        "Dns": list(net.dns),
        "DnsOptions": list(net.dns_options),
        "DnsSearch": list(net.dns_search),
        "ExtraHosts": list(net.hosts) or None,
        "Egress": list(net.egress) or None,
    }


def _asked(wanted: tuple[Port, ...]) -> Map:
    found: dict[str, list[dict[str, str]]] = {}
    for port in wanted:
        host = f"{port.host}-{port.host_end}" if port.host_end else str(port.host or "")
        found.setdefault(f"{port.container}/{port.protocol}", []).append(_binding(port.address, host))
    return Map(found)


def exposed_ports(spec: Spec) -> dict[str, Any]:
    """ExposedPorts of Config: absent without any."""
    keys = [*spec.net.exposed, *(f"{port.container}/{port.protocol}" for port in spec.net.ports)]
    return {"ExposedPorts": Map({key: {} for key in sorted(set(keys))})} if keys else {}


def _named(container: Container, wish: Wish) -> dict[str, Any]:
    """A named network: what is leased there at this moment, whenever the container was connected."""
    from ..errors import RootlessError
    from ..network.store import Networks

    networks = Networks(container.paths)
    try:
        network = networks.load(wish.name)
    except RootlessError:  # removed, or damaged, while the container did not run
        return _document(Endpoint(network=wish.name), wish=wish)
    lease = next((lease for lease in networks.leases(wish.name) if lease.container == container.id), None)
    if lease is None:
        return _document(Endpoint(network=wish.name), wish=wish, network_id=network.id)
    names = [container.name, container.id[:12], *lease.aliases, container.spec.hostname]
    return _document(
        _endpoint(network, lease), wish=wish, network_id=network.id, endpoint_id=lease.endpoint, names=names
    )


def _endpoint(network: Network, lease: Lease) -> Endpoint:
    from ..network.bridged import endpoint
    from ..network.switch import Plug

    return endpoint(Plug(network, lease))


def _document(
    endpoint: Endpoint,
    *,
    wish: Wish | None = None,
    network_id: str = "",
    endpoint_id: str = "",
    names: list[str] | None = None,
) -> dict[str, Any]:
    asked = {"IPv4Address": wish.ip, "IPv6Address": wish.ip6} if wish is not None else {}
    config = {name: address for name, address in asked.items() if address}
    return {
        "IPAMConfig": config or None,
        "Links": None,
        "Aliases": list(wish.aliases) or None if wish is not None else None,
        "MacAddress": endpoint.mac,
        "DriverOpts": None,
        "NetworkID": network_id,
        "EndpointID": endpoint_id,
        "Gateway": endpoint.gateway if endpoint.ip else "",
        "IPAddress": endpoint.ip,
        "IPPrefixLen": endpoint.prefix if endpoint.ip else 0,
        "IPv6Gateway": endpoint.gateway6 if endpoint.ip6 else "",
        "GlobalIPv6Address": endpoint.ip6,
        "GlobalIPv6PrefixLen": endpoint.prefix6 if endpoint.ip6 else 0,
        "DNSNames": list(dict.fromkeys(names)) if names else None,
    }
