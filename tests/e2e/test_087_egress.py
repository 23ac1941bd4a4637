"""--egress: what is allowed is reached by name, everything else is refused at once and written down."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.conftest import Rootless
from tests.servers import events
from tests.waiting import wait_for

IMAGE = "busybox:latest"
PROXY = "198.18.0.1:3128"
UNREACHABLE = re.compile("No route to host|Host is unreachable")  # glibc's words, and musl's
CONTENT = os.urandom(3_000_000)
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()

pytestmark = pytest.mark.skipif(not os.access("/dev/net/tun", os.R_OK | os.W_OK), reason="/dev/net/tun can't be opened")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(self.headers["Host"].encode() if self.path == "/host" else CONTENT)

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])).upper())

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A web server on the machine's loopback."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture
def containers(rootless: Rootless) -> Iterator[Rootless]:
    yield rootless
    for name in rootless.containers():
        rootless("rm", "-f", name)


def start(rootless: Rootless, port: int, *options: str) -> None:
    """A container `web` that may reach `api.test` on the server's port, and every port of what is below `ok.test`."""
    allowed = ("--egress", f"allow=api.test:{port},*.ok.test")
    hosts = ("--add-host", "api.test:127.0.0.1", "--add-host", "x.ok.test:127.0.0.1")
    rootless.ok("run", "-d", "--name", "web", *allowed, *hosts, *options, IMAGE, "sleep", "300")


def tries(rootless: Rootless) -> list[str]:
    """What the log says, without the times."""
    lines = rootless.ok("logs", "--egress", "web").splitlines()
    assert all(line[:2] == "20" and line.split()[0].endswith("Z") for line in lines)
    return [line.partition(" ")[2] for line in lines]


def sh(rootless: Rootless, script: str, *options: str) -> str:
    done = rootless("exec", *options, "web", "sh", "-c", script)
    return (done.stdout + done.stderr).decode(errors="replace")


def test_an_allowed_name_is_reached_and_its_content_is_whole(containers: Rootless, port: int) -> None:
    start(containers, port)
    for name in "api.test", "x.ok.test":
        assert sh(containers, f"wget -q -O - http://{name}:{port}/ | sha256sum").split()[0] == CHECKSUM
        assert sh(containers, f"wget -q -O - http://{name}:{port}/host") == f"{name}:{port}"
    assert tries(containers) == [f"allowed tcp {name}:{port}" for name in ("api.test", "x.ok.test") for _ in range(2)]


def test_what_is_not_allowed_is_refused_at_once_and_written_down(containers: Rootless, port: int) -> None:
    """By name, by address, by port; TCP, UDP and ICMP; and questions to other name servers, which could carry data."""
    start(containers, port)
    assert "bad address" in sh(containers, "wget -q -O - http://evil.test/")
    assert UNREACHABLE.search(sh(containers, f"nc 192.0.2.1 {port}"))
    assert UNREACHABLE.search(sh(containers, "nc api.test 22"))
    sh(containers, "echo x | nc -u -w 1 192.0.2.53 53")
    sh(containers, "nslookup -timeout=1 data.evil.test 192.0.2.53")
    sh(containers, "ping -c 1 -W 1 192.0.2.1")
    told = tries(containers)
    for line in (
        "refused dns evil.test",
        f"refused tcp 192.0.2.1:{port}",
        "refused tcp api.test:22",
        "refused udp 192.0.2.53:53",
        "refused icmp 192.0.2.1",
    ):
        assert line in told
    assert not any(line.startswith("allowed") for line in told)


