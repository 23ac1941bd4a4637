"""IPv4 packets as a TUN device gives them (RFC 791): read, readdressed, and answered.

All that comes is hostile: lengths are checked before anything is taken. What is readdressed keeps its payload, so its
checksums are brought forward by what has changed (RFC 1624), which costs the same for a packet of any size.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

ICMP, TCP, UDP = 1, 6, 17
NAMES = {ICMP: "icmp", TCP: "tcp", UDP: "udp"}

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10

PROHIBITED = 13
"""Communication administratively prohibited: a code of ICMP's "destination unreachable" (RFC 1812, 5.2.7.1)."""

_PORTS = struct.Struct("!HH")
_SIZES = {TCP: 20, UDP: 8, ICMP: 8}
_MORE_OR_OFFSET = 0x3FFF
_TTL = 64


@dataclass(frozen=True)
class Endpoint:
    """An address (4 bytes) and a port."""

    address: bytes
    port: int

    def packed(self) -> bytes:
        """As their sum counts in a checksum."""
        return self.address + self.port.to_bytes(2)


@dataclass(frozen=True)
class Packet:
    """A whole packet.

    Attributes:
        data: all of it, cut to its length.
        start: where the payload begins.
        protocol: `TCP`, `UDP` or another.
        source, target: of a protocol without ports with port 0.
    """

    data: bytes
    start: int
    protocol: int
    source: Endpoint
    target: Endpoint

    @property
    def flags(self) -> int:
        """TCP's."""
        return self.data[self.start + 13]

    @property
    def opens(self) -> bool:
        """Whether it asks for a new connection."""
        return self.flags & (SYN | ACK | RST) == SYN

    @property
    def payload(self) -> bytes:
        """UDP's."""
        return self.data[self.start + _SIZES[UDP] :]


def parse(data: bytes) -> Packet | None:
    """A packet; None for what is none, is not IPv4, or is a part of one: the kernel cuts none that its own interface
    can take whole."""
    if len(data) < 20 or data[0] >> 4 != 4:
        return None
    start, length = (data[0] & 15) * 4, int.from_bytes(data[2:4])
    protocol = data[9]
    if start < 20 or not start + _SIZES.get(protocol, 0) <= length <= len(data):
        return None
    if int.from_bytes(data[6:8]) & _MORE_OR_OFFSET:
        return None
    ports = _PORTS.unpack_from(data, start) if protocol in (TCP, UDP) else (0, 0)
    source, target = Endpoint(data[12:16], ports[0]), Endpoint(data[16:20], ports[1])
    return Packet(data[:length], start, protocol, source, target)


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071): 16-bit words are added modulo 0xFFFF, as digits of one number are."""
    padded = data + b"\0" if len(data) % 2 else data
    return 0xFFFF - int.from_bytes(padded) % 0xFFFF


def _updated(old: int, before: bytes, after: bytes) -> bytes:
    """A checksum over data in which `before` was replaced by `after`."""
    total = 0xFFFF - old - int.from_bytes(before) + int.from_bytes(after)
    return (0xFFFF - total % 0xFFFF).to_bytes(2)


def readdress(packet: Packet, source: Endpoint, target: Endpoint) -> bytes:
    """A TCP packet between other endpoints."""
    data, start = bytearray(packet.data), packet.start
    addresses = source.address + target.address
    data[10:12] = _updated(int.from_bytes(data[10:12]), bytes(data[12:20]), addresses)
    before, after = packet.source.packed() + packet.target.packed(), source.packed() + target.packed()
    data[start + 16 : start + 18] = _updated(int.from_bytes(data[start + 16 : start + 18]), before, after)
    data[12:20] = addresses
    data[start : start + 4] = _PORTS.pack(source.port, target.port)
    return bytes(data)


def _ip(protocol: int, source: bytes, target: bytes, payload: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0x4000, _TTL, protocol, 0) + source + target
    return head[:10] + checksum(head).to_bytes(2) + head[12:] + payload


def reset(packet: Packet) -> bytes:
    """What refuses a TCP packet (RFC 9293, 3.10.7.1)."""
    data, start = packet.data, packet.start
    sequence, acknowledged = struct.unpack_from("!II", data, start + 4)
    if packet.flags & ACK:
        numbers, flags = (acknowledged, 0), RST
    else:
        length = len(data) - start - (data[start + 12] >> 4) * 4 + bool(packet.flags & SYN) + bool(packet.flags & FIN)
        numbers, flags = (0, (sequence + length) & 0xFFFFFFFF), RST | ACK
    head = _PORTS.pack(packet.target.port, packet.source.port) + struct.pack("!IIBBHHH", *numbers, 0x50, flags, 0, 0, 0)
    pseudo = packet.target.address + packet.source.address + struct.pack("!BBH", 0, TCP, len(head))
    sealed = head[:16] + checksum(pseudo + head).to_bytes(2) + head[18:]
    return _ip(TCP, packet.target.address, packet.source.address, sealed)


def unreachable(packet: Packet, code: int = PROHIBITED) -> bytes:
    """ICMP's word to the sender of a packet that it is not let pass (RFC 792), from its own target."""
    body = struct.pack("!BBHI", 3, code, 0, 0) + packet.data[: packet.start + 8]
    sealed = body[:2] + checksum(body).to_bytes(2) + body[4:]
    return _ip(ICMP, packet.target.address, packet.source.address, sealed)


def datagram(source: Endpoint, target: Endpoint, payload: bytes) -> bytes:
    """A UDP packet. It has no checksum, which IPv4 allows (RFC 768): it goes through no wire."""
    head = struct.pack("!HHHH", source.port, target.port, 8 + len(payload), 0)
    return _ip(UDP, source.address, target.address, head + payload)
