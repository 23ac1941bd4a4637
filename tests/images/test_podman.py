"""The same image pulled by podman and by us from the same registry: not a file differs, nor what is said of one."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from rootless.image import spec
from tests.conftest import CHECKOUT, Rootless
from tests.images.registries import DockerRegistry, digest, docker_registry
from tests.storage.archives import Archive

pytestmark = pytest.mark.usefixtures("nobody_at_home")

ALPINE = "alpine-minirootfs-3.20.3-x86_64.tar.gz"


class Podman:
    """podman with a storage of a test's own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "run").mkdir(mode=0o700, parents=True)
        self.environment = {
            **os.environ,
            "XDG_RUNTIME_DIR": str(directory / "run"),
            "XDG_CONFIG_HOME": str(directory / "config"),
        }
        self.environment.pop("CONTAINERS_REGISTRIES_CONF", None)
        self.options = ["--root", str(directory / "root"), "--runroot", str(directory / "run"), "--events-backend=none"]

    def __call__(self, *words: str | Path) -> str:
        done = subprocess.run(["podman", *self.options, *words], env=self.environment, capture_output=True, timeout=300)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def close(self) -> None:
        subprocess.run(["podman", *self.options, "unshare", "rm", "-rf", self.directory / "root"], env=self.environment)
        pause = self.directory / "run/libpod/tmp/pause.pid"
        if pause.exists():
            os.kill(int(pause.read_text()), signal.SIGKILL)


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[Podman]:
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    podman = Podman(tmp_path / "p")
    try:
        podman("info")
    except AssertionError as problem:
        pytest.skip(f"podman does not run here: {str(problem).strip().splitlines()[0]}")
    yield podman
    podman.close()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


def send(registry: DockerRegistry, name: str, layers: list[bytes]) -> None:
    """Put an image into the registry with nobody's tool but HTTP."""
    config = json.dumps(
        {
            "architecture": spec.host_platform().architecture,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
        }
    ).encode()
    blobs = [gzip.compress(layer, 1, mtime=0) for layer in layers]
    for blob in (*blobs, config):
        begin = Request(f"http://{registry.host}/v2/{name}/blobs/uploads/", b"", method="POST")
        with urlopen(begin) as answer:
            there = f"{answer.headers['Location']}&digest={digest(blob)}"
        urlopen(Request(there, blob, {"Content-Type": "application/octet-stream"}, method="PUT")).close()
    manifest = {
        "schemaVersion": 2,
        "mediaType": spec.OCI_MANIFEST,
        "config": {"mediaType": spec.OCI_CONFIG, "digest": digest(config), "size": len(config)},
        "layers": [
            {"mediaType": f"{spec.OCI_LAYER}+gzip", "digest": digest(blob), "size": len(blob)} for blob in blobs
        ],
    }
    url = f"http://{registry.host}/v2/{name}/manifests/latest"
    raw = json.dumps(manifest).encode()
    urlopen(Request(url, raw, {"Content-Type": spec.OCI_MANIFEST}, method="PUT")).close()


def alpine() -> list[bytes]:
    for directory in Path("/tmp/images"), CHECKOUT.parent / "shared/images":
        if (directory / ALPINE).exists():
            return [gzip.decompress((directory / ALPINE).read_bytes())]
    pytest.skip(f"no {ALPINE} beside the checkout")


