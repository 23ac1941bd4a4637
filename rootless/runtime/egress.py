"""The process behind --egress: `python -m rootless.runtime.egress PARENT STORE RUN CONTAINER`, under trio.

It reads every packet that a container sends to anywhere but its own networks. A question for a name is answered, a
connection to a name that may be reached is made in the container's place, and everything else is refused at once, with
what the kernel of a router would send. Each try is written to the container's `log-egress`.

It runs as the caller, in the caller's own namespaces, and ends with the container's monitor. Whatever it reads is
hostile; what it keeps of it is bounded.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import trio

from ..container.record import Record, decode_record
from ..kernel import process
from ..network import dns, packets, resolv
from ..network.addresses import RESOLVER
from ..network.answers import Answers
from ..network.egress import LISTENER, READY, TUN
from ..network.egress_names import Names, Resolver
from ..network.egress_rules import Rules, joined
from ..network.flows import RETURN, Flow, Flows
from ..network.packets import Endpoint, Packet
from ..network.store import Networks
from ..paths import Paths
from .egress_dial import NO_SEARCH, DialError, Dialler
from .egress_proxy import serve_proxy
from .egress_relay import relay
from .egress_tries import Tries

PROXY_PORT, DNS_PORT = 3128, 53

MAX_PENDING = 64
"""Connections that are being made at once; one more is asked for again by the container's kernel, after a second."""

PATIENCE = 30.0
"""Seconds that a container may take to begin with what has been connected for it."""

BATCH = 64
"""Packets that are read before others have their turn."""

MAX_TROUBLES = 20
MAX_DESCRIPTORS = 4096

_RESOLVER = socket.inet_aton(RESOLVER)


