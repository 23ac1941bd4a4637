"""What --egress is made of, without a container: rules, packets, connections, names. All of it meets hostile input."""

from __future__ import annotations

import errno
import socket
import struct

import dnslib
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from rootless.errors import UsageError
from rootless.network import egress_names, egress_rules, flows, packets
from rootless.network.egress_names import Names, Resolver
from rootless.network.egress_rules import Rules
from rootless.network.own import is_own
from rootless.network.packets import Endpoint
from rootless.runtime import egress_dial
from tests.servers import own_address

# --- rules -----------------------------------------------------------------------------------------------------------


def rules(*texts: str) -> Rules:
    return Rules(egress_rules.read([f"allow={','.join(texts)}"]))


@pytest.mark.parametrize(
    ("rule", "name", "port", "allowed"),
    [
        ("example.org", "example.org", 1, True),
        ("example.org", "EXAMPLE.org.", 65535, True),
        ("example.org", "www.example.org", 80, False),
        ("example.org", "example.org.evil.test", 80, False),
        ("example.org", "notexample.org", 80, False),
        ("example.org:443", "example.org", 443, True),
        ("example.org:443", "example.org", 44, False),
        ("*.example.org", "a.b.example.org", 80, True),
        ("*.example.org", "example.org", 80, False),
        ("*.example.org:80", "a.example.org", 81, False),
        ("Bücher.example", "xn--bcher-kva.example", 80, True),
        ("192.0.2.7:22", "192.0.2.7", 22, True),
        ("192.0.2.7:22", "192.0.2.70", 22, False),
        ("*.0.2.7", "1.0.2.7", 22, False),
        ("[2001:db8::1]:443", "2001:DB8:0::1", 443, True),
        ("[2001:db8::1]:443", "2001:db8::1", 80, False),
        ("[2001:db8::1]", "2001:db8::1", 80, True),
    ],
)
def test_a_rule_allows_its_name_and_no_other(rule: str, name: str, port: int, allowed: bool) -> None:
    assert rules(rule).allow(name, port) is allowed
    assert not allowed or rules(rule).know(name)


def test_a_name_is_known_by_any_of_its_ports() -> None:
    found = rules("example.org:443", "[::1]:80", "*.example.net:80")
    assert found.know("example.org") and found.know("::1") and found.know("a.example.net")
    assert not found.know("example.net") and not found.know("www.example.org")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "allow",
        "allow=",
        "allow=a,,b",
        "deny=a",
        "allow=a:0",
        "allow=a:65536",
        "allow=a b",
        "allow=*",
        "allow=*.*.a",
        "allow=a.*",
        "allow=http://a",
        "allow=a/24",
        "allow=[x]:80",
        "allow=a:80:80",
        f"allow={'a' * 64}",
    ],
)
def test_what_means_nothing_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="--egress"):
        egress_rules.read([text])


# --- packets ---------------------------------------------------------------------------------------------------------

endpoints = st.builds(Endpoint, st.binary(min_size=4, max_size=4), st.integers(0, 65535))


def tcp(source: Endpoint, target: Endpoint, flags: int = packets.SYN, payload: bytes = b"") -> bytes:
    """A packet as a kernel makes it; the checksums are counted as RFC 1071 does, word by word."""
    head = struct.pack("!HHIIBBHHH", source.port, target.port, 7, 9, 0x50, flags, 1000, 0, 0)
    pseudo = source.address + target.address + struct.pack("!BBH", 0, packets.TCP, len(head) + len(payload))
    head = head[:16] + struct.pack("!H", summed(pseudo + head + payload)) + head[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 40 + len(payload), 1, 0x4000, 64, packets.TCP, 0)
    ip += source.address + target.address
    return ip[:10] + struct.pack("!H", summed(ip)) + ip[12:] + head + payload


def summed(data: bytes) -> int:
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def is_sound(data: bytes) -> bool:
    """Whether the checksums are what a kernel takes for right."""
    packet = packets.parse(data)
    assert packet is not None
    body = data[packet.start :]
    pseudo = data[12:20] + struct.pack("!BBH", 0, packet.protocol, len(body))
    return summed(data[: packet.start]) == 0 and summed((pseudo if packet.protocol == packets.TCP else b"") + body) == 0


@given(endpoints, endpoints, endpoints, endpoints, st.binary(max_size=99))
def test_a_readdressed_packet_is_as_sound_as_before(
    source: Endpoint, target: Endpoint, new_source: Endpoint, new_target: Endpoint, payload: bytes
) -> None:
    packet = packets.parse(tcp(source, target, payload=payload))
    assert packet is not None and (packet.source, packet.target) == (source, target)
    moved = packets.parse(packets.readdress(packet, new_source, new_target))
    assert moved is not None and (moved.source, moved.target) == (new_source, new_target)
    assert moved.data.endswith(payload)
    assert is_sound(moved.data)


