"""What the name server answers, and that no packet brings it down."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import dnslib
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.container.network import Net
from rootless.container.record import Record, Spec
from rootless.kernel import process
from rootless.network import answers as module
from rootless.network import definition, resolv
from rootless.network.answers import Answers, Forward, parse_reverse, read_query, refuse
from rootless.network.definition import Definition, create
from rootless.network.dns import is_answer
from rootless.network.record import Lease
from rootless.network.store import Networks
from rootless.paths import Paths


@pytest.fixture
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Networks:
    """blue: web (10.0.1.2, alias shop) and db (10.0.1.3); green: db (10.0.2.2) and other (10.0.2.3); inner: lone."""
    (tmp_path / "store/tmp").mkdir(parents=True)
    monkeypatch.setattr(definition, "machine_networks", list)
    monkeypatch.setattr(resolv, "host", lambda: resolv.Resolv(("192.0.2.53",)))
    found = Networks(Paths(store=tmp_path / "store", run=tmp_path / "run"))
    create(found, Definition("blue", subnets=["10.0.1.0/24", "fd00:1::/64"], ipv6=True))
    create(found, Definition("green", subnets=["10.0.2.0/24"]))
    create(found, Definition("inner", subnets=["10.0.3.0/24"], internal=True))
    join(found, "blue", "web", "10.0.1.2", ipv6="fd00:1::2", aliases=("shop",))
    join(found, "blue", "db", "10.0.1.3", aliases=("shop",))
    join(found, "green", "db", "10.0.2.2", interface="eth1", aliases=("store",))
    join(found, "green", "other", "10.0.2.3", dns=("198.51.100.1",))
    join(found, "inner", "lone", "10.0.3.2")
    return found


def join(
    networks: Networks,
    on: str,
    name: str,
    ipv4: str,
    *,
    dns: tuple[str, ...] = (),
    egress: tuple[str, ...] = (),
    network: str = "blue",
    **fields: object,
) -> None:
    container = name.encode().hex().ljust(64, "0")
    directory = networks.paths.container(container)
    directory.mkdir(parents=True, exist_ok=True)
    spec = Spec(
        image="x", image_id="x", argv=("x",), hostname=f"host-{name}", network=network, net=Net(dns=dns, egress=egress)
    )
    record = Record(id=container, name=name, created="", spec=spec, driver="overlay", layers=(), idmap="")
    (directory / "config.json").write_bytes(msgspec.json.encode(record))
    lease: dict[str, object] = {
        "container": container,
        "endpoint": "e" * 64,
        "interface": "eth0",
        "ipv4": ipv4,
        "monitor": os.getpid(),
        "monitor_started": process.start_time(os.getpid()),
        "boot_id": process.boot_id(),
        "machine_id": process.machine_id(),
    }
    with networks.lock():
        networks.put_lease(on, Lease(**(lease | fields)))  # type: ignore[arg-type]


def ask(networks: Networks, client: str, name: str, kind: str = "A") -> tuple[int, set[str]] | Forward:
    query = dnslib.DNSRecord.question(name, kind)
    reply = Answers(networks).respond(query.pack(), client, datagram=True)
    if isinstance(reply, Forward):
        return reply
    assert reply is not None
    parsed = dnslib.DNSRecord.parse(reply)
    assert parsed.header.id == query.header.id and parsed.header.qr
    return parsed.header.rcode, {str(record.rdata) for record in parsed.rr}


@pytest.mark.parametrize(
    "name", ["web", "WEB.", "web.blue", "Web.Blue", "shop.blue", "host-web", b"web".hex().ljust(12, "0")]
)
def test_a_neighbour_is_known_by_its_names(networks: Networks, name: str) -> None:
    code, found = ask(networks, "10.0.1.3", name)  # type: ignore[misc]
    assert code == 0 and "10.0.1.2" in found


def test_an_alias_is_all_who_have_it(networks: Networks) -> None:
    assert ask(networks, "10.0.1.2", "shop") == (0, {"10.0.1.2", "10.0.1.3"})


def test_a_name_without_such_a_record_is_no_error(networks: Networks) -> None:
    assert ask(networks, "10.0.1.2", "web", "AAAA") == (0, {"fd00:1::2"})
    for kind in "AAAA", "MX", "TXT":
        assert ask(networks, "10.0.1.2", "db", kind) == (0, set())


def test_only_the_networks_of_who_asks_are_known(networks: Networks) -> None:
    assert isinstance(ask(networks, "10.0.1.2", "other"), Forward)
    assert ask(networks, "10.0.1.3", "other") == (0, {"10.0.2.3"})  # db is on both
    assert ask(networks, "10.0.1.3", "db") == (0, {"10.0.1.3"})  # the first one's address
    assert ask(networks, "10.0.1.3", "db.green") == (0, {"10.0.2.2"})
    assert ask(networks, "10.0.9.9", "web") == (dnslib.RCODE.REFUSED, set())


def test_addresses_are_known_by_name(networks: Networks) -> None:
    assert ask(networks, "10.0.1.2", "3.1.0.10.in-addr.arpa", "PTR") == (0, {"db.blue."})
    reverse = "2" + ".0" * 15 + ".0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa"
    assert parse_reverse(reverse) is not None
    assert ask(networks, "10.0.1.3", reverse, "PTR") == (0, {"web.blue."})
    assert ask(networks, "10.0.1.2", "77.1.0.10.in-addr.arpa", "PTR") == (dnslib.RCODE.NXDOMAIN, set())
    for other in "2.2.0.10.in-addr.arpa", "1.in-addr.arpa", "x.y.z.w.in-addr.arpa", "1.ip6.arpa":
        assert isinstance(ask(networks, "10.0.1.2", other, "PTR"), Forward)


def test_what_is_outside_is_asked_there(networks: Networks) -> None:
    blue, other = ask(networks, "10.0.1.2", "example.com"), ask(networks, "10.0.2.3", "example.com")
    assert isinstance(blue, Forward) and blue.servers == ("192.0.2.53",)
    assert isinstance(other, Forward) and other.servers == ("198.51.100.1",)
    # Questions would be a way out of an internal network.
    assert ask(networks, "10.0.3.2", "secret.example.com") == (dnslib.RCODE.SERVFAIL, set())


def test_where_addresses_can_be_forged_nobody_asks_outside_for_one_who_may_not(networks: Networks) -> None:
    """Without guards at the ports: a question is passed on only where everybody's would be."""
    join(networks, "blue", "caged", "10.0.1.9", egress=("example.org",))
    join(networks, "inner", "outgoing", "10.0.3.3", network="pasta")
    for client, rest in ("10.0.1.2", "blue"), ("10.0.3.3", "inner"), ("10.0.2.3", "green"):
        query = dnslib.DNSRecord.question("secret.example.com").pack()
        assert isinstance(Answers(networks).respond(query, client, datagram=True), Forward)
        reply = Answers(networks, guarded=False).respond(query, client, datagram=True)
        if rest == "green":
            assert isinstance(reply, Forward)
        else:
            assert isinstance(reply, bytes) and dnslib.DNSRecord.parse(reply).header.rcode == dnslib.RCODE.REFUSED


