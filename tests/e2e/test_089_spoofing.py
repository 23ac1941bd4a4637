"""Packets that a container forges with CAP_NET_RAW, which Docker's containers have: the name server, which asks outside
for some and not for others, takes none of them for a neighbour's question."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.conftest import Rootless
from tests.servers import PYTHON
from tests.waiting import wait_for

IMAGE = "busybox:latest"

pytestmark = [
    pytest.mark.skipif(shutil.which("pasta") is None, reason="pasta is not installed (apt-get install passt)"),
    pytest.mark.skipif(not os.access(PYTHON, os.X_OK), reason=f"{PYTHON} is not installed"),
]

VICTIM = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("0.0.0.0", 5555))
print("listening", flush=True)
while True:
    data = sock.recv(65535)
    if data == b"end":
        break
    print("got", data.hex(), flush=True)
print("over", flush=True)
"""

FORGER = """
import socket, struct, sys
victim, gateway, own = sys.argv[1:4]
device = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
device.bind(("eth0", 0))
neighbours = [line.split() for line in open("/proc/net/arp")][1:]
to = next(bytes.fromhex(words[3].replace(":", "")) for words in neighbours if words[0] == gateway)
mine = bytes.fromhex(open("/sys/class/net/eth0/address").read().strip().replace(":", ""))

def sum16(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total

def ip(source, target, payload, offset=0, more=False):
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 7, more << 13 | offset // 8, 64, 17, 0)
    head += socket.inet_aton(source) + socket.inet_aton(target)
    return head[:10] + sum16(head).to_bytes(2, "big") + head[12:] + payload

def question(number):
    return struct.pack("!HHHHHH", number, 0x100, 1, 0, 0, 0) + b"\\x06victim\\0" + struct.pack("!HH", 1, 1)

def udp(payload, source=5555, target=53):
    return struct.pack("!HHHH", source, target, 8 + len(payload), 0) + payload

def frame(packet, tags=b"", target=to):
    device.send(target + mine + tags + b"\\x08\\x00" + packet)

PRIORITY, OUTER = b"\\x81\\x00\\x00\\x00", b"\\x88\\xa8\\x00\\x00"
frame(ip(victim, gateway, udp(question(1))))
frame(ip(victim, gateway, udp(question(2))), PRIORITY)
frame(ip(victim, gateway, udp(question(3))), OUTER + PRIORITY)
frame(ip(victim, gateway, udp(question(4))), PRIORITY + PRIORITY)
frame(ip(victim, "255.255.255.255", udp(question(5))), target=b"\\xff" * 6)
whole = udp(question(6))
frame(ip(victim, gateway, whole[16:], offset=16))
frame(ip(victim, gateway, whole[:16], more=True))
beside = next(bytes.fromhex(words[3].replace(":", "")) for words in neighbours if words[0] == victim)
frame(ip(gateway, victim, udp(b"answer", 53, 5555)), target=beside)  # as if the name server had said it
# The name server takes one after the other: when it has answered this, it has seen all that came before.
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(30)
sock.sendto(question(99), (gateway, 53))
print("answered", struct.unpack("!H", sock.recv(512)[:2])[0])
sock.sendto(b"end", (victim, 5555))
"""


def start(rootless: Rootless, name: str, *words: str) -> None:
    machine = [
        word for path in ("/usr", "/lib", "/lib64") if os.path.isdir(path) for word in ("-v", f"{path}:{path}:ro")
    ]
    rootless.ok("run", "-d", "--name", name, *machine, "--network", "blue", *words)


@pytest.mark.parametrize("options", [("--egress", "allow=example.test"), ()], ids=["egress", "plain"])
def test_nobody_asks_for_names_in_a_neighbours_name(networks: Rootless, options: tuple[str, ...]) -> None:
    networks.ok("network", "create", "blue")
    start(networks, "victim", IMAGE, PYTHON, "-c", VICTIM)
    wait_for(lambda: "listening" in networks.ok("logs", "victim"))
    start(networks, "forger", *options, IMAGE, "sleep", "60")
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.Gateway}}{{end}}"
    victim, gateway = networks.ok("inspect", "-f", form, "victim").split()
    own = networks.ok("inspect", "-f", form, "forger").split()[0]
    networks.ok("exec", "forger", "ping", "-c1", "-W30", victim)  # so that it knows where that is
    told = networks.ok("exec", "forger", PYTHON, "-c", FORGER, victim, gateway, own)
    assert told.split() == ["answered", "99"]
    wait_for(lambda: "over" in networks.ok("logs", "victim"))
    assert networks.ok("logs", "victim").split() == ["listening", "over"]
