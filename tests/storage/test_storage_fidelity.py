"""What GNU tar makes of an archive, inside the same user namespace, is what a layer must look like."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rootless import room
from rootless.paths import Paths
from rootless.storage import compression
from tests.conftest import CHECKOUT
from tests.storage import conftest
from tests.storage.archives import CHARACTER, Archive
from tests.storage.conftest import File, Tree, Unpack

ALPINE = CHECKOUT.parent / "shared/images/alpine-minirootfs-3.20.3-x86_64.tar.gz"

FORMATS = {
    "v7": ["--format=v7", "--exclude=./fifo"],
    "ustar": ["--format=ustar"],
    "oldgnu": ["--format=oldgnu", "--sparse"],
    "gnu": ["--format=gnu", "--sparse"],
    "pax": ["--format=pax", "--xattrs", "--sparse", "--sparse-version=1.0"],
    "pax, sparse 0.1": ["--format=pax", "--xattrs", "--sparse", "--sparse-version=0.1"],
    "pax, sparse 0.0": ["--format=pax", "--xattrs", "--sparse", "--sparse-version=0.0"],
    "pax, all in records": ["--format=pax", "--xattrs", "--pax-option=delete=nothing,exthdr.name=%d/PaxHeaders/%f"],
}

needs_tar = pytest.mark.skipif(shutil.which("tar") is None, reason="GNU tar is not installed")


def fill(root: Path, *, long: bool) -> None:
    """A tree with one of everything, made by container root."""
    os.umask(0)
    root.mkdir(mode=0o751)
    (root / "plain").write_bytes(b"x" * 1000)
    (root / "empty").touch(mode=0o640)
    (root / "block").write_bytes(os.urandom(3 << 20))
    for name, mode, uid, gid in ("suid", 0o4755, 0, 0), ("sgid", 0o2755, 3, 42), ("sticky", 0o1644, 65534, 65534):
        (root / name).write_bytes(name.encode())
        os.chown(root / name, uid, gid)
        os.chmod(root / name, mode)
    (root / "capable").write_bytes(b"#!/bin/true")
    # cap_net_raw+ep as version 2; the kernel makes it version 3 of this namespace (capabilities(7))
    os.setxattr(root / "capable", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    os.setxattr(root / "plain", "user.text", b"caf\xc3\xa9 = \n\0x")
    (root / "dir").mkdir(mode=0o3771)
    os.setxattr(root / "dir", "user.dir", b"1")
    (root / "dir/file").write_bytes(b"in a set-group-id directory")
    os.chown(root / "dir", 12, 34)
    os.chmod(root / "dir", 0o3771)
    (root / "closed").mkdir(mode=0)
    os.symlink("../no/where", root / "link")
    os.chown(root / "link", 77, 88, follow_symlinks=False)
    os.link(root / "suid", root / "dir/hard")
    os.mkfifo(root / "fifo", 0o622)
    sparse(root / "sparse", [(0, 10), (1 << 20, 4096), (5 << 20, 100)], (9 << 20) + 5)
    sparse(root / "holes", [(n << 17, 512) for n in range(60)], 60 << 17)
    sparse(root / "all hole", [], 1 << 20)
    if long:
        deep = root.joinpath(*["long directory name"] * 12)
        deep.mkdir(parents=True)
        (deep / ("n" * 200)).write_bytes(b"deep")
        os.symlink("t/" * 150, root / "long link")
        (root / "caf\u00e9 \udcff").touch()
    for count, path in enumerate(sorted(root.rglob("*"), reverse=True)):
        os.utime(path, ns=(0, 1_600_000_000_123_456_789 + count * 10**9), follow_symlinks=False)
    os.utime(root, ns=(0, 42 * 10**9))


def sparse(path: Path, pieces: list[tuple[int, int]], length: int) -> None:
    with path.open("wb") as file:
        for offset, size in pieces:
            file.seek(offset)
            file.write(b"d" * size)
        file.truncate(length)


def tar(*words: str) -> None:
    subprocess.run(["tar", "--numeric-owner", *words], check=True, stdin=subprocess.DEVNULL)


def look(root: Path) -> Tree:
    return conftest._walk(root, "mapped")


def blocks(root: Path) -> dict[str, int]:
    return {path.name: path.lstat().st_blocks for path in root.iterdir()}


@needs_tar
@pytest.mark.parametrize("form", FORMATS)
def test_every_format_that_gnu_tar_writes(form: str, unpack: Unpack, paths: Paths, room_fd: int) -> None:
    """Names, owners, modes, links, times, attributes and holes, as tar extracts them."""
    source, extracted, archive = paths.store / "source", paths.store / "extracted", paths.store / "archive.tar"
    long = form not in ("v7", "ustar")

    def prepare() -> tuple[Tree, dict[str, int]]:
        fill(source, long=long)
        tar("-C", str(source), "-cf", str(archive), *FORMATS[form], ".")
        extracted.mkdir()
        tar("-C", str(extracted), "-xpf", str(archive), "--xattrs", "--xattrs-include=*")
        return look(extracted), blocks(extracted)

    wanted, wanted_blocks = room.call(room_fd, prepare)
    layer = unpack(archive.read_bytes(), "mapped")
    found = layer.tree()
    assert found == wanted
    assert len(found) > 15 and found["closed"].mode == 0 and found["sgid"].gid == 42
    if "--sparse" in FORMATS[form]:
        found_blocks = layer.inside(lambda: blocks(layer.path))
        for name in "sparse", "holes", "all hole":
            assert found_blocks[name] <= wanted_blocks[name] + 16 < 2000, f"{name}: more than a block of extents"
    if "pax" in form:
        assert "security.capability" in dict(found["capable"].xattrs) and "user.text" in dict(found["plain"].xattrs)


@needs_tar
@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_owned_layers_remember_all_of_it(form: str, unpack: Unpack, paths: Paths, room_fd: int) -> None:
    """The caller owns every file, and the attributes tell the same tree. The caller can read and remove all of it."""
    source, archive = paths.store / "source", paths.store / "archive.tar"
    room.call(room_fd, lambda: fill(source, long=True))
    room.call(room_fd, lambda: tar("-C", str(source), "-cf", str(archive), *FORMATS[form], "."))
    layer = unpack(archive.read_bytes(), "owned")
    assert {name: plain(file) for name, file in layer.tree().items()} == {
        name: plain(file) for name, file in unpack(archive.read_bytes(), "mapped").tree().items()
    }
    for path in (layer.path, *layer.path.rglob("*")):
        status = path.lstat()
        assert status.st_uid == os.geteuid() and (path.is_symlink() or not status.st_mode & 0o7000)
        assert path.is_symlink() or stat.S_IMODE(status.st_mode) & 0o600 == 0o600
        assert not path.is_dir() or os.getxattr(path, "user.containers.override_stat").endswith(b":dir")
    shutil.rmtree(layer.path)


def plain(file: File) -> tuple[Any, ...]:
    """Without what must differ: a stand-in has content, and a capability has no namespace where nobody could set it."""
    xattrs = tuple(name for name, _ in file.xattrs)
    return file.kind, file.mode, file.uid, file.gid, file.mtime, file.content or b"", file.link, xattrs


def test_capabilities_work_in_the_namespace(unpack: Unpack) -> None:
    """The version 2 attribute of an image becomes a version 3 one, with the room's root as its root."""
    value = bytes.fromhex("0100000200200000000000000000000000000000").decode("latin-1")
    layer = unpack(Archive().file("f", b"x", uid=7, pax={"SCHILY.xattr.security.capability": value}).bytes(), "mapped")
    assert dict(layer.tree()["f"].xattrs)["security.capability"][3] == 2, "seen from inside it is version 2 again"
    raw = os.getxattr(layer.path / "f", "security.capability")
    assert raw[3] == 3 and int.from_bytes(raw[20:24], "little") == os.geteuid()