def test_a_container_that_was_renamed_is_known_by_its_new_name(networks: Networks) -> None:
    answers = Answers(networks)
    query = dnslib.DNSRecord.question("shop-front").pack()
    assert isinstance(answers.respond(query, "10.0.1.3", datagram=True), Forward)
    path = networks.paths.container(b"web".hex().ljust(64, "0")) / "config.json"
    document = msgspec.json.decode(path.read_bytes()) | {"name": "shop-front"}
    path.write_bytes(msgspec.json.encode(document))
    os.utime(path, ns=(1, 1))
    reply = answers.respond(query, "10.0.1.3", datagram=True)
    assert isinstance(reply, bytes) and str(dnslib.DNSRecord.parse(reply).rr[0].rdata) == "10.0.1.2"


def test_a_long_answer_is_cut_in_a_datagram_and_whole_in_a_stream(networks: Networks) -> None:
    for number in range(10, 70):
        join(networks, "blue", f"c{number}", f"10.0.1.{number}", aliases=("many",))
    packet = dnslib.DNSRecord.question("many").pack()
    short = Answers(networks).respond(packet, "10.0.1.2", datagram=True)
    whole = Answers(networks).respond(packet, "10.0.1.2", datagram=False)
    assert isinstance(short, bytes) and isinstance(whole, bytes)
    assert len(short) <= 512 and dnslib.DNSRecord.parse(short).header.tc
    assert len(dnslib.DNSRecord.parse(whole).rr) == 60


