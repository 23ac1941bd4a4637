"""How one container is connected: the modes, published ports, what becomes of pasta, and that nothing is left of it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import Rootless
from tests.servers import PYTHON, events, own_address, port, send, serve
from tests.waiting import wait_for

IMAGE = "busybox:latest"

pytestmark = pytest.mark.skipif(shutil.which("pasta") is None, reason="pasta is not installed (apt-get install passt)")
needs_python = pytest.mark.skipif(not os.access(PYTHON, os.X_OK), reason=f"{PYTHON} is not installed")
needs_slirp = pytest.mark.skipif(shutil.which("slirp4netns") is None, reason="slirp4netns is not installed")


def inside(rootless: Rootless, *words: str) -> str:
    *options, script = words
    return rootless.ok("run", "--rm", *options, IMAGE, "sh", "-c", script).strip()


@pytest.fixture
def containers(rootless: Rootless) -> Iterator[Rootless]:
    """The command; whatever it started is removed."""
    yield rootless
    for name in rootless.containers():
        rootless("rm", "-f", name)


def helper(rootless: Rootless) -> int:
    """The pid of the container's pasta; 0 while it has none."""
    form = "{{range .NetworkSettings.Helpers}}{{.Pid}}{{end}}"
    return int(rootless.ok("inspect", "-f", form, "web").strip() or 0)


# --- modes -----------------------------------------------------------------------------------------------------------


def test_the_default_is_an_interface_behind_pasta(rootless: Rootless) -> None:
    text = inside(rootless, "ls /sys/class/net; ip -4 -o addr show eth0; ip route; cat /etc/hosts")
    assert text.split()[:2] == ["eth0", "lo"]
    assert "10.0.2.100/24" in text
    assert "default via 10.0.2.2" in text
    assert re.search(r"^10\.0\.2\.100\t[0-9a-f]{12}$", text, re.MULTILINE)


def test_host_sees_the_machines_interfaces(rootless: Rootless) -> None:
    ours = sorted(name for _, name in socket.if_nameindex())
    script = "ls /sys/class/net; tail -n +3 /proc/net/dev | sed 's/:.*//'; hostname"
    seen = inside(rootless, "--network", "host", script).split()
    assert sorted(seen[:-1]) == sorted([name for name in os.listdir("/sys/class/net") if name in ours] + ours)
    assert seen[-1] == socket.gethostname()


def test_host_is_not_the_containers_to_change(rootless: Rootless) -> None:
    done = rootless("run", "--rm", "--network", "host", IMAGE, "ip", "link", "add", "rl0", "type", "dummy")
    assert done.returncode != 0
    assert not os.path.exists("/sys/class/net/rl0")


def test_another_containers_network_is_shared_with_its_names(containers: Rootless) -> None:
    containers.ok("run", "-d", "--name", "first", "--hostname", "shared", IMAGE, "sleep", "60")
    containers.ok("exec", "-d", "first", "httpd", "-p", "127.0.0.1:8000", "-h", "/etc")
    script = "hostname; tail -n 1 /etc/hosts | cut -f 2; wget -q -O - http://127.0.0.1:8000/hostname"
    assert inside(containers, "--network", "container:first", script).split() == ["shared"] * 3


@needs_slirp
def test_slirp4netns_has_the_same_address(rootless: Rootless) -> None:
    assert "10.0.2.100/24" in inside(rootless, "--network", "slirp4netns", "ip -4 -o addr show eth0")


def test_without_a_program_there_is_loopback_and_a_line_that_says_so(rootless: Rootless, tmp_path: Path) -> None:
    for program in ("newuidmap", "newgidmap"):
        if path := shutil.which(program):
            (tmp_path / program).symlink_to(path)
    done = rootless("run", "--rm", IMAGE, "ls", "/sys/class/net", env={"PATH": str(tmp_path)})
    assert (done.returncode, done.stdout) == (0, b"lo\n")
    assert b"no network: pasta is not installed; an administrator can run: apt-get install passt" in done.stderr


def test_pasta_that_fails_ends_the_start(rootless: Rootless) -> None:
    done = rootless("run", "--rm", "--network", "pasta:--nonsense", IMAGE, "true")
    assert done.returncode == 125
    assert done.stderr.startswith(b"rootless: pasta: ")
    assert done.stderr.count(b"\n") == 1


# --- names and addresses ---------------------------------------------------------------------------------------------


def test_hosts_and_resolv_conf_say_what_was_asked_for(rootless: Rootless) -> None:
    options = ("--hostname", "h", "--domainname", "example.org", "--ip", "10.9.8.7", "--ip6", "fd01::7")
    options += (
        "--dns",
        "192.0.2.53",
        "--dns-search",
        "a.example",
        "--dns-option",
        "ndots:2",
        "--add-host",
        "db:192.0.2.7",
    )
    text = inside(
        rootless,
        *options,
        "--mac-address",
        "02:00:00:00:00:09",
        "cat /etc/resolv.conf /etc/hosts /sys/class/net/eth0/address",
    )
    assert text.startswith("search a.example\nnameserver 192.0.2.53\noptions ndots:2\n")
    for line in ("192.0.2.7\tdb", "10.9.8.7\th.example.org h", "fd01::7\th.example.org h", "02:00:00:00:00:09"):
        assert line in text.splitlines() or line.startswith("fd01")  # a machine without IPv6 has only the first