@needs_tar
def test_a_real_tree(unpack: Unpack, paths: Paths, room_fd: int) -> None:
    """Some thousand files of this machine, as they are."""
    archive, extracted = paths.store / "archive.tar", paths.store / "extracted"
    library = Path(sysconfig.get_path("stdlib"))
    tar(
        "-C", str(library.parent), "--exclude=__pycache__", "--exclude=dist-packages", "-cf", str(archive), library.name
    )
    found, wanted = both(archive, extracted, unpack, room_fd, lambda path: path.read_bytes())
    assert len(wanted) > 500
    assert found == wanted


@needs_tar
@pytest.mark.skipif(not ALPINE.exists(), reason=f"{ALPINE.name} is not beside the checkout")
def test_alpine(unpack: Unpack, paths: Paths, room_fd: int) -> None:
    """A real image's layer as it is published: gzip, hard links, set-id programs, /etc/shadow's group."""
    found, wanted = both(ALPINE, paths.store / "extracted", unpack, room_fd, lambda path: path.read_bytes())
    assert found == wanted
    assert found["etc/shadow"].gid == 42 and found["bin/sh"].link == "/bin/busybox"


def both(
    archive: Path, extracted: Path, unpack: Unpack, room_fd: int, read: Callable[[Path], bytes]
) -> tuple[Tree, Tree]:
    def extract() -> Tree:
        extracted.mkdir(mode=0o755)
        tar("-C", str(extracted), "-xpf", str(archive))
        return look(extracted)

    wanted = room.call(room_fd, extract)
    found = unpack(read(archive), "mapped").tree()
    if "." not in subprocess.run(["tar", "-tf", archive], capture_output=True, text=True).stdout.split("\n")[0:1]:
        del wanted["."], found["."]  # tar leaves the directory that was there as it was
    return found, wanted


def test_the_archive_is_compressed_or_not(unpack: Unpack) -> None:
    """One tree, whichever of the three forms its blob has."""
    import io

    import zstandard

    data = Archive().file("f", b"x" * 100_000).bytes()
    sink = io.BytesIO()
    with compression.gzip_writer(sink) as writer:
        writer.write(data)
    trees = [unpack(blob, "owned").tree() for blob in (data, sink.getvalue(), zstandard.compress(data))]
    assert trees[0] == trees[1] == trees[2] and trees[0]["f"].content == b"x" * 100_000


def test_devices_may_be_linked_to(unpack: Unpack) -> None:
    """A device that was left out takes the links to it along, instead of failing the whole image."""
    archive = Archive().add("dev/a", CHARACTER, devmajor=1, devminor=3).link("dev/b", "dev/a").link("dev/c", "dev/b")
    assert sorted(unpack(archive.bytes(), "mapped").tree()) == [".", "dev"]
