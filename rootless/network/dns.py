"""The name server of a room's networks: the process, under trio. What it answers is answers.py's matter.

It runs as the caller in the caller's own namespaces, so that it reads the store and reaches the machine's name servers.
The sockets at which it is asked were made in the switch (switch.listen), where containers reach it at every bridge's
address. Whoever asks is hostile until the opposite is shown: what one container may have under way is bounded, so that
no other one waits for it.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import trio

from .. import holders, locks
from ..kernel import process
from ..paths import Paths
from . import names, switch
from .answers import HEADER, Answers, Forward, refuse
from .store import Networks

LINGER = 1.0
"""Seconds that it stays when the last container has gone: the next one of a script is often there by then."""

PATIENCE = 2.0
"""Seconds in which another server has to answer, before the next one is asked."""

IDLE = 10.0
"""Seconds after which a connection without a question is closed (RFC 7766, 6.2.3)."""

MAX_ASKED = 64
"""Questions that one container may have under way with other servers; a further datagram is dropped."""

MAX_CONNECTIONS = 16
"""Connections of one container."""

MAX_TROUBLES = 20
"""Tracebacks that are written down: a container must not be able to fill the disk with them."""

PAUSE = 0.1
"""Seconds before another try to accept a connection where no descriptor was free."""

MAX_DESCRIPTORS = 65536
MAX_PACKET = 65535
PORT = 53
SERVFAIL = 2

Ask = Callable[[str, bytes], Awaitable[bytes | None]]


class Server:
    """All tasks of the process."""

    def __init__(self, paths: Paths, tag: str, *, guarded: bool = False) -> None:
        self.paths, self.tag = paths, tag
        self.answers = Answers(Networks(paths), guarded=guarded)
        self.monitors = 0
        self.busy: Counter[str] = Counter()
        self._troubles = 0

    async def run(self, control: socket.socket, datagrams: socket.socket, stream: socket.socket) -> None:
        """Serve until no monitor is connected any more."""
        async with trio.open_nursery() as self.nursery:
            self.nursery.start_soon(self._serve_datagrams, trio.socket.from_stdlib_socket(datagrams))
            self.nursery.start_soon(self._serve_stream, trio.socket.from_stdlib_socket(stream))
            await self._keep(trio.socket.from_stdlib_socket(control))
            self.nursery.cancel_scope.cancel()

    # --- who needs it ------------------------------------------------------------------------------------------------

    async def _keep(self, control: trio.socket.SocketType) -> None:
        """Return when nobody is connected, and nobody can connect any more."""
        while True:
            with trio.move_on_after(LINGER):
                while True:
                    connection = await self._next(control)
                    self.monitors += 1
                    self.nursery.start_soon(self._attend, connection)
            if self.monitors:
                continue
            lock = self._try_lock()
            if lock is None:
                continue
            if not await _is_readable(control):  # nobody came in before we had the lock, nobody can come now
                names.control_path(self.paths, self.tag, names.SWITCH).unlink(missing_ok=True)
                return
            os.close(lock)

    async def _next(self, control: trio.socket.SocketType) -> trio.socket.SocketType:
        """The next monitor. Where no descriptor is free it waits, connected, until there is one."""
        while True:
            try:
                return (await control.accept())[0]
            except OSError:
                self._complain()
                await trio.sleep(PAUSE)

    def _try_lock(self) -> int | None:
        try:
            return locks.try_lock(names.lock_path(self.paths, self.tag))
        except OSError:
            self._complain()
            return None

    async def _attend(self, connection: trio.socket.SocketType) -> None:
        with connection, suppress(OSError):
            while await connection.recv(1):
                pass
        self.monitors -= 1

    # --- questions ---------------------------------------------------------------------------------------------------

    async def _serve_datagrams(self, sock: trio.socket.SocketType) -> None:
        while True:
            try:
                packet, (client, port) = await sock.recvfrom(MAX_PACKET)
            except OSError:
                continue  # the answer before could not be delivered
            reply = self._respond(packet, client, datagram=True)
            if isinstance(reply, Forward):
                if self.busy[client] < MAX_ASKED:
                    self.nursery.start_soon(self._forward_datagram, sock, packet, reply, (client, port))
            elif reply is not None:
                await _send(sock, reply, (client, port))

    async def _forward_datagram(
        self, sock: trio.socket.SocketType, packet: bytes, forward: Forward, client: tuple[str, int]
    ) -> None:
        with self._counted(client[0]):
            await _send(sock, await _first(forward, packet, _ask_datagram), client)

    async def _serve_stream(self, sock: trio.socket.SocketType) -> None:
        while True:
            try:
                connection, (client, _) = await sock.accept()
            except OSError:
                await trio.sleep(PAUSE)  # no descriptor is free
                continue
            if self.busy[f"tcp {client}"] < MAX_CONNECTIONS:
                self.nursery.start_soon(self._converse, connection, client)
            else:
                connection.close()

    async def _converse(self, connection: trio.socket.SocketType, client: str) -> None:
        """Questions and answers over one connection, each after its length (RFC 1035, 4.2.2)."""
        with self._counted(f"tcp {client}"), connection, suppress(OSError):
            stream = trio.SocketStream(connection)
            while True:
                packet = None
                with trio.move_on_after(IDLE):
                    packet = await receive(stream)
                if packet is None:
                    return
                reply = self._respond(packet, client, datagram=False)
                if isinstance(reply, Forward):
                    reply = await _first(reply, packet, _ask_stream)
                if reply is None:
                    return
                with trio.move_on_after(IDLE) as sending, suppress(trio.BrokenResourceError):
                    await stream.send_all(len(reply).to_bytes(2) + reply)
                if sending.cancelled_caught:
                    return

    def _respond(self, packet: bytes, client: str, *, datagram: bool) -> bytes | Forward | None:
        try:
            return self.answers.respond(packet, client, datagram=datagram)
        except Exception:  # whatever a packet or a document has found in us: the others are served all the same
            self._complain()
            return refuse(packet, SERVFAIL)

    def _complain(self) -> None:
        self._troubles += 1
        if self._troubles <= MAX_TROUBLES:
            traceback.print_exc()

    @contextmanager
    def _counted(self, key: str) -> Iterator[None]:
        self.busy[key] += 1
        try:
            yield
        finally:
            self.busy[key] -= 1
            if not self.busy[key]:
                del self.busy[key]


async def _is_readable(sock: trio.socket.SocketType) -> bool:
    with trio.move_on_after(0) as scope:
        await trio.lowlevel.wait_readable(sock)
    return not scope.cancelled_caught


async def _send(sock: trio.socket.SocketType, packet: bytes, client: tuple[str, int]) -> None:
    with suppress(OSError):  # the container is gone
        await sock.sendto(packet, client)


# --- other servers ---------------------------------------------------------------------------------------------------


async def _first(forward: Forward, packet: bytes, ask: Ask) -> bytes:
    """The answer of the first server that has one. It is asked under a number of our own, so that nobody who only knows
    the container's can answer in its place."""
    own = secrets.token_bytes(2)
    for server in forward.servers:
        with trio.move_on_after(PATIENCE), suppress(OSError, trio.BrokenResourceError):
            reply = await ask(server, own + packet[2:])
            if reply is not None:
                return packet[:2] + reply[2:]
    return forward.failure


