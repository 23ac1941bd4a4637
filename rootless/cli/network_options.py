"""The options that say how a container is connected, and how their texts are read."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

from ..container.network import DEFAULTS, Net, Port
from ..errors import UsageError
from ..network import choice
from .network_wishes import WISH_OPTIONS, read_wishes
from .options import invalid

_OPTIONS = (
    *WISH_OPTIONS,
    click.option("-p", "--publish", multiple=True, metavar="LIST", help="Publish a container's port(s) to the host"),
    click.option("-P", "--publish-all", is_flag=True, help="Publish all exposed ports to random ports"),
    click.option("--expose", multiple=True, metavar="LIST", help="Expose a port or a range of ports"),
    click.option("--dns", multiple=True, metavar="LIST", help="Set custom DNS servers"),
    click.option("--dns-search", multiple=True, metavar="LIST", help="Set custom DNS search domains"),
    click.option("--dns-option", "--dns-opt", multiple=True, metavar="LIST", help="Set DNS options"),
    click.option("--add-host", multiple=True, metavar="LIST", help="Add a custom host-to-IP mapping (host:ip)"),
    click.option(
        "--egress", multiple=True, metavar="LIST", help="Reach only these names outside: allow=DOMAIN[:PORT],..."
    ),
    click.option("--link", multiple=True, metavar="LIST", help="Not offered: put both containers on a network"),
)

EGRESS = "egress"
"""The mode of a container whose way out is the filter."""

_LABEL = r"[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9])?"
DOMAIN = re.compile(rf"(?=.{{1,253}}\.?$){_LABEL}(\.{_LABEL})*\.?")


def network_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with all of them."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def read_network(given: dict[str, Any]) -> dict[str, Any]:
    """Take these options out of what a command was given, as fields of `spec.Options`. Says what will not hold.

    Raises:
        UsageError: one means nothing, or two contradict each other; in Docker's words.
    """
    _refuse_link(given.pop("link"))
    mode, wishes, beside = read_wishes(given)
    net = Net(
        networks=wishes,
        ports=_ports(given.pop("publish")),
        publish_all=given.pop("publish_all"),
        exposed=_exposed(given.pop("expose")),
        dns=tuple(_dns(text) for text in given.pop("dns")),
        dns_search=tuple(_search(text) for text in given.pop("dns_search")),
        dns_options=tuple(given.pop("dns_option")),
        hosts=tuple(_host(text) for text in given.pop("add_host")),
        ip=beside.ip,
        ip6=beside.ip6,
        mac=beside.mac,
        egress=_egress(given.pop("egress")),
    )
    if net.egress:
        mode = _filtered(mode, net)
    elif mode == EGRESS:
        from ..network.egress_rules import SYNTAX

        raise UsageError(f"--network {EGRESS} is what --egress makes, and nothing is allowed", hint=SYNTAX)
    warning = choice.without_way_out() if wishes and not net.egress else ""
    if mode in DEFAULTS:
        mode, warning = choice.default()
    if warning:
        _warn(warning)
    if mode in ("container", "container:"):
        raise UsageError("--network: invalid container format container:<name|id>")
    if mode.startswith("slirp4netns:"):
        from ..network import slirp

        slirp.read_options(mode.partition(":")[2])
    _require_sense(mode, net, given["hostname"])
    return {"network": mode, "net": net}


def _egress(texts: Sequence[str]) -> tuple[str, ...]:
    if not texts:
        return ()
    from ..network import egress_rules

    return egress_rules.read(texts)


def _filtered(mode: str, net: Net) -> str:
    """The mode of a container with --egress: the filter is its way out, in the place of any other."""
    if not net.networks and mode not in (*DEFAULTS, EGRESS):
        raise UsageError(f"conflicting options: --egress and --network {mode}")
    if net.dns:
        raise UsageError("conflicting options: --egress and --dns", hint="names are looked up by the machine itself")
    if net.ports or net.publish_all:
        raise UsageError("conflicting options: --egress and port publishing")
    return mode if net.networks else EGRESS


def _warn(text: str) -> None:
    print(f"rootless: warning: {text}", file=sys.stderr)


def _refuse_link(links: Sequence[str]) -> None:
    if links:
        name = links[0].partition(":")[0]
        raise UsageError(
            "--link is not offered",
            hint=f"rootless network create NET, and --network NET for both: there {name} is known by its name",
        )


def _require_sense(mode: str, net: Net, hostname: str) -> None:
    """What Docker refuses, and a line about what it passes over."""
    if mode.startswith("container:"):
        conflicts = {
            "hostname": hostname,
            "dns": net.dns or net.dns_search or net.dns_options,
            "custom host-to-IP mapping": net.hosts,
        }
        for what, value in conflicts.items():
            if value:
                raise UsageError(f"conflicting options: {what} and the network mode")
        if net.ports or net.publish_all:
            raise UsageError("conflicting options: port publishing and the container type network mode")
        if net.exposed:
            raise UsageError("conflicting options: port exposing and the container type network mode")
    elif mode in ("none", "host") and (net.ports or net.publish_all):
        _warn(f"published ports are discarded when using {'no' if mode == 'none' else mode} network")


def _ports(texts: Iterable[str]) -> tuple[Port, ...]:
    if not texts:
        return ()
    from ..network import ports

    return tuple(dict.fromkeys(port for text in texts for port in ports.parse(text)))


def _exposed(texts: Iterable[str]) -> tuple[str, ...]:
    if not texts:
        return ()
    from ..network import ports

    return tuple(dict.fromkeys(port for text in texts for port in ports.parse_exposed(text)))


def _address(text: str) -> Any:
    from ipaddress import ip_address

    try:
        return ip_address(text)
    except ValueError:
        return None


def _dns(text: str) -> str:
    if _address(text) is None:
        raise invalid(text, "--dns", f"{text} is not an ip address")
    return text


def _search(text: str) -> str:
    if text != "." and not DOMAIN.fullmatch(text):
        raise invalid(text, "--dns-search", f"{text} is not a valid domain")
    return text


def _host(text: str) -> str:
    """`NAME:ADDRESS` or `NAME=ADDRESS`; an IPv6 address may stand in brackets."""
    separator = min((s for s in "=:" if s in text), key=text.index, default="")
    name, _, address = text.partition(separator) if separator else ("", "", "")
    if not name or not address or re.search(r"\s", text):
        raise invalid(text, "--add-host", f'bad format for add-host: "{text}"')
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    if address != "host-gateway" and _address(address) is None:
        raise invalid(text, "--add-host", f'invalid IP address in add-host: "{address}"')
    return f"{name}:{address}"
