"""What leads containers on named networks to the outside and back: pasta or slirp4netns beside the bridges, published
ports, and what becomes of it when a running one gets on another network."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import signal
import socket
from pathlib import Path

import msgspec
import pytest

from tests.conftest import Rootless
from tests.servers import PYTHON, events, own_address, port, send, serve
from tests.waiting import wait_for

IMAGE = "busybox:latest"

pytestmark = pytest.mark.skipif(shutil.which("pasta") is None, reason="pasta is not installed (apt-get install passt)")
needs_python = pytest.mark.skipif(not os.access(PYTHON, os.X_OK), reason=f"{PYTHON} is not installed")
needs_slirp = pytest.mark.skipif(shutil.which("slirp4netns") is None, reason="slirp4netns is not installed")

CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], 80), timeout=30) as tcp:
    tcp.sendall((5).to_bytes(8, "big") + b"hello")
    print(tcp.makefile().read().split()[0])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
    udp.settimeout(30)
    udp.sendto(b"hello", (sys.argv[1], 81))
    print(udp.recv(100).decode())
"""


def ask(rootless: Rootless, network: str, target: str) -> list[str]:
    """What another container on a network gets from the server, by TCP and by UDP."""
    mounts = [
        word for path in ("/usr", "/lib", "/lib64") if os.path.isdir(path) for word in ("-v", f"{path}:{path}:ro")
    ]
    command = ("run", "--rm", "--network", network, *mounts, IMAGE, PYTHON, "-c", CLIENT, target)
    return rootless(*command).stdout.decode().split()


def helpers(rootless: Rootless) -> str:
    return rootless.ok("inspect", "-f", "{{range .NetworkSettings.Helpers}}{{.Name}}{{end}}", "web").strip()


def routes(rootless: Rootless) -> str:
    return rootless.ok("exec", "web", "ip", "route")


@needs_python
def test_a_server_is_reached_from_the_host_and_its_neighbours_and_not_from_another_network(networks: Rootless) -> None:
    networks.ok("network", "create", "blue")
    networks.ok("network", "create", "--internal", "red")  # or it would ask outside, whoever has the address
    serve(networks, "--network", "blue", "-p", "80", "-p", "81/udp")
    hello = hashlib.sha256(b"hello").hexdigest()
    tcp, udp, address = port(networks, "80"), port(networks, "81/udp"), own_address()
    assert send(("127.0.0.1", tcp), b"hello")[0] == hello
    assert send((address, tcp), b"hello") == [hello, f"::ffff:{address}"]  # the source address is the peer's
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.settimeout(30)
        datagrams.sendto(b"hello", (address, udp))
        assert datagrams.recv(100) == b"HELLO"
    inside = networks.ok("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web").strip()
    assert ask(networks, "blue", "web") == [hello, "HELLO"]
    assert ask(networks, "blue", inside) == [hello, "HELLO"]
    assert ask(networks, "red", "web") == []
    assert ask(networks, "red", inside) == []
    assert f"0.0.0.0:{tcp}->80/tcp" in networks.ok("ps", "--format", "{{.Ports}}")


def test_ports_of_an_internal_network_are_not_dropped_without_a_word(networks: Rootless) -> None:
    networks.ok("network", "create", "--internal", "inner")
    done = networks("run", "--rm", "--network", "inner", "-p", "80", IMAGE, "true")
    assert done.returncode == 0
    assert b"published ports are discarded: the container is on networks that lead nowhere" in done.stderr


@needs_python
def test_the_way_out_comes_and_goes_with_the_networks(networks: Rootless) -> None:
    networks.ok("network", "create", "--internal", "inner")
    networks.ok("network", "create", "outer")
    serve(networks, "--network", "inner", "-p", "127.0.0.1::80")
    assert (helpers(networks), networks.ok("port", "web")) == ("", "")
    assert "default" not in routes(networks)
    connected = networks("network", "connect", "outer", "web")
    assert (connected.returncode, connected.stderr) == (0, b"")
    assert helpers(networks) == "pasta"
    assert "default via" in routes(networks)
    assert send(("127.0.0.1", port(networks, "80")), b"x")[0] == hashlib.sha256(b"x").hexdigest()
    networks.ok("network", "disconnect", "outer", "web")
    assert (helpers(networks), networks.ok("port", "web")) == ("", "")
    wait_for(lambda: "default" not in routes(networks))  # the tap device goes some milliseconds after its pasta
    # A helper that is not wanted any more has not failed; `die` would be told after anything of it.
    networks.ok("stop", "-t", "0", "web")
    told = events(networks, "web")
    assert "die" in told
    assert "network_down" not in told