async def _ask_datagram(server: str, packet: bytes) -> bytes | None:
    with trio.socket.socket(_family(server), socket.SOCK_DGRAM) as sock:
        await sock.connect((server, PORT))
        await sock.send(packet)
        while True:
            reply = await sock.recv(MAX_PACKET)
            if is_answer(reply, packet):
                return reply


async def _ask_stream(server: str, packet: bytes) -> bytes | None:
    with trio.socket.socket(_family(server), socket.SOCK_STREAM) as sock:
        await sock.connect((server, PORT))
        stream = trio.SocketStream(sock)
        await stream.send_all(len(packet).to_bytes(2) + packet)
        reply = await receive(stream)
        return reply if reply is not None and is_answer(reply, packet) else None


def _family(server: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in server else socket.AF_INET


def is_answer(reply: bytes, query: bytes) -> bool:
    """Whether a packet answers this query: its number, and its question unless it has none (an error may)."""
    if len(reply) < HEADER or reply[:2] != query[:2] or not reply[2] & 0x80:
        return False
    asked = question(query)
    return reply[4:6] == b"\0\0" or reply[HEADER : HEADER + len(asked)].lower() == asked.lower()


def question(packet: bytes) -> bytes:
    """The question of a query that was understood: a name without pointers, type and class."""
    end = HEADER
    while end < len(packet) and packet[end]:
        end += packet[end] + 1
    return packet[HEADER : end + 5]


async def receive(stream: trio.SocketStream) -> bytes | None:
    """A packet after its length; None at the end."""
    length = await _exactly(stream, 2)
    return await _exactly(stream, int.from_bytes(length)) if length is not None else None


async def _exactly(stream: trio.SocketStream, count: int) -> bytes | None:
    data = bytearray()
    while len(data) < count:
        try:
            part = await stream.receive_some(count - len(data))
        except trio.BrokenResourceError:
            return None
        if not part:
            return None
        data += part
    return bytes(data)


def main(arguments: list[str]) -> None:
    """The process. Arguments: the store, the run directory, the tag of the id map, and `names.GUARDED` or nothing."""
    process.set_name("rootless-names")
    process.allow_descriptors(MAX_DESCRIPTORS)
    paths, held = Paths(Path(arguments[0]), Path(arguments[1])), arguments[2]
    control, datagrams, stream = (socket.socket(fileno=fd) for fd in (names.CONTROL, names.DATAGRAMS, names.STREAM))
    holding = {held: names.ROOM, switch.tag(held): names.SWITCH}
    for tag, fd in holding.items():
        holders.hold(paths.rooms, tag, fd)
    server = Server(paths, switch.tag(held), guarded=names.GUARDED in arguments[3:])
    try:
        trio.run(server.run, control, datagrams, stream)
    finally:
        for tag in holding:
            holders.forget(paths.rooms, tag)


if __name__ == "__main__":
    main(sys.argv[1:])