class Gate:
    """All tasks of the process."""

    def __init__(self, record: Record, networks: Networks, tries: Tries, device: int, listener: socket.socket) -> None:
        self.rules = Rules(record.spec.net.egress)
        self.tries, self.device = tries, device
        self.listener = trio.socket.from_stdlib_socket(listener)
        address, port = listener.getsockname()
        self.own = Endpoint(socket.inet_aton(address), port)
        self.names, self.flows = Names(), Flows()
        machine = resolv.host()
        self.dialler = Dialler(self.rules, record.spec.net.hosts, tries, machine.search)
        self.resolver = Resolver(
            self.rules,
            self.names,
            lambda name: tries.refused("dns", name),
            (Answers(networks), record.id),
            resolv.container(machine, record.spec.net, ()).search,
        )
        self._connected: dict[int, trio.SocketStream] = {}
        self._pending = self._troubles = 0

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until the device is gone."""
        async with trio.open_nursery() as self.nursery:
            self.nursery.start_soon(self._accept)
            self.nursery.start_soon(self._sweep)
            ready()
            await self._read()
            self.nursery.cancel_scope.cancel()

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(15)
            self.flows.sweep(trio.current_time())
            self.tries.forget()

    # --- packets -----------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self.device)
            for _ in range(BATCH):
                try:
                    data = os.read(self.device, 1 << 16)
                except BlockingIOError:
                    break
                except OSError:  # EBADFD, EIO: the container's namespace is gone
                    return
                packet = packets.parse(data)
                if packet is not None:
                    self._guarded(lambda packet=packet: self._take(packet))  # type: ignore[misc]

    def _guarded(self, work: Callable[[], None]) -> None:
        """Whatever a packet has found in us: the others are served all the same."""
        try:
            work()
        except Exception:
            self._complain()

    def _complain(self) -> None:
        self._troubles += 1
        if self._troubles <= MAX_TROUBLES:
            traceback.print_exc()

    def _take(self, packet: Packet) -> None:
        if packet.protocol == packets.TCP:
            self._take_tcp(packet)
        elif packet.protocol == packets.UDP and packet.target == Endpoint(_RESOLVER, DNS_PORT):
            reply = self.resolver.respond(packet.payload, datagram=True)
            if reply is not None:
                self._write(packets.datagram(packet.target, packet.source, reply))
        else:
            self._refuse(packet)

    def _take_tcp(self, packet: Packet) -> None:
        if packet.source == self.own:
            flow = self.flows.of(packet.target.port) if packet.target.address == RETURN else None
            if flow is not None:
                self._write(packets.readdress(packet, flow.target, flow.client))
            return
        flow = self.flows.find(packet.source, packet.target)
        if packet.opens and (flow is None or flow.ended is not None):
            self._open(packet)
        elif flow is None:
            if not packet.flags & packets.RST:
                self._write(packets.reset(packet))
        elif flow.ready:  # of one that is being made only the repeated SYN is left out
            self._write(packets.readdress(packet, flow.back, self.own))

    def _write(self, data: bytes) -> None:
        try:
            os.write(self.device, data)
        except OSError:
            return  # a full queue, or an interface that was taken down: a packet may get lost

    def _refuse(self, packet: Packet, why: str = "") -> None:
        name = self.names.name(socket.inet_ntoa(packet.target.address))
        kind = packets.NAMES.get(packet.protocol, f"protocol {packet.protocol}")
        self.tries.refused(kind, joined(name, packet.target.port), why)
        self._write(packets.unreachable(packet))

    # --- connections -------------------------------------------------------------------------------------------------

    def _open(self, packet: Packet) -> None:
        """A SYN: the connection to its real target comes first, and then the container's is let come to us."""
        target = packet.target
        name = self.names.name(socket.inet_ntoa(target.address))
        to_us = target.address == _RESOLVER and target.port in (DNS_PORT, PROXY_PORT)
        if not to_us and not self.rules.allow(name, target.port):
            self._refuse(packet)
            return
        if self._pending >= MAX_PENDING and not to_us:
            return
        flow = self.flows.open(packet.source, target)
        if flow is None:
            self._refuse(packet, "too many connections")
        elif to_us:
            self._let_in(flow, packet)
        else:
            self.nursery.start_soon(self._connect, flow, packet, name)

    def _let_in(self, flow: Flow, packet: Packet) -> None:
        flow.ready = True
        self._write(packets.readdress(packet, flow.back, self.own))
        self.nursery.start_soon(self._expire, flow)

    async def _expire(self, flow: Flow) -> None:
        """One that never comes to us ends."""
        await trio.sleep(PATIENCE)
        if flow.begun:
            return
        self.flows.end(flow, trio.current_time())
        if stream := self._connected.pop(flow.number, None):
            await trio.aclose_forcefully(stream)

    async def _connect(self, flow: Flow, packet: Packet, name: str) -> None:
        self._pending += 1
        try:
            stream = await self.dialler.connect("tcp", name, flow.target.port)
        except DialError:
            self._turn_down(flow, packet)
            return
        except Exception:  # whatever a name has found in us: the others are served all the same
            self._complain()
            self._turn_down(flow, packet)
            return
        finally:
            self._pending -= 1
        self._connected[flow.number] = stream
        self._let_in(flow, packet)

    def _turn_down(self, flow: Flow, packet: Packet) -> None:
        self._write(packets.reset(packet))
        self.flows.drop(flow)

    async def _accept(self) -> None:
        while True:
            try:
                connection, (address, port) = await self.listener.accept()
            except OSError:
                await trio.sleep(0.1)  # no descriptor is free
                continue
            flow = self.flows.of(port) if socket.inet_aton(address) == RETURN else None
            if flow is None or flow.begun or flow.ended is not None:
                connection.close()
            else:
                flow.begun = True
                self.nursery.start_soon(self._serve, trio.SocketStream(connection), flow)

    async def _serve(self, stream: trio.SocketStream, flow: Flow) -> None:
        outside = self._connected.pop(flow.number, None)
        try:
            async with stream:
                if outside is not None:
                    async with outside:
                        await relay(stream, outside)
                elif flow.target.port == PROXY_PORT:
                    await serve_proxy(stream, self.dialler)
                elif flow.target.port == DNS_PORT:
                    await self._converse(stream)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # either side went away
        except Exception:
            self._complain()
        finally:
            self.flows.end(flow, trio.current_time())

    async def _converse(self, stream: trio.SocketStream) -> None:
        """Questions and answers over one connection, each after its length (RFC 1035, 4.2.2)."""
        while True:
            packet = None
            with trio.move_on_after(dns.IDLE):
                packet = await dns.receive(stream)
            reply = self.resolver.respond(packet, datagram=False) if packet is not None else None
            if reply is None:
                return
            with trio.fail_after(dns.IDLE):
                await stream.send_all(len(reply).to_bytes(2) + reply)


def _bind_life_to(parent: int) -> None:
    process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def main(arguments: list[str]) -> None:
    """The process. Arguments: the monitor's pid, the store, the run directory, the container's id."""
    _bind_life_to(int(arguments[0]))
    process.set_name("rootless-egress")
    process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)
    process.close_from(READY + 1)
    for fd in TUN, LISTENER, READY:
        os.set_inheritable(fd, False)
    process.allow_descriptors(MAX_DESCRIPTORS)
    os.environ.update(NO_SEARCH)
    paths = Paths(Path(arguments[1]), Path(arguments[2]))
    directory = paths.container(arguments[3])
    record = decode_record((directory / "config.json").read_bytes(), str(directory))
    gate = Gate(record, Networks(paths), Tries(directory), TUN, socket.socket(fileno=LISTENER))

    def ready() -> None:
        os.write(READY, b"\n")
        os.close(READY)

    trio.run(gate.run, ready)


if __name__ == "__main__":
    main(sys.argv[1:])