@given(
    endpoints, endpoints, st.sampled_from([packets.SYN, packets.ACK, packets.SYN | packets.FIN]), st.binary(max_size=9)
)
def test_refusals_are_sound(source: Endpoint, target: Endpoint, flags: int, payload: bytes) -> None:
    packet = packets.parse(tcp(source, target, flags, payload))
    assert packet is not None
    for answer in packets.reset(packet), packets.unreachable(packet):
        assert is_sound(answer)
        assert (answer[12:16], answer[16:20]) == (target.address, source.address)


@given(st.binary(max_size=80))
def test_what_is_no_packet_is_none(data: bytes) -> None:
    packet = packets.parse(data)
    assert packet is None or (len(packet.data) <= len(data) and packet.start <= len(packet.data))


@given(
    st.integers(0, 15),
    st.integers(0, 100),
    st.integers(0, 0xFFFF),
    st.sampled_from([1, 6, 17, 50]),
    st.binary(max_size=80),
)
def test_lengths_that_lie_are_seen(ihl: int, length: int, fragment: int, protocol: int, rest: bytes) -> None:
    data = struct.pack("!BBHHHBBH", 0x40 | ihl, 0, length, 0, fragment, 64, protocol, 0) + rest
    packet = packets.parse(data)
    if packet is not None:
        assert packet.start >= 20 and len(packet.data) == length and not fragment & 0x3FFF
        packets.unreachable(packet)
        if protocol == packets.TCP:
            packets.reset(packet)
            packets.readdress(packet, packet.target, packet.source)
        elif protocol == packets.UDP:
            assert len(packet.payload) == length - packet.start - 8


# --- connections -----------------------------------------------------------------------------------------------------

CLIENT, TARGET = Endpoint(b"\n\0\2d", 4000), Endpoint(b"\xc6\x12\1\1", 443)


def test_a_connection_is_found_from_both_sides_until_a_while_after_its_end() -> None:
    table = flows.Flows()
    flow = table.open(CLIENT, TARGET)
    assert flow is not None
    assert table.find(CLIENT, TARGET) is flow is table.of(flow.number)
    table.end(flow, 10.0)
    table.sweep(10.0 + flows.LINGER)
    assert table.of(flow.number) is flow
    table.sweep(11.0 + flows.LINGER)
    assert table.of(flow.number) is None is table.find(CLIENT, TARGET)


def test_there_are_only_so_many_and_those_that_ended_make_room() -> None:
    table = flows.Flows()
    made = [table.open(Endpoint(CLIENT.address, number), TARGET) for number in range(flows.MAX_FLOWS)]
    assert all(made) and len({flow.number for flow in made if flow}) == flows.MAX_FLOWS
    assert table.open(CLIENT, TARGET) is None
    for number in 5, 3:
        flow = made[number]
        assert flow is not None
        table.end(flow, float(number))
    assert table.open(CLIENT, TARGET) is not None
    assert table.find(Endpoint(CLIENT.address, 3), TARGET) is None
    assert table.find(Endpoint(CLIENT.address, 5), TARGET) is made[5]


# --- where names lead -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "0.0.0.0",
        "::",
        "169.254.169.254",
        "fe80::1%eth0",
        "224.0.0.1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "100.100.100.200",
        "168.63.129.16",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::169.254.169.254",
        "64:ff9b::169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b:1::127.0.0.1",
        "64:ff9b:1:a9fe:a9:fe00::",
        "2002:a9fe:a9fe::1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "2001:0:4136:e378:8000:63bf:5601:5601",  # Teredo: the client's address is stored inverted
    ],
)
def test_what_means_the_machine_itself(address: str) -> None:
    assert is_own(address)


@pytest.mark.parametrize(
    "address",
    [
        "192.0.2.7",
        "8.8.8.8",
        "10.255.255.1",
        "2606:4700:4700::1111",
        "fd00:1234::1",
        "::ffff:192.0.2.7",
        "64:ff9b::192.0.2.7",
        "64:ff9b:1:c000:2:700::",
        "2002:c000:207::1",
    ],
)
def test_what_is_elsewhere(address: str) -> None:
    assert not is_own(address)


def test_an_address_of_an_interface_is_the_machine_s() -> None:
    assert is_own(own_address())


