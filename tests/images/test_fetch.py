"""`import URL`: a real socket on the other side, with servers and proxies that are honest, slow, broken or hostile."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from rootless.errors import InvalidError, RootlessError
from rootless.registry.connection import Limits, TransferError
from rootless.registry.fetch import downloaded

Answer = Callable[[socket.socket, bytes], None]
LIMITS = Limits(size=100_000, connect=5, silence=0.5, redirects=5)
BODY = bytes(range(256)) * 200


class Server:
    """Gives each connection's request to `answer`, and remembers it."""

    def __init__(self, answer: Answer, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self._answer = answer
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http{'s' if self._context else ''}://127.0.0.1:{self.port}/file"

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if self._context is None:
                self._hear(connection)
                return
            with self._context.wrap_socket(connection, server_side=True) as secured:
                self._hear(secured)

    def _hear(self, connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request and (data := connection.recv(4096)):
            request += data
        self.requests.append(request)
        self._answer(connection, request)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@contextmanager
def serving(answer: Answer | bytes, context: ssl.SSLContext | None = None) -> Iterator[Server]:
    reply = answer if callable(answer) else lambda connection, _: connection.sendall(answer)
    server = Server(reply, context)
    try:
        yield server
    finally:
        server.close()


def response(body: bytes = BODY, head: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {head}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def redirect(location: str, code: int = 302) -> bytes:
    return response(b"", f"{code} Found", f"Location: {location}")


def get(url: str, tmp: Path, limits: Limits = LIMITS) -> bytes:
    try:
        with downloaded(url, tmp, limits) as file:
            return file.read()
    finally:
        assert list(tmp.iterdir()) == [], "a download must leave nothing, however it ends"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    "raw",
    [
        response(),
        response(BODY, "200 OK", "X-Odd: " + "x" * 1000),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"c800\r\n" + BODY + b"\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + response(),
    ],
    ids=["length", "headers", "chunked", "until the end", "informational"],
)
def test_a_body_in_each_of_https_framings(raw: bytes, tmp_path: Path) -> None:
    with serving(raw) as server:
        assert get(server.url, tmp_path) == BODY
    assert b"GET /file HTTP/1.1\r\n" in server.requests[0]
    assert f"host: 127.0.0.1:{server.port}".encode() in server.requests[0].lower()


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (response(b"", "404 Not Found"), "the server answers 404 Not Found"),
        (response(b"", "500 "), "the server answers 500"),
        (response(b"", "302 Found"), "the server answers 302 Found"),
        (response()[:-1], "the server broke off or does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "the server broke off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "does not speak HTTP"),
        (b"", r"the connection broke \(it was closed without an answer\)"),
        (b"220 ready\r\n", "the server broke off or does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "does not speak HTTP"),
    ],
)
def test_what_a_server_does_wrong_is_told(raw: bytes, words: str, tmp_path: Path) -> None:
    with serving(raw) as server, pytest.raises(TransferError, match=words) as caught:
        get(server.url, tmp_path)
    assert server.url in str(caught.value)


def test_silence_is_not_waited_for_without_end(tmp_path: Path) -> None:
    done = threading.Event()

    def stall(connection: socket.socket, _: bytes) -> None:
        connection.sendall(response()[:200])
        done.wait(20)

    with serving(stall) as server:
        try:
            with pytest.raises(TransferError, match="does not answer in time"):
                get(server.url, tmp_path)
        finally:
            done.set()


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + b"x" * 4096 + b"\r\n1000\r\n" * 1,
    ],
    ids=["announced", "absurd", "sent", "chunked"],
)
def test_more_than_is_allowed_is_refused(raw: bytes, tmp_path: Path) -> None:
    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(raw)
        if raw.endswith(b"\r\n1000\r\n"):
            for _ in range(200):
                connection.sendall(b"x" * 4096 + b"\r\n1000\r\n")

    with serving(answer) as server, pytest.raises(InvalidError, match="bytes.* allowed"):
        get(server.url, tmp_path)


def test_redirects_are_followed_with_the_credentials_only_within_the_origin(tmp_path: Path) -> None:
    with serving(response()) as target:

        def answer(connection: socket.socket, request: bytes) -> None:
            inner = request.startswith(b"GET /inner ")
            connection.sendall(redirect(target.url if inner else "/inner", 307 if inner else 301))

        with serving(answer) as server:
            assert get(server.url.replace("//", "//user:secret@"), tmp_path) == BODY
    told = [b"Basic dXNlcjpzZWNyZXQ=" in request for request in (*server.requests, *target.requests)]
    assert told == [True, True, False]


