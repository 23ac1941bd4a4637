"""`import`, and what other tools make of the store: real archives through the real command."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import tarfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.conftest import Rootless
from tests.images.conftest import contents
from tests.storage.archives import CHARACTER, Archive


@pytest.fixture
def archive() -> bytes:
    """A root filesystem of a few files; one belongs to another id."""
    return (
        Archive()
        .directory("bin")
        .file("bin/sh", b"#!", mode=0o755)
        .directory("etc")
        .file("etc/passwd", b"root:x:0:0::/:/bin/sh\n")
        .file("etc/mine", b"x" * 5000, uid=1000, gid=1000, mode=0o600)
        .symlink("etc/link", "passwd")
        .bytes()
    )


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def inspect(engine: Rootless, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(engine.ok("image", "inspect", name))[0]
    return found


def layer(engine: Rootless) -> tuple[str, bytes]:
    """The media type and the bytes of the only image's layer."""
    manifests = json.loads((engine.root / "index.json").read_bytes())["manifests"]
    manifest = json.loads(_blob(engine, manifests[0]["digest"]).read_bytes())
    return manifest["layers"][0]["mediaType"], _blob(engine, manifest["layers"][0]["digest"]).read_bytes()


def _blob(engine: Rootless, found: str) -> Path:
    return engine.root / "blobs" / found.replace(":", "/")


@pytest.mark.parametrize("compression", ["plain", "gzip", "gzip members", "zstd", "zstd frames", "xz", "bzip2"])
def test_an_archive_in_each_compression(engine: Rootless, archive: bytes, compression: str) -> None:
    """By its content, not its name. gzip is kept byte for byte, the others become gzip, which umoci can read."""
    half = len(archive) // 2
    data = {
        "plain": archive,
        "gzip": gzip.compress(archive),
        "gzip members": gzip.compress(archive[:half]) + gzip.compress(archive[half:]),
        "zstd": zstandard.compress(archive),
        "xz": lzma.compress(archive[:half]) + lzma.compress(archive[half:]),
        "bzip2": bz2.compress(archive),
        "zstd frames": zstandard.compress(archive[:half]) + zstandard.compress(archive[half:]),
    }[compression]
    image = engine.ok("import", "-", "a", stdin=data).strip()
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", image)
    document = inspect(engine, "a")
    assert document["Id"] == image
    assert document["RootFS"] == {"Type": "layers", "Layers": [digest(archive)]}
    media_type, blob = layer(engine)
    assert media_type == "application/vnd.oci.image.layer.v1.tar+gzip"
    assert gzip.decompress(blob) == archive
    if "gzip" in compression:
        assert blob == data


