"""What stands on disk about a container's network: what was asked for (in its spec), how it is connected (its state).

The mode itself is `Spec.network`, in Docker's words: `none`, `host`, `pasta[:OPTIONS]`, `slirp4netns[:OPTIONS]`,
`container:ID`, or the name of a network; `egress` where --egress was given. `Net` is everything beside it.
"""

from __future__ import annotations

import msgspec

OWN = ("pasta", "slirp4netns", "egress")
"""The modes in which a process in user space stands between a container's own namespace and the host's sockets."""

DEFAULTS = ("", "default", "bridge", "private")
"""Words of Docker's and podman's for the default."""

RESERVED = ("none", "host", "container", *OWN, *DEFAULTS)
"""Words for modes, which no named network may be called."""


class Port(msgspec.Struct, frozen=True, omit_defaults=True):
    """A published port.

    Attributes:
        container: the port inside.
        protocol: tcp or udp.
        host: the host's port; 0 in a spec for any that is free; host_end: the last of several of which one will do.
        address: the host's address; empty for all of them, IPv4's and IPv6's.
    """

    container: int
    protocol: str = "tcp"
    host: int = 0
    host_end: int = 0
    address: str = ""


class Wish(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A named network that a container shall be on.

    Attributes:
        name: of the network.
        aliases: further names by which the others on it know the container.
        ip, ip6, mac: the addresses asked for there; empty for any.
    """

    name: str
    aliases: tuple[str, ...] = ()
    ip: str = ""
    ip6: str = ""
    mac: str = ""


class Net(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was asked for beside the mode; empty where nothing was said.

    Attributes:
        networks: the named networks, in the order given; empty in every other mode. `connect` and `disconnect` change
            it.
        ports: what shall be published; `publish_all`: every exposed port as well, on free ports of the host's.
        exposed: ports the image or the caller says something listens on, such as `80/tcp`.
        dns, dns_search, dns_options: what shall stand in /etc/resolv.conf in the place of the host's.
        hosts: `NAME:ADDRESS` for /etc/hosts; the address may be `host-gateway`.
        ip, ip6, mac: the addresses asked for where a mode of `OWN` gives them.
        egress: the rules of --egress (network/egress_rules.py).
    """

    networks: tuple[Wish, ...] = ()
    ports: tuple[Port, ...] = ()
    publish_all: bool = False
    exposed: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    ip: str = ""
    ip6: str = ""
    mac: str = ""
    egress: tuple[str, ...] = ()


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One interface of a running container.

    Attributes:
        network: the mode or the network's name.
        interface: its name inside.
        ip, prefix, gateway, and the same with 6: addresses without their length, which is `prefix`; empty for none.
        aliases: the names by which others on the network find it.
    """

    network: str
    interface: str = "eth0"
    ip: str = ""
    prefix: int = 0
    gateway: str = ""
    ip6: str = ""
    prefix6: int = 0
    gateway6: str = ""
    mac: str = ""
    aliases: tuple[str, ...] = ()


class Helper(msgspec.Struct, frozen=True):
    """A process that a container's network depends on, as its monitor knows it: with the boot id it is one for ever."""

    name: str
    pid: int
    started: int


class Connected(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a running container is connected.

    Attributes:
        endpoints: its interfaces but lo.
        ports: what is published, with the host's ports as they are.
        helpers: the processes behind it.
        down: why nothing passes at present; empty while it works.
        host: the host's address as the container reaches it (`host-gateway`); empty where it does not.
    """

    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[Port, ...] = ()
    helpers: tuple[Helper, ...] = ()
    down: str = ""
    host: str = ""