def test_redirects_without_end_are_refused(tmp_path: Path) -> None:
    with serving(redirect("/file")) as server, pytest.raises(TransferError, match="redirects more than 5 times"):
        get(server.url, tmp_path)
    assert len(server.requests) == 6


def test_a_redirect_to_something_else_than_http_is_refused(tmp_path: Path) -> None:
    with serving(redirect("file:///etc/passwd")) as server, pytest.raises(InvalidError, match="is not a valid URL"):
        get(server.url, tmp_path)


def test_nobody_there(tmp_path: Path) -> None:
    with serving(b"") as server:
        pass
    with pytest.raises(TransferError, match="can't be reached: Connection refused"):
        get(server.url, tmp_path)
    with pytest.raises(TransferError, match="no-such-host.invalid can't be reached: "):
        get("http://no-such-host.invalid/", tmp_path)


def test_a_proxy_is_asked_with_the_whole_url_and_its_own_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(response()) as proxy:
        monkeypatch.setenv("http_proxy", f"http://me:pw@127.0.0.1:{proxy.port}")
        assert get("http://far.invalid/x?y", tmp_path) == BODY
        assert b"GET http://far.invalid/x?y HTTP/1.1" in proxy.requests[0]
        assert b"Proxy-Authorization: Basic bWU6cHc=" in proxy.requests[0]
        monkeypatch.setenv("no_proxy", "far.invalid")
        with pytest.raises(TransferError, match="far.invalid can't be reached"):
            get("http://far.invalid/x?y", tmp_path)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of its own authority for server.invalid, with its key in the same file."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    path = tmp_path_factory.mktemp("tls") / "cert.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-days", "2", "-subj", "/CN=server.invalid", "-addext", "subjectAltName=DNS:server.invalid"]
    subprocess.run([*words, "-keyout", path, "-out", f"{path}.crt"], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def tunnel_to(server: Server) -> Answer:
    """A proxy's answer to CONNECT, whatever host is asked for."""

    def answer(connection: socket.socket, _: bytes) -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as there:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pump, args=(there, connection), daemon=True)
            back.start()
            _pump(connection, there)
            back.join(5)

    return answer


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def test_a_certificate_of_an_unknown_authority_is_refused(tls: ssl.SSLContext, tmp_path: Path) -> None:
    with (
        serving(response(), tls) as server,
        pytest.raises(TransferError, match="certificate is not to be trusted: self"),
    ):
        get(server.url, tmp_path)
    assert server.requests == []


def test_a_certificate_for_another_name_is_refused(
    tls: ssl.SSLContext, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with (
        serving(response(), tls) as server,
        pytest.raises(TransferError, match="to be trusted: IP address mismatch"),
    ):
        get(server.url, tmp_path)


def test_an_encrypted_server_through_a_proxy(
    tls: ssl.SSLContext, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy sees whom we want to talk to and nothing else; the certificate is verified behind it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving(response(), tls) as server, serving(tunnel_to(server)) as proxy:
        monkeypatch.setenv("https_proxy", f"http://me:pw@127.0.0.1:{proxy.port}")
        assert get("https://user:secret@server.invalid/x", tmp_path) == BODY
        assert proxy.requests[0].startswith(b"CONNECT server.invalid:443 HTTP/1.1\r\n")
        assert b"Proxy-Authorization: Basic bWU6cHc=" in proxy.requests[0]
        assert b"Basic dXNlcjpzZWNyZXQ=" in server.requests[0]
        assert b"Proxy-Authorization" not in server.requests[0]
        with pytest.raises(TransferError, match="not to be trusted: Hostname mismatch"):
            get("https://other.invalid/x", tmp_path)


def test_a_proxy_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(response(b"", "403 Forbidden")) as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(TransferError, match=f"http://127.0.0.1:{proxy.port}/: the server answers 403 Forbidden"):
            get("https://server.invalid/x", tmp_path)


def test_the_body_can_be_larger_than_memory_should_hold(tmp_path: Path) -> None:
    """It goes to the disk piece by piece: what arrives first is there before the last has been sent."""
    size = 30 << 20

    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(30):
            connection.sendall(bytes(1 << 20))

    with serving(answer) as server, downloaded(server.url, tmp_path, Limits(size=size)) as file:
        assert file.seek(0, 2) == size


def test_every_failure_is_one_line(tmp_path: Path) -> None:
    with serving(b"HTTP/1.1 404 Not\x01\x02\r\nX: y\r\n\r\n") as server, pytest.raises(RootlessError) as caught:
        get(server.url, tmp_path)
    assert "\n" not in str(caught.value)
