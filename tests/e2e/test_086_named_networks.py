"""Named networks: containers that reach each other by name, and nobody else."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from tests.conftest import Rootless

IMAGE = "busybox:latest"
SERVE = "mkdir -p /www && echo $0 > /www/index.html && exec httpd -f -p 80 -h /www"


def serve(rootless: Rootless, name: str, network: str, *options: str) -> None:
    """A container with a web server that answers with its name."""
    rootless.ok("run", "-d", "--name", name, "--network", network, *options, IMAGE, "sh", "-c", SERVE, name)


LOOK_UP = "nslookup $0 | sed -n 's/^Address: //p' | head -n 1"
GET = r"printf 'GET / HTTP/1.0\r\n\r\n' | timeout -s KILL 5 nc -w 3 %s 80 | tail -n 1"
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


def test_many_start_at_once_on_a_network_that_nobody_was_on(networks: Rootless) -> None:
    networks.ok("network", "create", "blue")
    names = [f"c{number}" for number in range(6)]
    starting = [networks.popen("run", "-d", "--name", n, "--network", "blue", IMAGE, "sleep", "60") for n in names]
    assert [process.wait(60) for process in starting] == [0] * 6
    assert len({address(networks, name, "blue") for name in names}) == 6
    for name in names[1:]:
        networks.ok("exec", "c0", "ping", "-c", "1", "-W", "3", name)


def test_nobody_can_speak_for_the_name_server(networks: Rootless) -> None:
    networks.ok("network", "create", "blue")
    shown = networks.ok("run", "--rm", "--network", "blue", IMAGE, "sh", "-c", "ip neigh; ip route")
    gateway = networks.ok("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "blue").strip()
    assert f"{gateway} dev eth0 lladdr 02:42:" in shown and "PERMANENT" in shown


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
    deadline = time.monotonic() + 30
    while _name_servers(networks) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _name_servers(networks) == []
    assert not list(networks.paths.rooms.glob("*.names"))


def test_a_running_container_is_connected_and_disconnected(networks: Rootless) -> None:
    networks.ok("network", "create", "--subnet", "10.83.0.0/24", "blue")
    serve(networks, "web", "bridge")
    began = time.time()
    networks.ok("network", "connect", "--alias", "shop", "--ip", "10.83.0.9", "blue", "web")
    assert address(networks, "web", "blue") == "10.83.0.9"
    assert fetch(networks, "blue", "shop") == "web"
    again = networks("network", "connect", "blue", "web")
    assert (again.returncode, again.stderr) == (
        1,
        b"rootless: endpoint with name web already exists in network blue\n",
    )
    assert networks.ok("ps", "--filter", "network=blue", "--format", "{{.Names}}").split() == ["web"]
    networks.ok("network", "disconnect", "blue", "web")
    assert fetch_from(networks, "blue", "10.83.0.9") == ""
    assert networks("network", "disconnect", "blue", "web").returncode == 1
    shown = networks.ok(
        "events", "--since", f"{began:.9f}", "--until", "0s", "--filter", "type=network", "--format", "{{.Action}}"
    )
    assert shown.split()[0] == "connect" and "disconnect" in shown


def test_several_networks_at_once(networks: Rootless) -> None:
    """Each has its interface, and none takes another's away."""
    names = ["blue", "green", "red"]
    for name in names:
        networks.ok("network", "create", name)
    serve(networks, "web", "bridge")
    for change, end in ("connect", 4), ("disconnect", 1):
        running = [networks.popen("network", change, name, "web", stderr=subprocess.PIPE) for name in names]
        assert [(process.communicate()[1], process.returncode) for process in running] == [(b"", 0)] * 3
        inside = networks.ok("exec", "web", "ls", "/sys/class/net").split()
        assert len([name for name in inside if name != "lo"]) == end, inside
        if change == "connect":
            assert {fetch(networks, name, "web") for name in names} == {"web"}


def test_one_of_another_session_is_connected_where_it_runs(networks: Rootless, tmp_path: Path) -> None:
    """The bridge is in the room of the session that started it, which is found by that session's run directory."""
    login = {"XDG_RUNTIME_DIR": str(tmp_path)}
    networks.ok("network", "create", "blue")
    run = ("run", "-d", "--name", "far", "--network", "bridge", IMAGE, "sh", "-c", SERVE, "far")
    assert networks(*run, env=login).returncode == 0
    networks.ok("network", "connect", "blue", "far")
    script = GET % address(networks, "far", "blue")
    seen = networks("run", "--rm", "--network", "blue", IMAGE, "sh", "-c", script, env=login)
    assert seen.stdout.decode().strip() == "far"
    networks.ok("network", "disconnect", "blue", "far")
    assert "blue" not in networks.ok("inspect", "far")
    networks.ok("rm", "-f", "far")


def test_one_that_does_not_run_is_connected_at_its_start(networks: Rootless) -> None:
    for name in "blue", "green":
        networks.ok("network", "create", name)
    networks.ok("create", "--name", "sleeper", "--network", "blue", IMAGE, "sleep", "60")
    networks.ok("network", "connect", "green", "sleeper")
    networks.ok("start", "sleeper")
    assert address(networks, "sleeper", "blue") and address(networks, "sleeper", "green")
    first = address(networks, "sleeper", "blue")
    networks.ok("restart", "-t", "0", "sleeper")
    assert address(networks, "sleeper", "blue") == first


