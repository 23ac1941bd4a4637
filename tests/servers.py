"""A container with real servers, and what is asked of it from the machine."""

from __future__ import annotations

import os
import socket

import pytest

from tests.conftest import Rootless
from tests.waiting import wait_for

PYTHON = "/usr/bin/python3"

SERVER = """
import hashlib, socket, socketserver, sys, threading

class Sum(socketserver.StreamRequestHandler):
    # A length in 8 bytes and so much data; back come its checksum and the peer's address.
    def handle(self):
        left, seen = int.from_bytes(self.rfile.read(8), "big"), hashlib.sha256()
        while left and (data := self.rfile.read1(min(left, 1 << 16))):
            left -= len(data)
            seen.update(data)
        self.wfile.write(f"{seen.hexdigest()} {self.client_address[0]}".encode())

class Tcp(socketserver.ThreadingTCPServer):
    address_family, request_queue_size, allow_reuse_address = socket.AF_INET6, 256, True

class Udp(socketserver.ThreadingUDPServer):
    address_family = socket.AF_INET6

class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        self.request[1].sendto(self.request[0].upper(), self.client_address)

servers = Tcp(("::", 80), Sum), Udp(("::", 81), Echo)
for server in servers:
    threading.Thread(target=server.serve_forever).start()
print("serving", flush=True)
"""


def serve(rootless: Rootless, *options: str) -> None:
    """Start a container `web` with a server for TCP on 80 and for UDP on 81, in the machine's own Python."""
    machine = [
        word for path in ("/usr", "/lib", "/lib64") if os.path.isdir(path) for word in ("-v", f"{path}:{path}:ro")
    ]
    rootless.ok("run", "-d", "--name", "web", *machine, *options, "busybox:latest", PYTHON, "-c", SERVER)
    wait_for(lambda: "serving" in rootless.ok("logs", "web"))


def port(rootless: Rootless, inside: str) -> int:
    """The host's port, as `port` tells it."""
    return int(rootless.ok("port", "web", inside).splitlines()[0].rpartition(":")[2])


def send(address: tuple[str, int], data: bytes) -> list[str]:
    """[checksum, address] with which the server answers."""
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(len(data).to_bytes(8) + data)
        return connection.makefile().read().split()


def events(rootless: Rootless, name: str) -> str:
    """What has been told of a container, as lines of JSON. By its id: one of the same name may have been before it."""
    identity = rootless.ok("inspect", "-f", "{{.Id}}", name).strip()
    words = ("--since", "10m", "--until", "0s", "--filter", f"container={identity}", "--format", "{{json .}}")
    return rootless.ok("events", *words)


def own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("1.1.1.1", 9))
        except OSError:
            pytest.skip("the machine has no address but loopback's")
        return str(probe.getsockname()[0])
