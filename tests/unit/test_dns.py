"""The name server's process, over real sockets of this machine's loopback: what it passes on, and what it survives."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import dnslib
import pytest
import trio

from rootless import locks
from rootless.network import answers, dns, names
from rootless.network.answers import Forward, error
from rootless.network.dns import Server
from rootless.paths import Paths

NAME = "outside.example"


class Outside:
    """Another name server: on 127.0.0.1, with the same port for datagrams and streams."""

    def __init__(self, reply: Callable[[dnslib.DNSRecord], list[bytes]]) -> None:
        self.reply = reply
        self.asked: list[tuple[str, int]] = []
        self.sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()]
        self.sockets[0].bind(("127.0.0.1", 0))
        self.port = self.sockets[0].getsockname()[1]
        self.sockets[1].bind(("127.0.0.1", self.port))
        self.sockets[1].listen()

    async def serve(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._datagrams, trio.socket.from_stdlib_socket(self.sockets[0]))
            nursery.start_soon(self._stream, trio.socket.from_stdlib_socket(self.sockets[1]))

    async def _datagrams(self, sock: trio.socket.SocketType) -> None:
        while True:
            packet, client = await sock.recvfrom(4096)
            self.asked.append(("udp", int.from_bytes(packet[:2])))
            for reply in self.reply(dnslib.DNSRecord.parse(packet)):
                await sock.sendto(reply, client)

    async def _stream(self, sock: trio.socket.SocketType) -> None:
        while True:
            connection, _ = await sock.accept()
            async with trio.SocketStream(connection) as stream:
                packet = (await stream.receive_some(4096))[2:]
                self.asked.append(("tcp", int.from_bytes(packet[:2])))
                for reply in self.reply(dnslib.DNSRecord.parse(packet)):
                    await stream.send_all(len(reply).to_bytes(2) + reply)


def answer(query: dnslib.DNSRecord, address: str = "192.0.2.7") -> bytes:
    reply = query.reply()
    reply.add_answer(dnslib.RR(query.q.qname, rdata=dnslib.A(address)))
    return bytes(reply.pack())


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server(Paths(store=tmp_path, run=tmp_path), "tag")

    def respond(self: object, packet: bytes, client: str, *, datagram: bool) -> bytes | Forward | None:
        if packet == b"trouble":
            raise RuntimeError("a fault of ours")
        query = dnslib.DNSRecord.parse(packet)
        return Forward(("127.0.0.2", "127.0.0.1"), error(query, 2))

    monkeypatch.setattr(answers.Answers, "respond", respond)
    monkeypatch.setattr(dns, "PATIENCE", 0.5)
    return found


@asynccontextmanager
async def running(server: Server, outside: Outside, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[int, int]]:
    """The ports at which it is asked."""
    monkeypatch.setattr(dns, "PORT", outside.port)
    datagrams, stream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
    for sock in datagrams, stream:
        sock.bind(("127.0.0.1", 0))
    stream.listen()
    async with trio.open_nursery() as server.nursery:
        server.nursery.start_soon(outside.serve)
        server.nursery.start_soon(server._serve_datagrams, trio.socket.from_stdlib_socket(datagrams))
        server.nursery.start_soon(server._serve_stream, trio.socket.from_stdlib_socket(stream))
        yield datagrams.getsockname()[1], stream.getsockname()[1]
        server.nursery.cancel_scope.cancel()
    for sock in datagrams, stream, *outside.sockets:
        sock.close()


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(20):
        while not condition():  # noqa: ASYNC110 - of what the server has no event for
            await trio.sleep(0.02)


async def ask_datagram(port: int, packet: bytes) -> bytes:
    with trio.fail_after(20):
        sock = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            await sock.sendto(packet, ("127.0.0.1", port))
            return await sock.recv(4096)


def test_what_is_outside_is_passed_on_and_back_with_the_asker_s_number(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        outside = Outside(lambda query: [answer(query)])
        query = dnslib.DNSRecord.question(NAME)
        async with running(server, outside, monkeypatch) as (datagrams, stream):
            for _ in range(3):
                reply = dnslib.DNSRecord.parse(await ask_datagram(datagrams, query.pack()))
                assert (reply.header.id, str(reply.rr[0].rdata)) == (query.header.id, "192.0.2.7")
            connection = await trio.open_tcp_stream("127.0.0.1", stream)
            packed = bytes(query.pack())
            for _ in range(2):
                for byte in len(packed).to_bytes(2) + packed:  # in the smallest of pieces
                    await connection.send_all(bytes([byte]))
                with trio.fail_after(5):
                    whole = await connection.receive_some(4096)
                assert str(dnslib.DNSRecord.parse(whole[2:]).rr[0].rdata) == "192.0.2.7"
            await connection.aclose()
            assert [kind for kind, _ in outside.asked] == ["udp"] * 3 + ["tcp"] * 2
            assert len({number for _, number in outside.asked}) > 1  # numbers of our own, each time another

    trio.run(main)


def test_forged_answers_are_passed_over(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def forged(query: dnslib.DNSRecord) -> list[bytes]:
        wrong_number = bytearray(answer(query, "203.0.113.1"))
        wrong_number[0] ^= 0xFF
        other = dnslib.DNSRecord.question("other.example")
        other.header.id = query.header.id
        return [bytes(wrong_number), answer(other, "203.0.113.2"), b"", b"\0" * 11, answer(query)]

    async def main() -> None:
        async with running(server, Outside(forged), monkeypatch) as (datagrams, _):
            reply = await ask_datagram(datagrams, dnslib.DNSRecord.question(NAME).pack())
            assert [str(record.rdata) for record in dnslib.DNSRecord.parse(reply).rr] == ["192.0.2.7"]

    trio.run(main)


def test_nobody_answers(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with running(server, Outside(lambda _: []), monkeypatch) as (datagrams, _):
            reply = await ask_datagram(datagrams, dnslib.DNSRecord.question(NAME).pack())
            assert dnslib.DNSRecord.parse(reply).header.rcode == dnslib.RCODE.SERVFAIL

    trio.run(main)


def test_one_container_s_flood_is_bounded_and_a_fault_of_ours_ends_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        outside = Outside(lambda _: [])
        async with running(server, outside, monkeypatch) as (datagrams, stream):
            flood = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with flood:
                for _ in range(10 * dns.MAX_ASKED):
                    await flood.sendto(dnslib.DNSRecord.question(NAME).pack(), ("127.0.0.1", datagrams))
                    await flood.sendto(b"trouble", ("127.0.0.1", datagrams))
                    assert server.busy["127.0.0.1"] <= dns.MAX_ASKED
                await until(lambda: server._troubles >= dns.MAX_TROUBLES)
            connections = [await trio.open_tcp_stream("127.0.0.1", stream) for _ in range(3 * dns.MAX_CONNECTIONS)]
            await until(lambda: server.busy["tcp 127.0.0.1"] == dns.MAX_CONNECTIONS)
            for connection in connections[dns.MAX_CONNECTIONS :]:
                assert await connection.receive_some(1) == b""  # turned away
            for connection in connections:
                await connection.aclose()
            await until(lambda: not server.busy)
            assert await ask_datagram(datagrams, dnslib.DNSRecord.question(NAME).pack())

    trio.run(main)
    assert capfd.readouterr().err.count("RuntimeError: a fault of ours") == dns.MAX_TROUBLES


def test_it_ends_with_the_last_monitor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns, "LINGER", 0.2)
    paths = Paths(store=tmp_path, run=tmp_path)
    paths.rooms.mkdir()
    place = tmp_path / "control"
    monkeypatch.setattr(names, "control_path", lambda *_: place)
    monkeypatch.chdir(tmp_path)  # the path of a socket has 108 bytes

    async def main() -> None:
        control, datagrams, stream = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET), *socket.socketpair()
        control.bind(place.name)
        control.listen()
        first, second = (socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2))
        first.connect(place.name)
        server = Server(paths, "tag")
        monkeypatch.setattr(server, "_serve_datagrams", _never)
        monkeypatch.setattr(server, "_serve_stream", _never)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.run, control, datagrams, stream)
            await trio.sleep(0.5)
            assert place.exists()
            second.connect(place.name)
            first.close()
            await trio.sleep(0.5)
            assert place.exists()
            second.close()
            await until(lambda: not place.exists())
        for sock in control, datagrams, stream:
            sock.close()

    trio.run(main)
    assert os.listdir(paths.rooms) == ["tag.names.lock"]


def test_a_monitor_that_finds_no_descriptor_free_is_served_when_there_is_one(
    server: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The name server of all networks must not end with the first burst of containers."""
    monkeypatch.setattr(dns, "PAUSE", 0.0)

    class Full:
        tries = 0

        async def accept(self) -> tuple[str, str]:
            self.tries += 1
            if self.tries < 30:
                raise OSError(errno.EMFILE, "too many open files")
            return "connection", ""

    assert trio.run(server._next, Full()) == "connection"
    assert capfd.readouterr().err.count("OSError: [Errno 24]") == dns.MAX_TROUBLES

    def full(path: Path) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(locks, "try_lock", full)
    assert server._try_lock() is None


async def _never(_: object) -> None:
    await trio.sleep_forever()