def test_the_host_is_reached_by_host_gateway_and_its_loopback_only_on_request(rootless: Rootless) -> None:
    address = own_address()
    with Answer("0.0.0.0") as everywhere, Answer("127.0.0.1") as loopback:
        fetch = "(printf x; sleep 1) | timeout -s KILL 4 nc -w 2 $(grep -w gw /etc/hosts | cut -f 1) %d"
        words = ("--add-host", "gw:host-gateway")
        assert inside(rootless, *words, fetch % everywhere.port) == "answer"
        assert inside(rootless, *words, f"{fetch % loopback.port}; true") == ""
        assert inside(rootless, "--network", "pasta:--map-gw", *words, fetch % loopback.port) == "answer"
        assert address in inside(rootless, *words, "cat /etc/hosts")


class Answer:
    """A server of the machine's that answers each connection with a word."""

    def __init__(self, address: str) -> None:
        self.socket = socket.create_server((address, 0))
        self.port = self.socket.getsockname()[1]

    def __enter__(self) -> Answer:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                with connection:
                    connection.recv(1)
                    connection.sendall(b"answer")
                    connection.recv(1)  # until the other side has gone

    def __exit__(self, *_: object) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def test_ping_reaches_the_machine_or_info_says_why_not(rootless: Rootless) -> None:
    """pasta may send echo requests only where the kernel lets the caller's group."""
    first, last = map(int, Path("/proc/sys/net/ipv4/ping_group_range").read_text().split())
    script = (
        f"ping -c 1 -W 1 127.0.0.1 >/dev/null && echo self; ping -c 1 -W 2 {own_address()} >/dev/null && echo out; true"
    )
    reached = inside(rootless, script).split()
    told = rootless.ok("info")
    if first <= os.getgid() <= last:
        assert reached == ["self", "out"]
        assert "Ping to the outside: yes" in told
    else:
        assert reached == ["self"]
        assert (
            f"Ping to the outside: no: net.ipv4.ping_group_range is {first} {last}, without your group {os.getgid()};"
            in told
        )


# --- published ports -------------------------------------------------------------------------------------------------


@needs_python
def test_published_tcp_and_udp_are_reached_from_the_host(containers: Rootless) -> None:
    serve(containers, "-p", "80", "-p", "81/udp", "--expose", "90")
    data = os.urandom(100_000)
    checksum = hashlib.sha256(data).hexdigest()
    tcp = port(containers, "80")
    assert send(("127.0.0.1", tcp), data)[0] == checksum
    if socket.has_ipv6 and os.path.exists("/proc/net/if_inet6"):
        assert send(("::1", tcp), data)[0] == checksum
    address = own_address()
    assert send((address, tcp), data) == [checksum, f"::ffff:{address}"]  # the source address is the peer's
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.settimeout(30)
        # Not to 127.0.0.1: from there the pasta of 2023 loses the answer of a port that has another number inside.
        datagrams.sendto(b"hello", (address, port(containers, "81/udp")))
        assert datagrams.recv(100) == b"HELLO"
    shown = containers.ok("ps", "--format", "{{.Ports}}").strip()
    assert f"0.0.0.0:{tcp}->80/tcp" in shown
    assert shown.endswith("90/tcp")
    bindings = '{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}'
    assert containers.ok("inspect", "-f", bindings, "web").strip() == str(tcp)


def test_exposed_ports_are_published_together(containers: Rootless) -> None:
    containers.ok("run", "-d", "--name", "web", "--expose", "7000-7002", "-P", IMAGE, "sleep", "60")
    lines = [line for line in containers.ok("port", "web").splitlines() if "0.0.0.0" in line]
    assert [line.partition(" ")[0] for line in lines] == ["7000/tcp", "7001/tcp", "7002/tcp"]


