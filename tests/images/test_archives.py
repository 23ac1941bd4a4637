"""save and load: through pipes, both forms, and with skopeo and podman as the other end."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from rootless.image import spec
from tests.conftest import Rootless
from tests.images.conftest import contents, empty
from tests.images.podman import podman_in
from tests.storage.archives import Archive

pytestmark = pytest.mark.usefixtures("nobody_at_home")


def fill(engine: Rootless) -> dict[str, str]:
    """Two images that share a layer, one with two names; ids by name."""
    ids = {}
    for name, text in (("a/one:1", b"one"), ("two:latest", b"two" * 1000)):
        archive = Archive().file("f", text, uid=1).bytes()
        ids[name] = engine.ok("import", "-c", 'CMD ["/bin/sh"]', "-", name, stdin=archive).strip()
    engine.ok("tag", "a/one:1", "quay.io/x/also:2")
    return ids


def listed(engine: Rootless) -> dict[str, str]:
    rows = engine.ok("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").splitlines()
    return dict(row.split() for row in rows)


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_there_and_back(engine: Rootless, tmp_path: Path, form: str) -> None:
    """Several images through a pipe: names, ids and blobs are the same, and no draft stays."""
    fill(engine)
    wanted = ["a/one:1", "two", "quay.io/x/also:2"]
    done = engine("save", "--format", form, *wanted)
    assert done.returncode == 0, done.stderr
    other = Rootless(tmp_path / "o")
    data = done.stdout if form == "oci-archive" else gzip.compress(done.stdout, 1)
    lines = other.ok("load", stdin=data).splitlines()
    assert sorted(lines) == sorted(f"Loaded image: {n}" for n in ("a/one:1", "two:latest", "quay.io/x/also:2"))
    assert listed(other) == listed(engine)
    assert contents(other) == contents(engine) | {"l": contents(other)["l"]}
    assert other.ok("system", "check").endswith("nothing wrong\n")
    # Again, as xz: nothing changes, and the images stay.
    again = other.ok("load", "-q", stdin=lzma.compress(done.stdout, preset=0)).splitlines()
    assert sorted(again) == sorted(lines), "what was loaded is told with -q as well, as docker does"
    assert listed(other) == listed(engine)
    empty(other)


def test_equal_images_make_equal_archives(engine: Rootless, tmp_path: Path) -> None:
    fill(engine)
    engine.ok("save", "-o", str(tmp_path / "a.tar"), "two")
    assert engine("save", "two:latest").stdout == (tmp_path / "a.tar").read_bytes()
    assert [path.name for path in tmp_path.glob("a.tar*")] == ["a.tar"]


def test_an_id_has_no_name(engine: Rootless, tmp_path: Path) -> None:
    """As in Docker: what was saved by its id comes back without a name."""
    image = fill(engine)["two:latest"]
    other = Rootless(tmp_path / "o")
    assert other.ok("load", stdin=engine("save", image[7:19]).stdout) == f"Loaded image ID: {image}\n"
    assert listed(other) == {"<none>:<none>": image}
    empty(other)


def test_save_of_what_is_not_there_writes_nothing(engine: Rootless, tmp_path: Path) -> None:
    fill(engine)
    done = engine("save", "-o", str(tmp_path / "a.tar"), "two", "no-such")
    assert (done.returncode, done.stderr) == (1, b"rootless: No such image: no-such:latest\n")
    assert list(tmp_path.glob("a.tar*")) == []


def needs(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")


def test_skopeo_reads_ours_and_we_read_skopeos(engine: Rootless, tmp_path: Path) -> None:
    """In both forms; a docker-archive of skopeo has plain layers, links, and its manifest behind them."""
    needs("skopeo")
    ids = fill(engine)
    for form in "docker-archive", "oci-archive":
        ours, theirs = tmp_path / f"ours-{form}.tar", tmp_path / f"theirs-{form}.tar"
        engine.ok("save", "--format", form, "-o", str(ours), "two")
        source = f"{form}:{ours}" if form == "oci-archive" else f"{form}:{ours}:docker.io/library/two:latest"
        command = ["skopeo", "copy", source, f"{form}:{theirs}:docker.io/library/back:1"]
        done = subprocess.run(command, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        assert engine.ok("load", "-i", str(theirs)) == "Loaded image: back:1\n"
        assert listed(engine)["back:1"] == ids["two:latest"]
        engine.ok("rmi", "back:1")


def docker_archive(layers: list[bytes], *, order: str = "last", **changes: object) -> bytes:
    """An archive as `docker save` wrote it for ten years: a directory a layer, plain tar."""
    from tests.images.registries import digest

    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
        }
    ).encode()
    manifest: dict[str, object] = {
        "Config": "c.json",
        "RepoTags": ["old:1"],
        "Layers": [f"{number}/layer.tar" for number in range(len(layers))],
    }
    members = [(f"{number}/layer.tar", layer) for number, layer in enumerate(layers)]
    documents = [("c.json", config), ("manifest.json", json.dumps([manifest | changes]).encode())]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members + documents if order == "last" else documents + members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize("order", ["first", "last"])
def test_the_order_of_the_members_does_not_matter(engine: Rootless, order: str) -> None:
    """And the plain layers are kept as gzip, which umoci reads."""
    layers = [Archive().file("f", os.urandom(100_000)).bytes(), Archive().file("g", b"x").bytes()]
    assert engine.ok("load", stdin=docker_archive(layers, order=order)) == "Loaded image: old:1\n"
    layers_kept = [path for path in (engine.root / "blobs/sha256").iterdir() if path.read_bytes()[:2] == b"\x1f\x8b"]
    assert len(layers_kept) == 2
    assert engine.ok("system", "check").endswith("nothing wrong\n")


MANY = json.dumps(
    {
        "schemaVersion": 2,
        "manifests": [{"mediaType": spec.OCI_MANIFEST, "digest": f"sha256:{'0' * 64}", "size": 2}] * 2000,
    }
).encode()

BAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "the archive is empty"),
    "no archive": (b"hello, world" * 100, "this is not a tar archive"),
    "a root filesystem": (Archive().file("etc/passwd", b"x").bytes(), "becomes an image with `rootless import`"),
    "no image": (Archive().file("manifest.json", b"[]").bytes(), "there is no image in the archive"),
    "a broken manifest": (Archive().file("manifest.json", b'{"a":').bytes(), "manifest.json is not valid"),
    "a missing layer": (docker_archive([Archive().file("f").bytes()], Layers=["9/layer.tar"]), "a layer is missing"),
    "a missing configuration": (docker_archive([], Config="../../etc/passwd"), "a configuration is missing"),
    "too few layers": (docker_archive([Archive().file("f").bytes()], Layers=[]), "its configuration names 1"),
    "a layer that climbs": (docker_archive([Archive().file("../x").bytes()]), "leads out of the layer"),
    "images without end": (Archive().file("index.json", MANY).bytes(), "has 2000 images; at most 1000"),
    "links in a circle": (
        Archive()
        .symlink("c.json", "d.json")
        .symlink("d.json", "c.json")
        .file("manifest.json", b'[{"Config":"c.json","Layers":[]}]')
        .bytes(),
        "lead in a circle",
    ),
    "cut off": (docker_archive([Archive().file("f", bytes(100_000)).bytes()])[:50_000], "truncated"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_archive_leaves_nothing(engine: Rootless, what: str) -> None:
    """One line, and the store is as it was; also where the first image of two was good."""
    data, words = BAD[what]
    done = engine("load", stdin=data)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1), done.stderr
    assert words in done.stderr.decode()
    assert not any(names for part, names in contents(engine).items())


def test_a_layer_that_is_not_what_the_configuration_says(engine: Rootless) -> None:
    good, other = Archive().file("f", b"1").bytes(), Archive().file("f", b"2").bytes()
    data = docker_archive([good]).replace(good, other)
    done = engine("load", stdin=data)
    assert (done.returncode, b"but the image says" in done.stderr) == (1, True)


def archive_of_platforms(*platforms: str, nested: bool) -> bytes:
    """An OCI archive of one name for several platforms: behind an index, as builders write it, or side by side."""
    from tests.images.registries import digest

    archive = Archive()

    def keep(data: bytes, kind: str, **more: object) -> dict[str, object]:
        archive.file(f"blobs/sha256/{digest(data)[7:]}", data)
        return {"mediaType": kind, "digest": digest(data), "size": len(data), **more}

    entries = []
    for platform in platforms:
        layer = Archive().file("arch", platform.encode()).bytes()
        own = dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))
        rootfs = {"type": "layers", "diff_ids": [digest(layer)]}
        config = keep(json.dumps({**own, "rootfs": rootfs}).encode(), spec.OCI_CONFIG)
        manifest = {"schemaVersion": 2, "config": config, "layers": [keep(layer, spec.OCI_LAYER)]}
        entries.append(keep(json.dumps(manifest).encode(), spec.OCI_MANIFEST, platform=own))
    if nested:
        index = {"schemaVersion": 2, "mediaType": spec.OCI_INDEX, "manifests": entries}
        entries = [keep(json.dumps(index).encode(), spec.OCI_INDEX)]
    named = [entry | {"annotations": {spec.REF_NAME: "docker.io/library/multi:1"}} for entry in entries]
    return archive.file("index.json", json.dumps({"schemaVersion": 2, "manifests": named}).encode()).bytes()


@pytest.mark.parametrize("nested", [True, False])
def test_the_platform_that_is_loaded(engine: Rootless, nested: bool) -> None:
    host = spec.host_platform().architecture
    data = archive_of_platforms("linux/s390x", f"linux/{host}", "linux/arm/v6", nested=nested)
    assert engine.ok("load", stdin=data) == "Loaded image: multi:1\n"
    assert engine.ok("inspect", "-f", "{{.Architecture}}", "multi:1") == f"{host}\n"
    for option, found in ("linux/s390x", "s390x"), ("linux/arm/v7", "arm"), ("arm/v6", "arm"):
        wanted = option if option.startswith("linux") else f"linux/{option}"
        assert engine.ok("load", "--platform", wanted, stdin=data) == "Loaded image: multi:1\n"
        assert engine.ok("inspect", "-f", "{{.Architecture}}", "multi:1") == f"{found}\n"
    before = contents(engine)
    done = engine("load", "--platform", "linux/riscv64", stdin=data)
    assert (done.returncode, b"linux/riscv64" in done.stderr, done.stderr.count(b"\n")) == (1, True, 1), done.stderr
    assert contents(engine) == before
    ours = engine("save", "multi:1").stdout
    done = engine("load", "--platform", "linux/s390x", stdin=ours)
    assert done.stderr.decode().startswith(
        "rootless: image with reference multi:1 was found but does not provide the specified platform (linux/s390x)"
    )


def test_podman_loads_ours(engine: Rootless, tmp_path: Path) -> None:
    """podman takes a saved image for what it is: the same id."""
    ids = fill(engine)
    engine.ok("save", "-o", str(tmp_path / "a.tar"), "two")
    with podman_in(tmp_path, "--storage-driver=vfs") as podman:
        assert "two" in podman("load", "-i", tmp_path / "a.tar")
        assert podman("images", "--no-trunc", "--format", "{{.ID}}").strip() == ids["two:latest"]
