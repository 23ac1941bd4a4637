"""Named networks: containers that reach each other by name, and nobody else."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Rootless

IMAGE = "busybox:latest"
SERVE = "mkdir -p /www && echo $0 > /www/index.html && exec httpd -f -p 80 -h /www"


@pytest.fixture
def networks(rootless: Rootless) -> Iterator[Rootless]:
    """The command, with no network before and after."""
    yield rootless
    for name in rootless.containers():
        rootless("rm", "-f", name)
    for name in rootless.ok("network", "ls", "-q", "--filter", "type=custom").split():
        rootless.ok("network", "rm", name)
    assert sorted(os.listdir(rootless.paths.networks)) == [".lock"]


def serve(rootless: Rootless, name: str, network: str, *options: str) -> None:
    """A container with a web server that answers with its name."""
    rootless.ok("run", "-d", "--name", name, "--network", network, *options, IMAGE, "sh", "-c", SERVE, name)


LOOK_UP = "nslookup $0 | sed -n 's/^Address: //p' | head -n 1"
GET = r"printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 3 %s 80 | tail -n 1"
"""Static programs of the C library crash when they look a name up (wget does); these two applets don't."""


def fetch(rootless: Rootless, network: str, name: str, *options: str) -> str:
    """What another container on a network gets from the web server of this name; empty when it gets nothing."""
    script = f'a=$({LOOK_UP}); [ -n "$a" ] && {GET % "$a"}'
    words = ("run", "--rm", "--network", network, *options, IMAGE, "sh", "-c", script, name)
    return rootless(*words).stdout.decode().strip()


def fetch_from(rootless: Rootless, network: str, address: str) -> str:
    """The same by the address."""
    return rootless("run", "--rm", "--network", network, IMAGE, "sh", "-c", GET % address).stdout.decode().strip()


def address(rootless: Rootless, name: str, network: str) -> str:
    form = f'{{{{(index .NetworkSettings.Networks "{network}").IPAddress}}}}'
    return rootless.ok("inspect", "-f", form, name).strip()


def test_containers_on_one_network_reach_each_other_by_name(networks: Rootless) -> None:
    networks.ok("network", "create", "blue")
    serve(networks, "web", "blue")
    container = networks.ok("inspect", "-f", "{{.Id}}", "web").strip()
    for name in "web", "WEB", container[:12], "web.blue":
        assert fetch(networks, "blue", name) == "web"


def test_containers_of_two_networks_do_not(networks: Rootless) -> None:
    networks.ok("network", "create", "blue")
    networks.ok("network", "create", "green")
    serve(networks, "web", "blue")
    where = address(networks, "web", "blue")
    assert fetch_from(networks, "blue", where) == "web"
    assert fetch_from(networks, "green", where) == ""
    assert fetch(networks, "green", "web") == ""
    # Nor with a route through the bridge, which whoever may configure the container's network can make.
    gateway = networks.ok("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "green").strip()
    script = f"ip route add {where} via {gateway} && ip route && {GET % where}"
    shown = networks.ok("run", "--rm", "--network", "green", "--cap-add", "NET_ADMIN", IMAGE, "sh", "-c", script)
    assert f"{where} via {gateway} dev eth0" in shown
    assert "web" not in shown


def test_the_name_server_is_killed_and_nobody_notices(networks: Rootless) -> None:
    networks.ok("network", "create", "blue")
    serve(networks, "web", "blue")
    (server,) = _name_servers(networks)
    os.kill(server, signal.SIGKILL)
    assert fetch(networks, "blue", "web") == "web"
    assert _name_servers(networks) != [server]


def _name_servers(rootless: Rootless) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"rootless.network.dns" in words and os.fsencode(rootless.paths.store) in words:
                found.append(int(entry.name))
    return found


def test_nothing_is_left_of_a_network_that_nobody_is_on(networks: Rootless) -> None:
    networks.ok("network", "create", "blue")
    networks.ok("run", "--rm", "--network", "blue", IMAGE, "true")
    deadline = time.monotonic() + 3
    while _name_servers(networks) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _name_servers(networks) == []
    assert not list(networks.paths.rooms.glob("*.names"))