def crafted() -> list[bytes]:
    """Three layers with what layers can have: owners, modes, links, attributes, whiteouts, opaque directories.

    Each layer names the directories that it changes, as builders' layers do: the time of one that is only implied is
    nobody's promise.
    """
    base = (
        Archive()
        .directory("etc", mode=0o700)
        .file("etc/shadow", b"secret", mode=0o000, uid=0, gid=42)
        .directory("bin")
        .directory("var")
        .directory("var/cache", gid=12)
        .file("bin/su", b"#!" * 1000, mode=0o4755)
        .link("bin/sudo", "bin/su", mode=0o4755)
        .directory("var/cache/old", uid=7)
        .file("var/cache/old/f", b"1")
        .file("gone", b"1")
        .directory("replaced", mode=0o711)
        .file("replaced/below", b"1")
        .file("noted", b"x", pax={"SCHILY.xattr.user.note": "kept", "SCHILY.xattr.security.capability": CAP})
        .file("later", b"t", pax={"mtime": "1700000000.123456789"}, uid=65534)
        .symlink("dangling", "/nowhere", uid=9)
    )
    second = (
        Archive()
        .file(".wh.gone")
        .directory("bin")
        .directory("var")
        .directory("var/cache", gid=13)
        .directory("var/cache/old", uid=6)
        .file("var/cache/old/.wh..wh..opq")
        .file("var/cache/old/new", b"2", gid=8)
        .symlink("replaced", "etc")
        .file("bin/su", b"other", mode=0o755)
    )
    third = (
        Archive()
        .directory("bin")
        .link("bin/again", "bin/sudo", mode=0o4755)
        .directory("gone", mode=0o1777)
        .directory("etc", mode=0o700)
        .file("etc/added", b"3", uid=1000)
    )
    return [base.bytes(), second.bytes(), third.bytes()]


CAP = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0".decode("latin-1")


def fifo_and_device() -> list[bytes]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind in ("run/pipe", tarfile.FIFOTYPE), ("run", tarfile.DIRTYPE):
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.mtime, info.uid = kind, 0o620, 1_600_000_000, 5
            archive.addfile(info)
    return [buffer.getvalue()]


SCRIPT = """
set -e
cd "$1"; shift
mkdir -p "$1/ours"
layers=$(cd "$2" && echo $3 | tr ' ' ':')
cd "$2"
mount -t overlay overlay -o "ro,userxattr,lowerdir=$layers" "$1/ours"
theirs=$(podman $5 image mount "$4")
python3 "$6" "$1/ours" >"$1/ours.txt"
python3 "$6" "$theirs" >"$1/theirs.txt"
diff -r --no-dereference "$1/ours" "$theirs" >"$1/diff.txt" 2>&1 || true
podman $5 image umount "$4" >/dev/null
umount "$1/ours"
"""


@pytest.mark.parametrize("make", [alpine, crafted, fifo_and_device])
def test_the_trees_are_the_same(
    make: object, engine: Rootless, podman: Podman, registry: DockerRegistry, tmp_path: Path
) -> None:
    layers: list[bytes] = make()  # type: ignore[operator]
    name = f"{registry.host}/{make.__name__}"  # type: ignore[attr-defined]
    send(registry, make.__name__, layers)  # type: ignore[attr-defined]
    engine.ok("pull", name)
    podman("pull", "--tls-verify=false", name)
    work = tmp_path / "w"
    work.mkdir()
    links = below(engine, name)
    if len(links) == 1:  # overlayfs wants two
        (engine.root / "empty").mkdir()
        links.append("empty")
    podman(
        *("unshare", "sh", "-c", SCRIPT, "sh", "/", work, engine.root, " ".join(links)),
        *(name, " ".join(podman.options), CHECKOUT / "tests/images/listing.py"),
    )
    ours, theirs = ((work / f"{whose}.txt").read_text().splitlines() for whose in ("ours", "theirs"))
    assert len(ours) > 1
    # The root itself: podman gives it the time of the pull, and a mode of its own where the top layer doesn't name it.
    ours, theirs = ([line for line in lines if not line.startswith(". ")] for lines in (ours, theirs))
    assert [line for line in ours if line not in theirs] == [line for line in theirs if line not in ours]
    # All that diff can say of two pipes is that they are some.
    differences = [line for line in (work / "diff.txt").read_text().splitlines() if not line.endswith("is a fifo")]
    assert differences == []


def below(engine: Rootless, name: str) -> list[str]:
    """The unpacked layers of an image, top first, as paths in the store."""
    from rootless.idmap import detect
    from rootless.image.store import ImageStore
    from rootless.storage.layers import Layers, LayerSource

    image = ImageStore(engine.paths).resolve(name)
    sources = [LayerSource(layer.diff_id, layer.blob.digest) for layer in image.layers]
    return Layers(engine.paths, detect()).ensure(sources)