def test_a_file_whose_first_bytes_come_one_by_one(engine: Rootless, archive: bytes) -> None:
    """A pipe may give any number of bytes at a time; four of them are zstd's mark."""
    data = zstandard.compress(archive)
    process = engine.popen("import", "-", "a", stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    assert process.stdin is not None
    for position in range(8):
        process.stdin.write(data[position : position + 1])
        time.sleep(0.01)
    out, _ = process.communicate(data[8:], timeout=60)
    assert (process.returncode, out[:7]) == (0, b"sha256:")


def test_without_a_name_the_image_has_only_its_id(engine: Rootless, archive: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(archive)
    image = engine.ok("import", str(tmp_path / "a.tar")).strip()
    form = "{{.ID}} {{.Repository}}:{{.Tag}}"
    assert engine.ok("images", "--no-trunc", "--format", form) == f"{image} <none>:<none>\n"


def test_what_the_image_is_told_to_be(engine: Rootless, archive: bytes) -> None:
    changes = ['CMD ["/bin/sh"]', "ENV A=1", "ENV B=$A/2", "WORKDIR /srv", "LABEL a=b", "EXPOSE 80", "USER me"]
    words = [word for change in changes for word in ("--change", change)]
    engine.ok("image", "import", *words, "-m", "by hand", "--platform", "linux/arm/v7", "-", "a:1", stdin=archive)
    document = inspect(engine, "a:1")
    assert {key: value for key, value in document["Config"].items() if value} == {
        "Cmd": ["/bin/sh"],
        "Env": ["A=1", "B=1/2"],
        "WorkingDir": "/srv",
        "Labels": {"a": "b"},
        "ExposedPorts": {"80/tcp": {}},
        "User": "me",
    }
    assert (document["Architecture"], document["Variant"], document["Os"]) == ("arm", "v7", "linux")
    assert document["Comment"] == "by hand"
    assert abs(datetime.now(UTC) - datetime.fromisoformat(document["Created"])) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("words", "data", "error"),
    [
        (["import", "-", "Foo"], b"", "invalid reference format: repository name (library/Foo) must be lowercase"),
        (["import", "-", "a@sha256:" + "0" * 64], b"", "cannot import digest reference"),
        (["import", "/nonexistent", "a"], b"", "open /nonexistent: no such file or directory"),
        (["import", "/", "a"], b"", "open /: is a directory"),
        (["import", "-c", "RUN true", "-", "a"], b"", "RUN is not a valid change command"),
        (["import", "--platform", "plan9/amd64", "-", "a"], b"", 'operating system "plan9" is not supported'),
        (["import", "-", "a"], b"", "the archive is empty"),
        (["import", "-", "a"], b"no tar at all" * 100, "this is not a tar archive"),
        (["import", "-", "a"], gzip.compress(b"x" * 5000, mtime=0)[:-4], "the gzip data end too early"),
        (["import", "-", "a"], gzip.compress(b"x", mtime=0)[:6], "the gzip data end too early"),
        (["import", "-", "a"], b"\xfd7zXZ\0" + b"x" * 100, "the xz data are damaged: "),
        (["import", "-", "a"], zstandard.compress(b"x" * 5000)[:-2], "the zstd data"),
        (["import", "-", "a"], Archive().file("a", b"x" * 5000).bytes()[:3000], "it is truncated"),
    ],
)
def test_what_can_not_be_imported_is_told_and_leaves_nothing(
    engine: Rootless, words: list[str], data: bytes, error: str
) -> None:
    done = engine(*words, stdin=data)
    assert done.returncode == 1
    assert done.stderr.decode().startswith("rootless: ") and error in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
    assert done.stdout == b""
    assert not any(contents(engine).values())


@pytest.mark.parametrize(
    "hostile",
    [
        Archive().file("../../outside", b"x"),
        Archive().symlink("way", "/").file("way/../../outside", b"x"),
        Archive().link("stolen", "/etc/shadow"),
        Archive().add("odd", b"Z"),
    ],
    ids=["dots", "through a link", "hard link out", "unknown type"],
)
def test_a_hostile_archive_is_refused_at_import(engine: Rootless, hostile: Archive, tmp_path: Path) -> None:
    """What each trick gets is listed in tests/storage; here: import finds it out, and the store is as before."""
    before = sorted(path.name for path in tmp_path.parent.iterdir())
    done = engine("import", "-", "a", stdin=hostile.bytes())
    assert sorted(path.name for path in tmp_path.parent.iterdir()) == before
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert not any(contents(engine).values())


def test_a_failed_import_takes_no_blob_that_another_image_has(engine: Rootless, archive: bytes) -> None:
    """The same layer with a broken end: its blob differs; the same layer again: its blob must stay."""
    engine.ok("import", "-", "a", stdin=archive)
    before = contents(engine)
    assert engine("import", "-c", "NOPE", "-", "b", stdin=archive).returncode == 1
    assert engine("import", "-", "b", stdin=archive[:-2000]).returncode == 1
    assert contents(engine) == before


def test_the_same_archive_twice_is_one_layer(engine: Rootless, archive: bytes) -> None:
    engine.ok("import", "-", "a", stdin=archive)
    engine.ok("import", "-", "b", stdin=archive)
    assert len(contents(engine)["layers"]) == 1
    assert engine.ok("rmi", "a").count("Deleted:") == 1
    assert engine.ok("rmi", "b").count("Deleted:") == 2


def test_a_full_disk_is_one_line_and_leaves_nothing(engine: Rootless, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: it strikes at the same write(2)."""
    engine.ok("images")
    (tmp_path / "big.tar").write_bytes(Archive().file("big", random.Random(1).randbytes(3 << 20)).bytes())
    limited = subprocess.run(
        engine.argv("import", str(tmp_path / "big.tar"), "a"),
        env=engine.environment,
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)),
    )
    assert limited.returncode == 1
    assert b"can't be written: File too large; make room there" in limited.stderr
    assert limited.stderr.count(b"\n") == 1
    assert not any(contents(engine).values())


def test_many_imports_at_once(engine: Rootless, archive: bytes) -> None:
    """The same layer from several processes, under different names: it is unpacked once and every name is there."""
    engine.ok("images")
    processes = [
        engine.popen("import", "-", f"a:{number}", stdin=subprocess.PIPE, stdout=subprocess.PIPE) for number in range(6)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(archive)
        process.stdin.close()
    assert [process.wait(60) for process in processes] == [0] * 6
    for process in processes:
        assert process.stdout is not None
        process.stdout.close()
    assert len(engine.ok("images", "-q").split()) == 6
    assert len(contents(engine)["layers"]) == 1


def test_a_killed_import_leaves_a_store_that_goes_on(engine: Rootless, tmp_path: Path) -> None:
    """kill -9 at random moments: the next import succeeds, and prune takes what was left."""
    rng = random.Random(7)
    made = Archive()
    for number in range(300):
        made.file(f"f{number}", rng.randbytes(2000))
    path = tmp_path / "a.tar"
    path.write_bytes(made.bytes())
    engine.ok("images")
    started = time.monotonic()
    engine.ok("import", str(path), "whole")
    whole = time.monotonic() - started
    for _ in range(3):
        process = engine.popen("import", str(path), "killed", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.2, 1.0) * whole)
        process.send_signal(signal.SIGKILL)
        process.wait()
        engine.ok("images")
    engine.ok("import", str(path), "after")
    for blob in (engine.root / "blobs/sha256").iterdir():
        os.utime(blob, (1, 1))
    engine.ok("image", "prune", "-f")
    names = set(engine.ok("images", "--format", "{{.Repository}}").split())
    assert {"whole", "after"} <= names <= {"whole", "after", "killed"}


def test_an_archive_larger_than_the_memory_it_may_take(engine: Rootless, tmp_path: Path) -> None:
    """Bytes pass through: 200 MB of archive, and 100 MB of data that the processes may have."""
    path = tmp_path / "big.tar"
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("big")
        info.size = 200 << 20
        tar.addfile(info, io.BytesIO(bytes(info.size)))
    done = subprocess.run(
        engine.argv("import", str(path), "big"),
        env=engine.environment,
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (100 << 20, 100 << 20)),
    )
    assert done.returncode == 0, done.stderr.decode()


def skopeo(*words: str) -> str:
    done = subprocess.run(["skopeo", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


needs_skopeo = pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
needs_umoci = pytest.mark.skipif(shutil.which("umoci") is None, reason="umoci is not installed")


@needs_skopeo
def test_skopeo_reads_the_store_by_either_name(engine: Rootless, archive: bytes, tmp_path: Path) -> None:
    image = engine.ok("import", "-c", "LABEL a=b", "-", "alpine", stdin=archive).strip()
    for name in ("alpine:latest", "docker.io/library/alpine:latest"):
        copy = tmp_path / name.replace("/", "_").replace(":", "_")
        skopeo("copy", "--quiet", f"oci:{engine.root}:{name}", f"dir:{copy}")
        manifest = json.loads((copy / "manifest.json").read_bytes())
        assert manifest["config"]["digest"] == image
        assert json.loads(skopeo("inspect", f"oci:{engine.root}:{name}"))["Labels"] == {"a": "b"}


@needs_skopeo
def test_what_skopeo_writes_into_the_store_is_an_image(engine: Rootless, archive: bytes) -> None:
    image = engine.ok("import", "-", "a", stdin=archive).strip()
    skopeo("copy", "--quiet", f"oci:{engine.root}:a:latest", f"oci:{engine.root}:quay.io/x/y:1")
    assert inspect(engine, "quay.io/x/y:1")["Id"] == image
    assert inspect(engine, image)["RepoTags"] == ["a:latest", "quay.io/x/y:1"]


@needs_umoci
def test_umoci_reads_the_store_and_unpacks_the_same_tree(engine: Rootless, archive: bytes, tmp_path: Path) -> None:
    engine.ok("import", "-", "a", stdin=zstandard.compress(archive))
    listed = subprocess.run(["umoci", "ls", "--layout", engine.root], capture_output=True, text=True, check=True)
    assert sorted(listed.stdout.split()) == ["a:latest", "docker.io/library/a:latest"]
    words = ["umoci", "unpack", "--rootless", "--image", f"{engine.root}:docker.io/library/a:latest"]
    done = subprocess.run([*words, tmp_path / "bundle"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "bundle/rootfs/etc/link").readlink() == Path("passwd")
    assert (tmp_path / "bundle/rootfs/etc/mine").stat().st_size == 5000


def test_devices_need_no_root(engine: Rootless) -> None:
    """docker export writes /dev/console and its like into every archive."""
    data = Archive().directory("dev").add("dev/console", CHARACTER, devmajor=5, devminor=1).bytes()
    engine.ok("import", "-", "a", stdin=data)


def test_an_image_from_a_url(engine: Rootless, archive: bytes) -> None:
    from tests.images.test_fetch import response, serving

    with serving(response(gzip.compress(archive))) as server:
        url = server.url.replace("//", "//user:secret@")
        engine.ok("import", url, "a")
        assert inspect(engine, "a")["Comment"] == f"Imported from {server.url}"
        assert b"Basic" in server.requests[0]
    with serving(response(b"", "404 Not Found")) as server:
        done = engine("import", server.url, "b")
        assert done.returncode == 1
        assert done.stderr.decode() == f"rootless: {server.url}: the server answers 404 Not Found\n"
