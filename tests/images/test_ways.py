"""The ways to a registry and the trouble on them: mirrors, proxies, connections that break; and all tags at once."""

from __future__ import annotations

import base64
import json
import os
import random
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from rootless.registry.url import parse
from tests.conftest import Rootless
from tests.images.conftest import impatient
from tests.images.registries import DockerRegistry, FakeRegistry, Handler, docker_registry
from tests.storage.archives import Archive

pytestmark = pytest.mark.usefixtures("nobody_at_home")

FAR = "far.invalid/x"
"""A name that leads to a registry only by way of registries.conf or a proxy."""


def archive(size: int = 1000, name: str = "f") -> bytes:
    return Archive().file(name, random.Random(f"{size}{name}").randbytes(size)).bytes()


def layer_of(fake: FakeRegistry) -> str:
    found: str = json.loads(fake.manifests["latest"][1])["layers"][0]["digest"]
    return found


# --- mirrors ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def mirror(fake: FakeRegistry) -> Iterator[FakeRegistry]:
    """A second registry with the same image, which registries.conf calls a mirror of the first."""
    mirror = FakeRegistry()
    fake.add([archive(600_000)])
    mirror.blobs, mirror.manifests = dict(fake.blobs), dict(fake.manifests)
    Path(os.environ["CONTAINERS_REGISTRIES_CONF"]).write_text(
        f"""
[[registry]]
prefix = "{FAR}"
location = "{fake.host}/x"
[[registry.mirror]]
location = "{mirror.host}/x"
insecure = true
"""
    )
    yield mirror
    mirror.close()


def lacks_the_layer(mirror: FakeRegistry) -> None:
    del mirror.blobs[layer_of(mirror)]


def lacks_the_image(mirror: FakeRegistry) -> None:
    mirror.manifests.clear()


def is_overloaded(mirror: FakeRegistry) -> None:
    mirror.twist = lambda handler: handler.reply(503, b"") is None


def is_overloaded_by_the_layer(mirror: FakeRegistry) -> None:
    name = layer_of(mirror)
    mirror.twist = lambda handler: name in handler.path and handler.reply(502, b"") is None


def wants_a_login(mirror: FakeRegistry) -> None:
    mirror.twist = lambda handler: handler.reply(401, b"", ("WWW-Authenticate", "Basic realm=x")) is None


def is_a_web_page(mirror: FakeRegistry) -> None:
    mirror.twist = lambda handler: handler.reply(200, b"<html>") is None


def sends_another_layer(mirror: FakeRegistry) -> None:
    data = mirror.blobs[layer_of(mirror)]
    mirror.blobs[layer_of(mirror)] = data[:-9000] + bytes(9000)


def is_away(mirror: FakeRegistry) -> None:
    mirror.close()


def breaks_off(mirror: FakeRegistry) -> None:
    name = layer_of(mirror)
    mirror.ranges = False

    def twist(handler: Handler) -> bool:
        if name not in handler.path:
            return False
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(mirror.blobs[name])))
        handler.end_headers()
        handler.pour(name, mirror.blobs[name], 0, 400_000)
        handler.close_connection = True
        return True

    mirror.twist = twist


TROUBLES = [lacks_the_layer, lacks_the_image, is_overloaded, is_overloaded_by_the_layer, wants_a_login, is_a_web_page]
TROUBLES += [sends_another_layer, is_away, breaks_off]


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
def test_a_mirror_that_fails(
    trouble: Callable[[FakeRegistry], None], engine: Rootless, fake: FakeRegistry, mirror: FakeRegistry
) -> None:
    """What a mirror does not have or spoils comes from the next place, and only that."""
    whole = len(fake.blobs[layer_of(fake)])
    expected = {lacks_the_image: 0, breaks_off: whole - 400_000}.get(trouble, whole)
    trouble(mirror)
    done = impatient(engine, "pull", FAR)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"Downloaded newer image for {FAR}:latest\n{FAR}:latest\n".encode())
    assert fake.sent[layer_of(fake)] == expected


def test_a_mirror_that_works_is_enough(engine: Rootless, fake: FakeRegistry, mirror: FakeRegistry) -> None:
    engine.ok("pull", FAR)
    assert (fake.asked, mirror.sent[layer_of(mirror)]) == ([], len(mirror.blobs[layer_of(mirror)]))


def test_where_every_place_fails_all_of_them_are_told(
    engine: Rootless, fake: FakeRegistry, mirror: FakeRegistry
) -> None:
    """In one line: what is wrong at home, and then what was wrong with the mirror."""
    lacks_the_image(mirror)
    is_overloaded(fake)
    done = impatient(engine, "pull", "-q", FAR)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
    at_home, words, of_mirror = done.stderr.decode().partition("; the mirror before it: ")
    assert words and f"{fake.host}/v2/x/manifests/latest: the server answers 503" in at_home
    assert of_mirror.startswith(f"manifest for {mirror.host}/x:latest not found")