def test_a_way_out_that_can_not_be_had_is_told_and_marked(networks: Rootless) -> None:
    """Not the end of the container, nor of its other networks."""
    networks.ok("network", "create", "--internal", "inner")
    networks.ok("network", "create", "outer")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        networks.ok("run", "-d", "--name", "web", "--network", "inner", "-p", f"{place}:80", IMAGE, "sleep", "60")
        connected = networks("network", "connect", "outer", "web")
        assert connected.returncode == 0
        assert f"Bind for {place} failed: port is already allocated".encode() in connected.stderr
        assert connected.stderr.count(b"\n") == 1
        form = "{{.State.Running}} {{len .NetworkSettings.Networks}} {{.NetworkSettings.Down}}"
        assert networks.ok("inspect", "-f", form, "web").startswith("true 2 there is no way out: Bind for")
        assert '"network_down"' in events(networks, "web")
        networks.ok("network", "disconnect", "outer", "web")
        assert networks.ok("inspect", "-f", form, "web").strip() == "true 1"
    networks.ok("network", "connect", "outer", "web")
    assert helpers(networks) == "pasta"
    assert networks.ok("inspect", "-f", form, "web").strip() == "true 2"


def test_a_way_out_that_came_later_is_watched_as_well(networks: Rootless) -> None:
    networks.ok("network", "create", "--internal", "inner")
    networks.ok("network", "create", "outer")
    networks.ok("run", "-d", "--name", "web", "--network", "inner", IMAGE, "sleep", "60")
    networks.ok("network", "connect", "outer", "web")
    form = "{{range .NetworkSettings.Helpers}}{{.Pid}}{{end}}"
    before = networks.ok("inspect", "-f", form, "web").strip()
    os.kill(int(before), signal.SIGKILL)
    wait_for(lambda: networks.ok("inspect", "-f", form, "web").strip() not in ("", before))


def test_a_monitor_without_descriptors_goes_on_and_tries_again(networks: Rootless) -> None:
    """Neither the successor of a killed pasta nor what is told of it may be the container's end."""
    for name in "outer", "other":
        networks.ok("network", "create", name)
    networks.ok("run", "-d", "--name", "web", "--network", "outer", IMAGE, "sleep", "300")
    networks.ok("network", "connect", "other", "web")  # answered by a monitor that has loaded all that it needs
    form = "{{range .NetworkSettings.Helpers}}{{.Pid}}{{end}}"
    before = networks.ok("inspect", "-f", form, "web").strip()
    directory = networks.paths.container(networks.ok("inspect", "-f", "{{.Id}}", "web").strip())
    monitor = msgspec.json.decode((directory / "state.json").read_bytes())["monitor"]
    limits = resource.prlimit(monitor, resource.RLIMIT_NOFILE)
    resource.prlimit(monitor, resource.RLIMIT_NOFILE, (3, limits[1]))
    os.kill(int(before), signal.SIGKILL)
    wait_for(lambda: (directory / "monitor.log").read_text().count("Too many open files") >= 3)
    resource.prlimit(monitor, resource.RLIMIT_NOFILE, limits)
    wait_for(lambda: networks.ok("inspect", "-f", form, "web").strip() not in ("", before), pause=0.3)
    assert "default via" in routes(networks)


def test_one_that_has_a_way_out_by_itself_keeps_it(networks: Rootless) -> None:
    networks.ok("network", "create", "--internal", "inner")
    networks.ok("run", "-d", "--name", "web", "--network", "pasta:--mtu,1500", IMAGE, "sleep", "60")
    hosts = networks.ok("exec", "web", "cat", "/etc/hosts")
    assert "10.0.2.100\t" in hosts
    networks.ok("network", "connect", "inner", "web")
    assert helpers(networks) == "pasta"
    networks.ok("network", "disconnect", "inner", "web")
    assert networks.ok("exec", "web", "cat", "/etc/hosts") == hosts
    networks.ok("network", "connect", "inner", "web")
    networks.ok("restart", "-t", "0", "web")
    assert helpers(networks) == "pasta"
    assert "default via" in routes(networks)


@needs_slirp
@needs_python
def test_slirp4netns_takes_pastas_place(networks: Rootless, tmp_path: Path) -> None:
    for program in ("newuidmap", "newgidmap", "slirp4netns"):
        if path := shutil.which(program):
            (tmp_path / program).symlink_to(path)
    networks.ok("network", "create", "blue")
    mounts = [
        word for path in ("/usr", "/lib", "/lib64") if os.path.isdir(path) for word in ("-v", f"{path}:{path}:ro")
    ]
    words = ("run", "-d", "--name", "web", "--network", "blue", "-p", "127.0.0.1::80", *mounts)
    server = "import http.server; http.server.test(http.server.SimpleHTTPRequestHandler, port=80)"
    done = networks(*words, IMAGE, PYTHON, "-c", server, env={"PATH": str(tmp_path)})
    assert (done.returncode, done.stderr) == (0, b"")
    assert helpers(networks) == "slirp4netns"
    assert "default via 10.0.2.2 dev pasta0" in routes(networks)
    wait_for(lambda: answers(port(networks, "80")))


def answers(number: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", number), timeout=10) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return connection.recv(100).startswith(b"HTTP/1.0 200")
    except OSError:
        return False