def many_connections(rootless: Rootless, count: int, each: int) -> None:
    serve(rootless, "-p", "127.0.0.1::80")
    address = ("127.0.0.1", port(rootless, "80"))
    together = threading.Barrier(count)

    def one(number: int) -> bool:
        data = number.to_bytes(4) * (each // 4)
        with socket.create_connection(address, timeout=120) as connection:
            together.wait(60)  # all of them are open at this moment
            connection.sendall(len(data).to_bytes(8) + data)
            return connection.makefile().read().split()[0] == hashlib.sha256(data).hexdigest()

    with ThreadPoolExecutor(count) as pool:
        assert all(pool.map(one, range(count)))


@needs_python
def test_200_connections_at_once(containers: Rootless) -> None:
    many_connections(containers, 200, 50_000_000 // 200)


@needs_python
@pytest.mark.long
def test_200_connections_at_once_with_a_gigabyte(containers: Rootless) -> None:
    many_connections(containers, 200, 1_000_000_000 // 200)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-p", "x"), "invalid containerPort: x"),
        (("-p", "x:80"), "invalid hostPort: x"),
        (("-p", "80:"), "no port specified: 80:<empty>"),
        (("-p", "80/xtp"), "invalid proto: xtp"),
        (("-p", "1.2.3:80:80"), "invalid IP address: 1.2.3"),
        (("-p", "80-81:80-82"), "invalid ranges specified for container and host Ports: 80-82 and 80-81"),
        (("-p", "192.0.2.77:9000:80"), "this machine has no such address"),
        (("--expose", "a"), "invalid range format for --expose: a"),
        (("--dns", "a"), "a is not an ip address"),
        (("--add-host", "a"), 'bad format for add-host: "a"'),
        (("--link", "db"), "rootless network create NET"),
        (("--network", "nosuch"), "network nosuch not found"),
        (("--network", "container:"), "invalid container format"),
        (("--network", "container:nosuch"), "No such container: nosuch"),
        (("--network", "none", "--network", "host"), "conflicting options"),
        (("--network", "slirp4netns:x=1"), "invalid slirp4netns_options x=1"),
    ],
)
def test_what_makes_no_sense_is_told_in_a_line(rootless: Rootless, options: tuple[str, ...], message: str) -> None:
    done = rootless("run", "--rm", *options, IMAGE, "true")
    assert done.returncode == 125
    assert message in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_a_port_that_is_taken(rootless: Rootless) -> None:
    with Answer("127.0.0.1") as other:
        done = rootless("run", "--rm", "-p", f"{other.port}:80", IMAGE, "true")
        assert done.returncode == 125
        assert f"Bind for 0.0.0.0:{other.port} failed: port is already allocated" in done.stderr.decode()


@pytest.mark.skipif(
    int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 81,
    reason="low ports are everybody's here",
)
def test_a_low_port_is_explained(rootless: Rootless) -> None:
    done = rootless("run", "--rm", "-p", "81:80", IMAGE, "true")
    assert done.returncode == 125
    assert b"sysctl net.ipv4.ip_unprivileged_port_start=81" in done.stderr


def test_a_container_is_no_router_unless_it_is_asked_to_be(containers: Rootless) -> None:
    """Beside others on an internal network it would lead them outside; a machine on which Docker runs is one."""
    script = "cat /proc/sys/net/ipv4/ip_forward"
    assert inside(containers, script) == "0"
    assert inside(containers, "--sysctl", "net.ipv4.ip_forward=1", script) == "1"


# --- its end ---------------------------------------------------------------------------------------------------------


@needs_python
def test_a_killed_pasta_is_noticed_told_and_replaced(containers: Rootless) -> None:
    serve(containers, "-p", "127.0.0.1::80")
    tcp, before = port(containers, "80"), helper(containers)
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: helper(containers) not in (0, before))
    assert containers.ok("inspect", "-f", "{{.NetworkSettings.Down}}", "web").strip() == ""
    assert send(("127.0.0.1", tcp), b"again")[0] == hashlib.sha256(b"again").hexdigest()
    told = events(containers, "web")
    assert '"reason":"pasta was killed by signal 9"' in told
    assert '"network_up"' in told


@needs_slirp
def test_a_network_that_stays_down_is_marked(containers: Rootless) -> None:
    containers.ok("run", "-d", "--name", "web", "--network", "slirp4netns", IMAGE, "sleep", "60")
    os.kill(helper(containers), signal.SIGKILL)
    form = "{{.State.Running}} {{.NetworkSettings.Down}}"
    wait_for(lambda: containers.ok("inspect", "-f", form, "web").strip() == "true slirp4netns was killed by signal 9")


def test_pasta_ends_with_a_monitor_that_is_killed(containers: Rootless) -> None:
    containers.ok("run", "-d", "--name", "web", IMAGE, "sleep", "60")
    pasta = helper(containers)
    stat = Path(f"/proc/{pasta}/stat").read_text()
    monitor = int(stat.rpartition(")")[2].split()[1])
    os.kill(monitor, signal.SIGKILL)
    wait_for(lambda: not _alive(pasta))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def cycles(rootless: Rootless, count: int) -> None:
    """The fixture sees to it that no process and no container is left; interfaces and namespaces go with those."""
    for _ in range(count):
        rootless.ok("run", "-d", "--name", "web", "-p", "80", IMAGE, "sleep", "60")
        rootless.ok("rm", "-f", "web")


def test_nothing_is_left_after_10_containers(rootless: Rootless) -> None:
    cycles(rootless, 10)


@pytest.mark.long
def test_nothing_is_left_after_200_containers(rootless: Rootless) -> None:
    before = set(os.listdir("/sys/class/net"))
    cycles(rootless, 200)
    assert set(os.listdir("/sys/class/net")) == before
