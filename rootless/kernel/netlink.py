"""Links, addresses and routes of a network namespace: rtnetlink(7), as much of it as we need.

The numbers are those of linux/rtnetlink.h, linux/if_link.h and linux/if_addr.h.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from dataclasses import dataclass
from types import TracebackType

from .nlsocket import NLA_F_NESTED, NLM_F_CREATE, NLM_F_EXCL, Conversation, Request, attribute, attributes

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_GETADDR = 20, 22
RTM_NEWROUTE, RTM_GETROUTE = 24, 26

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO, IFLA_NET_NS_FD = 1, 3, 4, 10, 18, 28
IFLA_PROTINFO, IFLA_BRPORT_ISOLATED = 12, 33
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 1, 2, 1
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_FLAGS = 1, 2, 4, 8
IFA_F_NODAD = 0x02
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY = 1, 4, 5, 6
RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RTN_UNICAST = 254, 4, 0, 253, 1

RTM_NEWNEIGH, NUD_PERMANENT, NDA_DST, NDA_LLADDR = 28, 0x80, 1, 2

IFF_UP = 0x1
AF_BRIDGE = 7
IFNAMSIZ = 16
"""Bytes of an interface's name, with the zero at its end."""

_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg: family, two lengths, tos, table, protocol, scope, type, flags
_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # struct ndmsg: family, index, state, flags, type


@dataclass(frozen=True)
class Link:
    """One interface. `master` is the index of its bridge, 0 for none; `kind` is `bridge`, `veth` ... or empty."""

    index: int
    name: str
    kind: str
    master: int
    up: bool