def test_a_network_that_was_removed_meanwhile(networks: Rootless) -> None:
    networks.ok("network", "create", "blue")
    networks.ok("create", "--name", "sleeper", "--network", "blue", IMAGE, "true")
    networks.ok("network", "rm", "blue")
    done = networks("start", "sleeper")
    assert (done.returncode, done.stderr) == (1, b"rootless: network blue not found\n")
    networks.ok("network", "disconnect", "blue", "sleeper")
    networks.ok("start", "-a", "sleeper")


def test_an_internal_network_reaches_nothing_outside(networks: Rootless) -> None:
    networks.ok("network", "create", "--internal", "inner")
    serve(networks, "web", "inner")
    assert fetch(networks, "inner", "web") == "web"
    shown = networks.ok("run", "--rm", "--network", "inner", IMAGE, "sh", "-c", "ip route; ip -o link")
    assert "default" not in shown
    assert {line.split()[1].split("@")[0].rstrip(":") for line in shown.splitlines() if " mtu " in line} == {
        "lo",
        "eth0",
    }
    asked = networks("run", "--rm", "--network", "inner", IMAGE, "nslookup", "example.com")
    assert asked.returncode != 0 and b"SERVFAIL" in asked.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--network", "nowhere"), "network nowhere not found"),
        (("--network", "blue", "--ip", "10.84.0.9"), "no configured subnet contains IP address 10.84.0.9"),
        (("--network", "blue", "--ip", "10.83.0.1"), "Address already in use"),
        (("--network", "blue", "--ip", "10.83.0.2"), "is taken by container web"),
        (("--network", "blue", "--network", "host"), "cannot attach both"),
    ],
)
def test_what_can_not_be_had_leaves_nothing(networks: Rootless, words: tuple[str, ...], message: str) -> None:
    networks.ok("network", "create", "--subnet", "10.83.0.0/24", "blue")
    serve(networks, "web", "blue")
    done = networks("run", "-d", "--name", "bad", "--rm", *words, IMAGE, "true")
    assert done.returncode == 125
    assert message in done.stderr.decode() and done.stderr.count(b"\n") == 1
    assert networks.ok("network", "inspect", "-f", "{{len .Containers}}", "blue").strip() == "1"
    in_use = networks("network", "rm", "blue")
    assert in_use.returncode == 1
    assert 'network blue has active endpoints (name:"web"' in in_use.stderr.decode()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--subnet", "10.83.0.128/25"), "Pool overlaps with other one on this address space"),
        (("--subnet", "10.84.0.0/33"), "invalid CIDR address: 10.84.0.0/33"),
        (("--subnet", "everywhere"), "invalid CIDR address: everywhere"),
        (("--subnet", "10.84.0.0/24", "--gateway", "10.85.0.1"), "no matching subnet for gateway 10.85.0.1"),
        (("--subnet", "127.0.0.0/8"), "these addresses are reserved"),
    ],
)
def test_what_is_no_network_leaves_nothing(networks: Rootless, options: tuple[str, ...], message: str) -> None:
    networks.ok("network", "create", "--subnet", "10.83.0.0/24", "blue")
    done = networks("network", "create", *options, "bad")
    assert done.returncode == 1
    assert message in done.stderr.decode() and done.stderr.count(b"\n") == 1
    assert sorted(os.listdir(networks.paths.networks)) == [".lock", "blue.json"]


def test_a_killed_monitor_leaves_no_lease(networks: Rootless) -> None:
    networks.ok("network", "create", "--subnet", "10.83.0.0/30", "tiny")
    networks.ok("run", "-d", "--name", "first", "--network", "tiny", IMAGE, "sleep", "60")
    full = networks("run", "--rm", "--network", "tiny", IMAGE, "true")
    assert full.returncode == 125 and b"no available IPv4 addresses" in full.stderr
    state = (networks.paths.container(networks.containers()[0]) / "state.json").read_bytes()
    os.kill(msgspec.json.decode(state)["monitor"], signal.SIGKILL)
    networks.ok("run", "--rm", "--network", "tiny", IMAGE, "true")


def test_prune_spares_what_a_container_is_made_for(networks: Rootless) -> None:
    for name in "blue", "green":
        networks.ok("network", "create", name)
    networks.ok("create", "--name", "sleeper", "--network", "blue", IMAGE, "true")
    assert networks.ok("network", "prune", "-f") == "Deleted Networks:\ngreen\n\n"
    assert networks.ok("network", "ls", "-q", "--filter", "type=custom").count("\n") == 1


def test_containers_that_must_not_reach_each_other(networks: Rootless) -> None:
    networks.ok("network", "create", "-o", "com.docker.network.bridge.enable_icc=false", "apart")
    serve(networks, "web", "apart")
    assert fetch(networks, "apart", "web") == ""


@pytest.mark.parametrize("cycles", [5, pytest.param(200, marks=pytest.mark.long)])
def test_nothing_leaks(networks: Rootless, cycles: int) -> None:
    networks.ok("network", "create", "blue")
    networks.ok("run", "-d", "--name", "keeper", "--network", "blue", IMAGE, "sleep", "3600")
    before = _namespaces()
    for _ in range(cycles):
        networks.ok("run", "--rm", "--network", "blue", IMAGE, "true")
    deadline = time.monotonic() + 30
    while _namespaces() - before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _namespaces() - before
    assert networks.ok("network", "inspect", "-f", "{{len .Containers}}", "blue").strip() == "1"
    # What the switch has in it: lo, the bridge, and the keeper's port.
    networks.ok("rm", "-f", "keeper")


def _namespaces() -> set[str]:
    """The network namespaces of this account's processes."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                found.add(os.readlink(entry / "ns/net"))
            except OSError:
                continue
    return found