class Log:
    """In the place of the log of tries."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, ...]] = []

    def allowed(self, *words: str) -> None:
        self.lines.append(("allowed", *words))

    failed = refused = allowed


def dialler(*texts: str, search: tuple[str, ...] = ()) -> egress_dial.Dialler:
    return egress_dial.Dialler(rules(*texts), (), Log(), search)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("api.example.org", ["api.example.org"]),
        ("registry", ["registry.corp.test", "registry.test", "registry"]),
        ("localhost", ["localhost"]),
        ("192.0.2.7", ["192.0.2.7"]),
        ("2001:db8::7", ["2001:db8::7"]),
    ],
)
def test_only_a_name_without_a_dot_is_looked_for_in_the_search_domains(
    name: str, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = []

    async def getaddrinfo(text: str, *_: object, **__: object) -> list[object]:
        heard.append(text)
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(trio.socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(egress_dial.DialError, match="no such name"):
        trio.run(
            dialler(name if ":" not in name else f"[{name}]", search=("corp.test", "test")).connect, "tcp", name, 80
        )
    assert heard == asked


def test_no_descriptor_for_a_connection_fails_that_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(trio.socket, "socket", full)
    with pytest.raises(egress_dial.DialError, match="Too many open files"):
        trio.run(dialler("192.0.2.7").connect, "tcp", "192.0.2.7", 80)


# --- names -----------------------------------------------------------------------------------------------------------


def test_a_name_has_an_address_of_its_own_that_another_process_gives_it_too() -> None:
    one, other = Names(), Names()
    texts = [f"n{number}.example.org" for number in range(2000)]
    addresses = {text: one.address(text) for text in texts}
    assert len(set(addresses.values())) == len(texts)
    assert all(one.name(address) == text for text, address in addresses.items())
    assert other.address("N7.example.org.") == addresses["n7.example.org"]
    assert one.name("192.0.2.1") == "192.0.2.1"


def test_names_without_end_take_no_memory_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress_names, "MAX_NAMES", 10)
    names = Names()
    first = names.address("n0.test")
    addresses = [names.address(f"n{number}.test") for number in range(1, 50)]
    assert names.name(first) == first
    assert [names.name(address) for address in addresses[-10:]] == [f"n{number}.test" for number in range(40, 50)]


@pytest.fixture
def refused() -> list[str]:
    return []


@pytest.fixture
def resolver(refused: list[str]) -> Resolver:
    return Resolver(rules("api.example.org:443", "*.example.net"), Names(), refused.append, search=("Corp.test", "."))


def ask(resolver: Resolver, name: str, kind: str = "A") -> tuple[int, list[str]]:
    reply = resolver.respond(dnslib.DNSRecord.question(name, kind).pack(), datagram=True)
    assert reply is not None
    parsed = dnslib.DNSRecord.parse(reply)
    return parsed.header.rcode, [str(record.rdata) for record in parsed.rr]


def test_allowed_names_have_an_address_and_others_are_told(resolver: Resolver, refused: list[str]) -> None:
    code, (address,) = ask(resolver, "API.example.org")
    assert code == 0 and resolver.names.name(address) == "api.example.org"
    assert ask(resolver, "a.example.net")[1]
    for kind in "AAAA", "MX", "TXT", "HTTPS":
        assert ask(resolver, "api.example.org", kind) == (0, [])
    assert refused == []
    for name in "example.org", "secret.evil.test", "x.api.example.org":
        assert ask(resolver, name) == (dnslib.RCODE.NXDOMAIN, [])
    assert refused == ["example.org", "secret.evil.test", "x.api.example.org"]
    # An allowed name behind which the C library has put a search domain is nobody's wish.
    assert ask(resolver, "api.example.org.corp.test") == (dnslib.RCODE.NXDOMAIN, [])
    assert ask(resolver, "evil.corp.test") == (dnslib.RCODE.NXDOMAIN, [])
    assert refused[3:] == ["evil.corp.test"]
    assert ask(resolver, ".".join(reversed(address.split("."))) + ".in-addr.arpa", "PTR") == (0, ["api.example.org."])


@given(st.binary(max_size=200))
def test_hostile_questions(data: bytes) -> None:
    heard: list[str] = []
    reply = Resolver(rules("a.test"), Names(), heard.append).respond(data, datagram=True)
    assert reply is None or (isinstance(reply, bytes) and reply[2] & 0x80)


def test_addresses_of_names_are_not_those_of_connections() -> None:
    network = int.from_bytes(socket.inet_aton("255.255.0.0"))
    number = egress_names.BASE + egress_names.LAST
    assert number & network == egress_names.BASE != int.from_bytes(flows.RETURN) & network