def test_the_machine_itself_is_not_reached_by_its_addresses(containers: Rootless, port: int) -> None:
    start(containers, port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("the machine has no address but loopback's")
        own = probe.getsockname()[0]
    for address in own, "10.0.2.2", "169.254.1.1", "198.18.0.2", "198.18.0.1":
        assert UNREACHABLE.search(sh(containers, f"nc {address} {port}"))


def test_the_containers_root_finds_no_way_round_it(containers: Rootless, port: int) -> None:
    """It may do with its interfaces what it likes: there is nothing behind them but the filter."""
    start(containers, port, "--cap-add", "NET_ADMIN", "--cap-add", "NET_RAW")
    script = f"""
        ip addr add 192.0.2.9/24 dev eth0; ip route add 192.0.2.0/24 dev eth0 src 192.0.2.9
        ip link add d0 type dummy; ip link set d0 up; ip route add 198.51.100.0/24 dev d0
        nc -w 2 192.0.2.1 {port}; nc -w 2 198.51.100.1 {port}
        ip link set eth0 down; ip link set eth0 up; ip route add default dev eth0
        nc -w 5 203.0.113.1 {port}
    """
    sh(containers, script)
    assert f"refused tcp 203.0.113.1:{port}" in tries(containers)
    assert sh(containers, f"wget -q -O - http://api.test:{port}/ | sha256sum").split()[0] == CHECKSUM


def test_the_proxy_takes_http_and_connect(containers: Rootless, port: int) -> None:
    start(containers, port)
    proxied = f"http_proxy=http://{PROXY}"
    assert sh(containers, f"{proxied} wget -q -O - http://api.test:{port}/ | sha256sum").split()[0] == CHECKSUM
    post = "printf 'POST http://api.test:%d/ HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 5\\r\\n\\r\\nhello'"
    post += " | nc 198.18.0.1 3128"
    assert sh(containers, post % port).endswith("\r\n\r\nHELLO")
    fronted = "printf 'GET http://api.test:%d/host HTTP/1.1\\r\\nHost: evil.test\\r\\n\\r\\n' | nc 198.18.0.1 3128"
    assert sh(containers, fronted % port).endswith(f"\r\n\r\napi.test:{port}")
    assert "403" in sh(containers, f"{proxied} wget -q -O - http://evil.test/")
    connect = "printf 'CONNECT %s HTTP/1.1\\r\\nHost: x\\r\\n\\r\\nGET /host HTTP/1.0\\r\\nHost: h\\r\\n\\r\\n'"
    connect += " | nc 198.18.0.1 3128"
    answer = sh(containers, connect % f"api.test:{port}")
    assert answer.startswith("HTTP/1.1 200 ") and answer.endswith("\r\nh")
    refusal = sh(containers, connect % "evil.test:443")
    assert refusal.startswith("HTTP/1.1 403 ") and "rootless: --egress does not allow evil.test:443" in refusal
    assert tries(containers) == [
        *[f"allowed http api.test:{port}"] * 3,
        "refused http evil.test:80",
        f"allowed connect api.test:{port}",
        "refused connect evil.test:443",
    ]


def test_many_connections_at_once(containers: Rootless, port: int) -> None:
    """More than are made at the same moment: the others come a second later."""
    start(containers, port)
    script = f"for i in $(seq 150); do wget -q -O - http://api.test:{port}/host & done | wc -c; wait"
    assert sh(containers, script).split() == [str(150 * len(f"api.test:{port}"))]


def test_who_speaks_nonsense_harms_nobody(containers: Rootless, port: int) -> None:
    start(containers, port)
    for script in (
        "head -c 100000 /dev/urandom | timeout 5 nc 198.18.0.1 3128",
        "yes GET | head -c 200000 | timeout 5 nc 198.18.0.1 3128",
        "printf 'GET / HTTP/1.1\\r\\nContent-Length: 5\\r\\nContent-Length: 6\\r\\n\\r\\n' | nc -w 5 198.18.0.1 3128",
        "printf 'CONNECT [:99999 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' | timeout 5 nc 198.18.0.1 3128",
        "printf 'GET http://[ HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' | timeout 5 nc 198.18.0.1 3128",
        "head -c 1400 /dev/urandom | nc -u -w 1 198.18.0.1 53",
        "head -c 5000 /dev/urandom | timeout 5 nc 198.18.0.1 53",
    ):
        sh(containers, script)
    assert sh(containers, f"wget -q -O - http://api.test:{port}/host") == f"api.test:{port}"


def test_a_name_may_not_lead_to_the_machine_itself(containers: Rootless, port: int) -> None:
    """Whoever has an allowed domain says where it leads."""
    name, address = loopback()
    containers.ok("run", "-d", "--name", "web", "--egress", f"allow={name}", IMAGE, "sleep", "300")
    assert "refused" in sh(containers, f"nc {name} {port}")
    reason = f"the name leads to {address}, which is this machine's own: --add-host would allow it"
    assert tries(containers) == [f"failed tcp {name.lower()}:{port} ({reason})"]


def loopback() -> tuple[str, str]:
    """A name that leads to the machine's loopback, as Debian's /etc/hosts has some, and the address."""
    for name in "ip6-loopback", socket.gethostname():
        with contextlib.suppress(OSError):
            address = str(socket.getaddrinfo(name, 80)[0][4][0])
            if address == "::1" or address.startswith("127."):
                return name, address
    pytest.skip("this machine has no name for its loopback")


def test_a_refusal_of_the_server_itself_is_the_clients(containers: Rootless, port: int) -> None:
    start(containers, port)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        free = closed.getsockname()[1]
    assert "Connection refused" in sh(containers, f"nc x.ok.test {free}")
    assert tries(containers) == [f"failed tcp x.ok.test:{free} (Connection refused)"]


def test_neighbours_are_reached_as_well(containers: Rootless, port: int) -> None:
    """The filter is the way out in the place of pasta; the networks are what they are without."""
    containers.ok("network", "create", "blue")
    try:
        start(containers, port, "--network", "blue")
        containers.ok("run", "-d", "--name", "db", "--network", "blue", IMAGE, "httpd", "-f", "-p", "80", "-h", "/etc")
        wait_for(lambda: sh(containers, "wget -q -O - http://db/hostname").strip() != "")
        assert sh(containers, f"wget -q -O - http://api.test:{port}/host") == f"api.test:{port}"
        assert "bad address" in sh(containers, "wget -q -O - http://evil.test/")
        assert set(tries(containers)) == {f"allowed tcp api.test:{port}", "refused dns evil.test"}
    finally:
        for name in "web", "db":
            containers("rm", "-f", name)
        containers.ok("network", "rm", "blue")


def test_a_killed_filter_lets_nothing_pass_and_is_replaced(containers: Rootless, port: int) -> None:
    start(containers, port)
    form = "{{range .NetworkSettings.Helpers}}{{.Name}} {{.Pid}}{{end}}"

    def helper() -> str:
        return containers.ok("inspect", "-f", form, "web").strip()

    before = helper()
    assert before.startswith("egress ")
    os.kill(int(before.split()[1]), signal.SIGKILL)
    wait_for(lambda: helper() not in ("", before))
    assert sh(containers, f"wget -q -O - http://api.test:{port}/host") == f"api.test:{port}"
    assert "bad address" in sh(containers, "wget -q -O - http://evil.test/")
    told = events(containers, "web")
    assert '"reason":"egress was killed by signal 9"' in told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--egress", "allow=a b"), "invalid domain in --egress allow=a b: a b"),
        (("--egress", "deny=a"), "invalid --egress deny=a"),
        (("--egress", "allow=a:0"), "invalid port in --egress allow=a:0: 0"),
        (("--egress", "allow=a", "--network", "host"), "conflicting options: --egress and --network host"),
        (("--network", "egress"), "--network egress is what --egress makes, and nothing is allowed"),
        (("--egress", "allow=a", "--dns", "1.1.1.1"), "conflicting options: --egress and --dns"),
    ],
)
def test_what_makes_no_sense_is_told_in_a_line(rootless: Rootless, options: tuple[str, ...], message: str) -> None:
    done = rootless("run", "--rm", *options, IMAGE, "true")
    assert done.returncode == 125
    assert message in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_a_container_without_it_has_no_such_log(containers: Rootless) -> None:
    containers.ok("create", "--name", "web", IMAGE, "true")
    done = containers("logs", "--egress", "web")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"the container has no filter" in done.stderr