HEADER = b"\x12\x34" + bytes(dnslib.DNSRecord.question("web").pack()[2:12])  # the id is random, a test's name is not


@given(st.binary(max_size=600) | st.binary(max_size=200).map(lambda rest: HEADER + rest))
def test_no_packet_brings_it_down(tmp_path_factory: pytest.TempPathFactory, packet: bytes) -> None:
    answers = Answers(Networks(Paths(store=Path("/nonexistent"), run=Path("/nonexistent"))))
    reply = answers.respond(packet, "10.0.1.2", datagram=True)
    if isinstance(reply, bytes):
        assert reply[:2] == packet[:2] and reply[2] & 0x80 and len(reply) <= len(packet) + 16
    if len(packet) < 12 or packet[2] & 0x80:
        assert reply is None


@pytest.mark.parametrize(
    "packet",
    [
        HEADER + b"\xc0\x0c\0\1\0\1",  # a name that points at itself
        HEADER + b"\xc0\x0e\xc0\x0c\0\1\0\1",  # two that point at each other
        HEADER + b"\x3f" * 600,  # a label that never ends
        HEADER + b"\xff\xff\0\1\0\1",
        HEADER[:4] + b"\xff\xff" * 4 + b"\3web\0\0\1\0\1",  # it promises 65535 records of each kind
    ],
    ids=range(5),  # not their bytes: the header's number is another one in each of pytest-xdist's workers
)
def test_hostile_packets_are_refused_at_once(networks: Networks, packet: bytes) -> None:
    reply = Answers(networks).respond(packet, "10.0.1.2", datagram=True)
    assert reply is None or (isinstance(reply, bytes) and reply[3] & 15 != 0)


def test_an_answer_must_fit_its_question() -> None:
    query = dnslib.DNSRecord.question("example.com")
    packet = query.pack()
    good = query.reply()
    good.add_answer(dnslib.RR("example.com", rdata=dnslib.A("192.0.2.1")))
    assert is_answer(good.pack(), packet)
    other = dnslib.DNSRecord.question("example.org").reply()
    other.header.id = query.header.id
    assert not is_answer(other.pack(), packet)
    assert not is_answer(packet, packet)  # a question is no answer
    assert not is_answer(b"\0\0" + bytes(good.pack())[2:], b"\1\1" + bytes(packet)[2:])
    assert not is_answer(b"", packet)
    assert module.HEADER == 12


def test_what_would_take_long_to_read_is_refused_by_its_counts() -> None:
    """Five thousand records, their names chains of pointers: seconds of processor time, for one packet."""
    chain = b"".join(b"\x01a" + (0xC000 | max(12, 12 + 4 * (i - 1))).to_bytes(2) for i in range(300))
    record = (0xC000 | (12 + 4 * 299)).to_bytes(2) + b"\x00\x01\x00\x01" + bytes(6)
    for counts in (1, 5000, 0, 0), (1, 0, 5000, 0), (1, 0, 0, 5000), (5000, 0, 0, 0):
        packet = struct.pack("!HHHHHH", 7, 0x100, *counts) + chain + record * 5000
        began = time.process_time()
        assert read_query(packet[:65535]) == refuse(packet, dnslib.RCODE.FORMERR)
        assert time.process_time() - began < 0.1