# --- proxies ---------------------------------------------------------------------------------------------------------


class Proxy:
    """A small forward proxy: plain requests with whole URLs, and CONNECT. Every name lies on this machine.

    Attributes:
        ports: of the host names that it knows, where they really listen.
        asked: the first line of each request, with the credentials that came along.
    """

    def __init__(self, ports: dict[str, int]) -> None:
        self.ports = ports
        self.asked: list[tuple[str, str]] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            head = b""
            while not head.endswith(b"\r\n\r\n") and (data := connection.recv(1)):
                head += data
            if head:
                self._pass_on(connection, head.decode())

    def _pass_on(self, connection: socket.socket, head: str) -> None:
        line, _, rest = head.partition("\r\n")
        method, target, version = line.split()
        shown = re.search(r"(?im)^proxy-authorization: (\S+ \S+)\r$", rest)
        self.asked.append((line, shown[1] if shown else ""))
        host = target if method == "CONNECT" else parse(target).authority
        if host not in self.ports:
            connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", self.ports[host])) as there:
            if method == "CONNECT":
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                kept = re.sub(r"(?im)^(proxy-authorization|connection): .*\r\n", "", rest)
                # One request a connection: no answer's end has to be looked for.
                there.sendall(f"{method} {parse(target).target} {version}\r\nConnection: close\r\n{kept}".encode())
            back = threading.Thread(target=pump, args=(there, connection), daemon=True)
            back.start()
            pump(connection, there)
            back.join(20)


def pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def proxied(monkeypatch: pytest.MonkeyPatch, scheme: str, host: str, registry: DockerRegistry) -> Iterator[Proxy]:
    """A proxy in the environment, by way of which `host` is this registry."""
    proxy = Proxy({host: int(registry.host.partition(":")[2])})
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"http://me:pw@127.0.0.1:{proxy.port}")
    yield proxy
    proxy.close()


def there_and_back(engine: Rootless, name: str) -> None:
    """Push an image and pull it again: it is the same."""
    pushed = engine.ok("import", "-", name, stdin=archive(300_000)).strip()
    engine.ok("push", name)
    engine.ok("rmi", name)
    assert engine.ok("pull", "-q", name).strip() == pushed


