"""system df and system check: what the store costs, and whether it is whole."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.conftest import Rootless
from tests.storage.archives import Archive


def fill(engine: Rootless) -> None:
    """One image of 3000 bytes in two files, and another one."""
    archive = Archive().file("f", os.urandom(2500)).file("g", os.urandom(500)).link("h", "f")
    engine.ok("import", "-", "one:1", stdin=archive.bytes())
    engine.ok("import", "-", "two:1", stdin=Archive().file("f", b"x" * 7000).bytes())


def parts(engine: Rootless) -> dict[str, dict[str, str]]:
    rows = [json.loads(line) for line in engine.ok("system", "df", "--format", "json").splitlines()]
    return {row["Type"]: row for row in rows}


def test_sizes_are_those_of_the_files(engine: Rootless) -> None:
    """Not of the archive, and of hard links once; in images, inspect and df the same."""
    fill(engine)
    assert [json.loads(engine.ok("image", "inspect", f"{name}:1"))[0]["Size"] for name in ("one", "two")] == [
        3000,
        7000,
    ]
    assert engine.ok("images", "--format", "{{.Size}}", "two") == "7kB\n"
    found = parts(engine)
    assert list(found) == ["Images", "Blobs", "Downloads", "Containers", "Local Volumes", "Build Cache"]
    images = found["Images"]
    expected = {"TotalCount": "2", "Active": "0", "Size": "10kB", "Reclaimable": "10kB (100%)"}
    assert images == {"Type": "Images", **expected}
    blobs = sum(path.stat().st_size for path in (engine.root / "blobs/sha256").iterdir())
    assert found["Blobs"]["TotalCount"] == "6"
    assert float(found["Blobs"]["Size"].removesuffix("kB")) == pytest.approx(blobs / 1000, rel=0.01)


def test_half_downloaded_blobs_are_told(engine: Rootless) -> None:
    """And image prune takes them once they are old."""
    engine.ok("images")
    (engine.root / "partial").mkdir()
    half = engine.root / f"partial/sha256-{'1' * 64}"
    half.write_bytes(bytes(5000))
    assert parts(engine)["Downloads"] == {
        "Type": "Downloads",
        "TotalCount": "1",
        "Active": "0",
        "Size": "5kB",
        "Reclaimable": "5kB (100%)",
    }
    engine.ok("image", "prune", "-f")
    assert half.exists()
    os.utime(half, (1, 1))
    assert "Total reclaimed space: 5kB" in engine.ok("image", "prune", "-f")
    assert not half.exists()


def test_df_with_containers(rootless: Rootless) -> None:
    """What a container holds can't be had back; what it has written is counted."""
    rootless.ok("run", "--name", "writer", "busybox:latest", "dd", "if=/dev/zero", "of=/big", "bs=1000", "count=50")
    try:
        found = parts(rootless)
        assert (found["Images"]["Active"], found["Images"]["Reclaimable"]) == ("1", "0B (0%)")
        assert found["Containers"]["Size"] == "50kB"
        assert "writer" in rootless.ok("system", "df", "-v")
    finally:
        rootless.ok("rm", "writer")


def damage_blob(engine: Rootless) -> Path:
    blob = max((engine.root / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(blob.read_bytes())
    data[-20] ^= 1
    blob.write_bytes(data)
    return blob


def test_a_damaged_blob_is_found_and_taken_away(engine: Rootless) -> None:
    fill(engine)
    assert engine.ok("system", "check").endswith("2 layers, 0 containers: nothing wrong\n")
    blob = damage_blob(engine)
    done = engine("system", "check")
    assert done.returncode == 1
    assert f"blob sha256:{blob.name} is damaged".encode() in done.stdout
    engine("system", "check", "--repair")
    assert not blob.exists()
    assert b"lacks the blob" in engine("system", "check", "-q").stdout


def lose_layer_link(root: Path) -> str:
    (root / "l/AAAAAAAAAA").symlink_to(f"../layers/{'0' * 64}/owned")
    return "leads to a layer that is not there"


def stray_layer(root: Path) -> str:
    (root / "layers/something").mkdir()
    return "is no layer"


def part_of_a_layer(root: Path) -> str:
    (next((root / "layers").iterdir()) / "mapped-zzz").mkdir()
    return "is no part of a layer"


def stray_blob(root: Path) -> str:
    (root / "blobs/sha256/readme.txt").write_text("x")
    return "is no blob"


def lost_manifest(root: Path) -> str:
    index = json.loads((root / "index.json").read_text())
    (root / "blobs/sha256" / index["manifests"][0]["digest"][7:]).unlink()
    return "is damaged"


def broken_layout(root: Path) -> str:
    (root / "oci-layout").write_text("{}")
    return "oci-layout can't be read"


@pytest.mark.parametrize(
    "break_it", [lose_layer_link, stray_layer, part_of_a_layer, stray_blob, lost_manifest, broken_layout]
)
def test_what_else_can_be_wrong(break_it: object, tmp_path: Path) -> None:
    engine = Rootless(tmp_path / "s")
    fill(engine)
    words: str = break_it(engine.root)  # type: ignore[operator]
    done = engine("system", "check")
    assert (done.returncode, words in done.stdout.decode()) == (1, True), done.stdout


def test_a_container_that_lost_its_layer(rootless: Rootless) -> None:
    rootless.ok("create", "--name", "poor", "busybox:latest", "true")
    try:
        assert rootless("system", "check").returncode == 0
        container = rootless.paths.containers / rootless.containers()[0]
        (container / "upper").rename(container / "elsewhere")
        done = rootless("system", "check")
        assert (done.returncode, b"container poor: its writable layer is not there" in done.stdout) == (1, True)
        (container / "elsewhere").rename(container / "upper")
    finally:
        rootless.ok("rm", "poor")