class Netlink:
    """A socket that speaks of the caller's network namespace."""

    def __init__(self) -> None:
        self._kernel = Conversation(socket.NETLINK_ROUTE)

    def __enter__(self) -> Netlink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kernel.__exit__(kind, problem, trace)

    # --- links -------------------------------------------------------------------------------------------------------

    def links(self) -> list[Link]:
        """Every interface of the namespace."""
        return [_link(body) for body in self._kernel.dump(RTM_GETLINK, _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0))]

    def link(self, name: str) -> Link | None:
        """The interface of this name."""
        body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + _name(name)
        try:
            return _link(self._kernel.ask(Request(RTM_GETLINK, 0, body), name)[0])
        except OSError as problem:
            if problem.errno == errno.ENODEV:
                return None
            raise

    def add_bridge(self, name: str, address: bytes, *, mtu: int = 0) -> None:
        """A new bridge. OSError EEXIST when the name is taken.

        Args:
            address: its hardware address, which otherwise would be the lowest of its ports' and change with them.
        """
        settings = attribute(IFLA_ADDRESS, address)
        settings += attribute(IFLA_MTU, struct.pack("=I", mtu)) if mtu else b""
        self._new_link(name, settings + _info("bridge"))

    def add_veth(self, name: str, peer: str, peer_namespace: int, *, address: bytes, mtu: int = 0) -> None:
        """A new pair: `name` here and `peer`, with the hardware address, in the namespace of that descriptor.

        Raises:
            OSError: EPERM without CAP_NET_ADMIN over both namespaces, EEXIST when either name is taken.
        """
        size = attribute(IFLA_MTU, struct.pack("=I", mtu)) if mtu else b""
        far = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + _name(peer) + attribute(IFLA_ADDRESS, address) + size
        far += attribute(IFLA_NET_NS_FD, struct.pack("=i", peer_namespace))
        self._new_link(name, size + _info("veth", attribute(VETH_INFO_PEER, far)))

    def _new_link(self, name: str, attributes: bytes) -> None:
        body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + _name(name) + attributes
        self._request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, name)

    def set_up(self, index: int) -> None:
        """Bring an interface up."""
        self._request(RTM_NEWLINK, 0, _LINK.pack(socket.AF_UNSPEC, 0, index, IFF_UP, IFF_UP))

    def set_mtu(self, index: int, mtu: int) -> None:
        """How many bytes a packet of an interface may have."""
        body = _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0) + attribute(IFLA_MTU, struct.pack("=I", mtu))
        self._request(RTM_NEWLINK, 0, body)

    def set_master(self, index: int, bridge: int) -> None:
        """Make an interface a port of the bridge of that index."""
        body = _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0) + attribute(IFLA_MASTER, struct.pack("=I", bridge))
        self._request(RTM_NEWLINK, 0, body)

    def isolate(self, index: int) -> None:
        """Let a port of a bridge reach the bridge itself, and no other port that is isolated."""
        protected = attribute(IFLA_PROTINFO | NLA_F_NESTED, attribute(IFLA_BRPORT_ISOLATED, b"\1"))
        body = _LINK.pack(AF_BRIDGE, 0, index, 0, 0) + protected
        self._request(RTM_SETLINK, 0, body)

    def delete_link(self, index: int) -> None:
        """Remove an interface, and with one side of a veth pair the other."""
        self._request(RTM_DELLINK, 0, _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0))

    # --- addresses and routes ----------------------------------------------------------------------------------------

    def addresses(self) -> list[tuple[int, IPInterface]]:
        """(index of the interface, address with its prefix) of every interface."""
        found = []
        for body in self._kernel.dump(RTM_GETADDR, _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
            _, prefix, _, _, index = _ADDRESS.unpack_from(body)
            values = dict(attributes(body[_ADDRESS.size :]))
            raw = values.get(IFA_LOCAL, values.get(IFA_ADDRESS, b""))
            if len(raw) in (4, 16):
                found.append((index, ipaddress.ip_interface((raw, prefix))))
        return found

    def add_address(self, index: int, address: IPInterface) -> None:
        """Give an interface an address. One of IPv6 can be used at once: nobody looks for another host that has it."""
        raw = address.ip.packed
        body = _ADDRESS.pack(_family(address), address.network.prefixlen, 0, RT_SCOPE_UNIVERSE, index)
        body += attribute(IFA_LOCAL, raw) + attribute(IFA_ADDRESS, raw)
        if isinstance(address, ipaddress.IPv6Interface):
            body += attribute(IFA_FLAGS, struct.pack("=I", IFA_F_NODAD))
        elif address.network.prefixlen < 31:  # RFC 3021: a link of two has no broadcast address
            body += attribute(IFA_BROADCAST, address.network.broadcast_address.packed)
        self._request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, body, str(address))

    def routes(self) -> list[IPNetwork]:
        """The destinations of the main table, without the default routes."""
        found: list[IPNetwork] = []
        for body in self._kernel.dump(RTM_GETROUTE, _ROUTE.pack(socket.AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0, 0)):
            _, length, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(body)
            raw = dict(attributes(body[_ROUTE.size :])).get(RTA_DST)
            if table == RT_TABLE_MAIN and kind == RTN_UNICAST and length and raw is not None:
                found.append(ipaddress.ip_network((raw, length), strict=False))
        return found

    def add_route(self, destination: IPNetwork, index: int, gateway: IPAddress | None = None) -> None:
        """Send what goes to `destination` out of an interface, to `gateway` if it is not on the link itself."""
        scope = RT_SCOPE_LINK if gateway is None else RT_SCOPE_UNIVERSE
        length = destination.prefixlen
        body = _ROUTE.pack(_family(destination), length, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, scope, RTN_UNICAST, 0)
        body += attribute(RTA_DST, destination.network_address.packed) if length else b""
        body += attribute(RTA_OIF, struct.pack("=I", index))
        body += attribute(RTA_GATEWAY, gateway.packed) if gateway is not None else b""
        self._request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, body, str(destination))

    def add_neighbour(self, index: int, address: IPAddress, hardware: bytes) -> None:
        """Know for ever where an address of the link is: nobody else who claims it is believed (ip-neighbour(8))."""
        body = _NEIGHBOUR.pack(_family(address), index, NUD_PERMANENT, 0, 0)
        body += attribute(NDA_DST, address.packed) + attribute(NDA_LLADDR, hardware)
        self._request(RTM_NEWNEIGH, NLM_F_CREATE, body, str(address))

    def _request(self, kind: int, flags: int, body: bytes, what: str | None = None) -> None:
        """Ask for a change and wait for its acknowledgement; OSError with the kernel's errno, about `what`."""
        self._kernel.ask(Request(kind, flags, body), what)


def _family(address: IPNetwork | IPInterface | IPAddress) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _name(name: str) -> bytes:
    raw = name.encode() + b"\0"
    if len(raw) > IFNAMSIZ:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), name)
    return attribute(IFLA_IFNAME, raw)


def _info(kind: str, data: bytes = b"") -> bytes:
    info = attribute(IFLA_INFO_KIND, kind.encode())
    return attribute(IFLA_LINKINFO, info + (attribute(IFLA_INFO_DATA, data) if data else b""))


def _link(body: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(body)
    values = dict(attributes(body[_LINK.size :]))
    info = dict(attributes(values.get(IFLA_LINKINFO, b"")))
    master = values.get(IFLA_MASTER)
    return Link(
        index=index,
        name=values.get(IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace"),
        kind=info.get(IFLA_INFO_KIND, b"").rstrip(b"\0").decode(errors="replace"),
        master=struct.unpack("=I", master)[0] if master else 0,
        up=bool(flags & IFF_UP),
    )