SHOWN = "Basic " + base64.b64encode(b"me:pw").decode()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_through_a_proxy(engine: Rootless, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry can't be reached otherwise: its name means nothing here. NO_PROXY therefore cuts it off."""
    host = "far.invalid:443" if scheme == "https" else "far.invalid"
    with (
        docker_registry(tmp_path / "r", tls=scheme == "https") as registry,
        proxied(monkeypatch, scheme, host, registry) as proxy,
    ):
        if registry.authority is not None:
            monkeypatch.setenv("SSL_CERT_FILE", str(registry.authority))
        else:
            conf = '[[registry]]\nlocation = "far.invalid"\ninsecure = true\n'
            Path(os.environ["CONTAINERS_REGISTRIES_CONF"]).write_text(conf)
        there_and_back(engine, FAR)
        methods = {line.split()[0] for line, shown in proxy.asked if shown == SHOWN}
        assert methods == ({"CONNECT"} if scheme == "https" else {"GET", "HEAD", "POST", "PATCH", "PUT"})
        asked = len(proxy.asked)
        monkeypatch.setenv("NO_PROXY", "example.com, .invalid")
        done = impatient(engine, "pull", "-q", FAR)
        assert (done.returncode, b"far.invalid can't be reached" in done.stderr) == (1, True)
        assert len(proxy.asked) == asked


def test_a_proxy_that_does_not_know_the_registry(
    engine: Rootless, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Proxy({})
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
    done = impatient(engine, "pull", "-q", FAR)
    proxy.close()
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert f"http://127.0.0.1:{proxy.port}/: the server answers 502 Bad Gateway".encode() in done.stderr


# --- uploads that break ----------------------------------------------------------------------------------------------


class Cutter:
    """Stands before a registry and passes everything on, but for uploads: each is cut off after so many bytes.

    Attributes:
        cuts: how many uploads are still to be cut.
    """

    AFTER = 200_000

    def __init__(self, port: int, cuts: int) -> None:
        self.cuts = cuts
        self._there = port
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with suppress(OSError), connection, socket.create_connection(("127.0.0.1", self._there)) as there:
            threading.Thread(target=pump, args=(there, connection), daemon=True).start()
            left: int | None = None
            while data := connection.recv(16384):
                if data.startswith(b"PATCH ") and self.cuts:
                    self.cuts -= 1
                    left = self.AFTER
                if left is not None:
                    left -= len(data)
                    if left < 0:
                        return
                there.sendall(data)


@contextmanager
def cut(registry: DockerRegistry, cuts: int) -> Iterator[str]:
    """The host of a registry before which there is a Cutter."""
    cutter = Cutter(int(registry.host.partition(":")[2]), cuts)
    yield f"127.0.0.1:{cutter.port}"
    cutter.close()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


def test_an_upload_that_breaks_is_gone_on_with(engine: Rootless, registry: DockerRegistry) -> None:
    with cut(registry, 2) as host:
        name = f"{host}/broken:1"
        image = engine.ok("import", "-", name, stdin=archive(1 << 20)).strip()
        done = impatient(engine, "push", name)
        assert done.returncode == 0, done.stderr
        engine.ok("rmi", name)
        assert engine.ok("pull", "-q", name).strip() == image


def test_an_upload_that_breaks_always(engine: Rootless, registry: DockerRegistry) -> None:
    """One line that says how far it came; the image is not there, and the store as before."""
    with cut(registry, 1000) as host:
        name = f"{host}/always:1"
        engine.ok("import", "-", name, stdin=archive(1 << 20, "other"))
        before = (engine.root / "index.json").read_bytes()
        done = impatient(engine, "push", "-q", name)
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1), done
        # The registry may still be at work on the piece that was cut off, and then knows nothing of the upload.
        broken = rb"the connection broke .*\(after \d+ of \d+ bytes\)|blob upload invalid"
        assert re.search(broken, done.stderr), done.stderr
        assert (engine.root / "index.json").read_bytes() == before
        done = engine("pull", "-q", name)
        assert (done.returncode, b"manifest unknown" in done.stderr) == (1, True)


# --- all tags --------------------------------------------------------------------------------------------------------


def test_all_tags(engine: Rootless, registry: DockerRegistry) -> None:
    """Docker's lines: each tag and its digest, one status, the repository."""
    name = registry.name("many")
    for tag in "a", "b":
        engine.ok("import", "-", f"{name}:{tag}", stdin=archive(1000, tag))
    engine.ok("tag", f"{name}:a", f"{name}:c")
    engine.ok("push", "-q", "-a", name)
    engine.ok("rmi", *(f"{name}:{tag}" for tag in "abc"))
    lines = engine.ok("pull", "-a", name).splitlines()
    assert sorted(line for line in lines if "Pulling from" in line) == [f"{tag}: Pulling from many" for tag in "abc"]
    assert lines[-2:] == [f"Status: Downloaded newer image for {name}", name]
    assert sorted(engine.ok("images", "--format", "{{.Tag}}", name).split()) == ["a", "b", "c"]
    assert engine.ok("pull", "--all-tags", name).splitlines()[-2] == f"Status: Image is up to date for {name}"
    done = engine("pull", "-a", f"{name}:a")
    assert (done.returncode, done.stderr) == (1, b"rootless: tag can't be used with --all-tags/-a\n")
    done = engine("pull", "-a", registry.name("nothing"))
    assert (done.returncode, b"repository name not known" in done.stderr) == (1, True)


def pages(*tags: str, endless: bool = False) -> Callable[[Handler], bool]:
    """A registry that lists one tag a page."""

    def twist(handler: Handler) -> bool:
        match = re.fullmatch(r"/v2/x/tags/list(?:\?last=(\w+))?", handler.path)
        if match is None:
            return False
        at = 0 if endless or not match[1] else tags.index(match[1]) + 1
        more = [("Link", f'</v2/x/tags/list?last={tags[at]}>; rel="next"')] if endless or at + 1 < len(tags) else []
        handler.reply(200, json.dumps({"name": "x", "tags": tags[at : at + 1]}).encode(), *more)
        return True

    return twist


def test_tags_come_in_pages(engine: Rootless, fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    for tag in "one", "two":
        fake.add([archive()], tag)
    fake.twist = pages("one", "two")
    engine.ok("pull", "-q", "-a", f"{fake.host}/x")
    assert sorted(engine.ok("images", "--format", "{{.Tag}}").split()) == ["one", "two"]


def test_tags_without_end(fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    from rootless.errors import InvalidError
    from rootless.image import pull, reference
    from rootless.registry import client

    monkeypatch.setattr(client, "TAGS_LIMIT", 50)
    fake.twist = pages("again", endless=True)
    with pytest.raises(InvalidError, match="a list of tags without end"):
        pull.tags(reference.parse(f"{fake.host}/x"))
    fake.twist = lambda handler: handler.reply(200, b'{"tags": {"a": 1}}') is None
    with pytest.raises(InvalidError, match="its list of tags is not valid"):
        pull.tags(reference.parse(f"{fake.host}/x"))
