"""The same image pulled by podman and by us from the same registry: not a file differs, nor what is said of one."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from rootless.image import spec
from tests.conftest import CHECKOUT, Rootless
from tests.images.podman import Podman, compare, podman_in
from tests.images.registries import DockerRegistry, digest, docker_registry
from tests.storage.archives import Archive

pytestmark = pytest.mark.usefixtures("nobody_at_home")

ALPINE = "alpine-minirootfs-3.20.3-x86_64.tar.gz"


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[Podman]:
    with podman_in(tmp_path) as found:
        yield found


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


@pytest.mark.parametrize("make", [alpine, crafted, fifo_and_device])
def test_the_trees_are_the_same(
    make: Callable[[], list[bytes]], engine: Rootless, podman: Podman, registry: DockerRegistry, tmp_path: Path
) -> None:
    layers = make()
    name = f"{registry.host}/{make.__name__}"
    send(registry, make.__name__, layers)
    engine.ok("pull", name)
    podman("pull", "--tls-verify=false", name)
    assert compare(engine, podman, name, tmp_path) > 1


PACKAGES = "git,python3,vim-tiny,iputils-ping,g++"
PARTS = ("usr/share/", "usr/lib/gcc", "usr/lib/python3", "usr/lib/", "")
"""Layers, from the top down: each takes the paths below its prefix that no one before it took."""
GONE = ("usr/share/doc", "usr/bin/vim.tiny", "usr/share/perl")
"""What the last layer takes away again; the last of them as a directory that is made anew."""


def debian(tar: Path) -> list[bytes]:
    """A Debian system in six layers, the last of which removes and changes; each names the directories it is in."""
    members: list[list[tuple[tarfile.TarInfo, bytes | None]]] = [[] for _ in PARTS]
    home: dict[str, int] = {}
    directories: dict[str, tarfile.TarInfo] = {}
    with tarfile.open(tar) as archive:
        for entry in archive:
            entry.name = path = entry.name.removeprefix("./").rstrip("/")
            number = next(n for n, prefix in enumerate(PARTS) if path.startswith(prefix))
            if entry.islnk():  # with the file that it is a name of
                entry.linkname = entry.linkname.removeprefix("./")
                number = home[entry.linkname]
            home[path] = number
            file = archive.extractfile(entry) if entry.isreg() else None
            members[number].append((entry, file.read() if file else None))
            if entry.isdir():
                directories[path] = entry
    last = [(tarfile.TarInfo(f"{os.path.dirname(path)}/.wh.{os.path.basename(path)}"), b"") for path in GONE[:2]]
    again = [directories[GONE[2]], tarfile.TarInfo(f"{GONE[2]}/.wh..wh..opq"), tarfile.TarInfo(f"{GONE[2]}/new")]
    changed = tarfile.TarInfo("usr/bin/git")
    changed.mode, changed.uid, changed.gid = 0o4711, 33, 12
    changed.pax_headers = {"mtime": "1700000000.123456789"}
    new = [(info, None if info.isdir() else b"") for info in again]
    return [layer(part, directories) for part in (*reversed(members), [*last, *new, (changed, b"not git")])]


def layer(members: list[tuple[tarfile.TarInfo, bytes | None]], directories: dict[str, tarfile.TarInfo]) -> bytes:
    """An archive of these members, each behind the directories that it is in."""
    buffer, known = io.BytesIO(), set()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in members:
            parts = info.name.split("/")
            for above in ("/".join(parts[:count]) for count in range(1, len(parts))):
                if above not in known and above in directories:
                    known.add(above)
                    archive.addfile(directories[above])
            known.add(info.name)
            info.size = len(data or b"") if not info.islnk() else 0
            archive.addfile(info, io.BytesIO(data) if data is not None else None)
    return buffer.getvalue()


@pytest.mark.long
def test_the_trees_of_a_debian_are_the_same(
    engine: Rootless, podman: Podman, registry: DockerRegistry, tmp_path: Path
) -> None:
    """Several hundred megabytes, with all the owners, modes, capabilities and links that a distribution has."""
    if shutil.which("mmdebstrap") is None:
        pytest.skip("mmdebstrap is not installed")
    tar = tmp_path / "root.tar"
    command = ["mmdebstrap", "--quiet", "--mode=unshare", "--variant=minbase", f"--include={PACKAGES}", "bookworm", tar]
    # In a directory that subordinate ids can walk through, as the test's own can not be.
    made = subprocess.run(command, capture_output=True, env={**os.environ, "TMPDIR": "/tmp"})
    if made.returncode:
        pytest.skip(f"mmdebstrap needs Debian's archive: {made.stderr.decode().strip().splitlines()[-1]}")
    name = f"{registry.host}/debian"
    send(registry, "debian", debian(tar))
    engine.ok("pull", name)
    podman("pull", "--tls-verify=false", name)
    assert compare(engine, podman, name, tmp_path) > 10_000
    assert engine.ok("run", "--rm", name, "sh", "-c", "python3 -c 'print(6 * 7)'; ls /usr/share/perl") == "42\nnew\n"
