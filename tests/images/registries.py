"""Registries for tests: Debian's `docker-registry` as a process, and one of our own that can be told to misbehave."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rootless.image import spec

USER, PASSWORD = "walter", "geheim"
HTPASSWD = f"{USER}:$2b$04$qGMW5ucuO9iMYE.oBS5n0uD12RhCqBvbNoL1AiHRGFNsq0JeSh9Tm\n"

# --- Debian's --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DockerRegistry:
    """A running docker-registry.

    Attributes:
        authority: of its certificate, when it has one.
    """

    host: str
    authority: Path | None = None

    def name(self, path: str) -> str:
        return f"{self.host}/{path}"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@contextmanager
def docker_registry(directory: Path, *, password: bool = False, tls: bool = False) -> Iterator[DockerRegistry]:
    """Start one with an empty storage in `directory`, wait until it listens, and end it."""
    if shutil.which("docker-registry") is None:
        pytest.skip("docker-registry is not installed (Debian's package of that name)")
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config: dict[str, object] = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(directory / "data")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "x"},
    }
    authority = None
    if tls:
        authority, key = certificate(directory)
        config["http"] = {
            "addr": f"127.0.0.1:{port}",
            "secret": "x",
            "tls": {"certificate": str(authority), "key": str(key)},
        }
    if password:
        (directory / "htpasswd").write_text(HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(directory / "htpasswd")}}
    (directory / "config.yml").write_text(json.dumps(config))  # JSON is YAML, too
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(directory / "config.yml")], stdout=log, stderr=log, cwd=directory
        )
    try:
        _wait_for(port, process, directory / "log")
        yield DockerRegistry(f"127.0.0.1:{port}", authority)
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    raise AssertionError("docker-registry does not listen")


def certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and far.invalid that certifies itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    certificate, key = directory / "server.crt", directory / "server.key"
    names = "subjectAltName=IP:127.0.0.1,DNS:far.invalid"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -addext {names}"
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


# --- our own ---------------------------------------------------------------------------------------------------------


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class FakeRegistry:
    """The reading half of a registry, for one repository `x`, over plain HTTP. Everything about it can be falsified.

    Attributes:
        blobs: by digest, or by whatever a manifest names.
        manifests: tag or digest to (media type, bytes).
        sent: bytes of each blob that have left the server, however often.
        asked: paths, in order; with the Authorization header where there was one.
        twist: called before an answer; True when it has answered itself.
        rate: bytes a second of each connection; 0 for as fast as it goes.
        ranges: whether it knows how to begin in the middle.
    """

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.sent: Counter[str] = Counter()
        self.asked: list[tuple[str, str]] = []
        self.twist: Callable[[Handler], bool] = lambda _: False
        self.rate = 0
        self.ranges = True
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.registry = self  # type: ignore[attr-defined]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def name(self, tag: str = "latest") -> str:
        return f"{self.host}/x:{tag}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def blob(self, data: bytes) -> str:
        self.blobs[digest(data)] = data
        return digest(data)

    def add(
        self,
        archives: Sequence[bytes],
        tag: str = "latest",
        *,
        compress: Callable[[bytes], bytes] = lambda data: gzip.compress(data, 1, mtime=0),
        **changes: object,
    ) -> dict[str, object]:
        """Offer an image whose layers are these archives; `changes` go into its manifest, which is given back."""
        layers = [compress(archive) for archive in archives]
        config = {
            "architecture": spec.host_platform().architecture,
            "os": "linux",
            "config": {"Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(archive) for archive in archives]},
        }
        raw = json.dumps(config).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": spec.OCI_MANIFEST,
            "config": {"mediaType": spec.OCI_CONFIG, "digest": self.blob(raw), "size": len(raw)},
            "layers": [
                {"mediaType": f"{spec.OCI_LAYER}+gzip", "digest": self.blob(layer), "size": len(layer)}
                for layer in layers
            ],
        }
        manifest |= changes
        self.offer(manifest, tag)
        return manifest

    def offer(self, manifest: dict[str, object], tag: str = "latest") -> str:
        """Publish a manifest or index under a tag and its digest, which is given back."""
        raw = json.dumps(manifest).encode()
        kind = str(manifest.get("mediaType", spec.OCI_MANIFEST))
        self.manifests[tag] = self.manifests[digest(raw)] = (kind, raw)
        return digest(raw)


class Handler(BaseHTTPRequestHandler):
    """One connection of a FakeRegistry."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def registry(self) -> FakeRegistry:
        found: FakeRegistry = self.server.registry  # type: ignore[attr-defined]
        return found

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):
            self.registry.asked.append((self.path, self.headers.get("Authorization", "")))
            if not self.registry.twist(self):
                self.usual()

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.do_GET()

    def usual(self) -> None:
        """The honest answer."""
        if self.path == "/v2/":
            self.reply(200, b"{}")
        elif match := re.fullmatch(r"/v2/x/manifests/(.+)", self.path):
            found = self.registry.manifests.get(match[1])
            if found is None:
                self.reply(404, json.dumps({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "no such"}]}).encode())
            else:
                self.reply(200, found[1], ("Content-Type", found[0]))
        elif match := re.fullmatch(r"/v2/x/blobs/(.+)", self.path):
            self.send_blob(match[1])
        else:
            self.reply(404, b"")

    def reply(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_blob(self, name: str) -> None:
        data = self.registry.blobs.get(name)
        if data is None:
            self.reply(404, b"")
            return
        start = 0
        wanted = re.fullmatch(r"bytes=([0-9]+)-", self.headers.get("Range", ""))
        if wanted and self.registry.ranges:
            start = int(wanted[1])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.pour(name, data, start, len(data))

    def pour(self, name: str, data: bytes, start: int, end: int) -> None:
        """Send a part of a blob, at the registry's rate."""
        step = 1 << 14 if self.registry.rate else 1 << 18
        for at in range(start, end, step):
            piece = data[at : min(at + step, end)]
            self.wfile.write(piece)
            self.registry.sent[name] += len(piece)
            if self.registry.rate:
                time.sleep(len(piece) / self.registry.rate)
