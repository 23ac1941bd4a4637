"""Blobs are whole and true, or not there."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from rootless.errors import InvalidError, NotFoundError
from rootless.paths import Paths
from rootless.storage import digest as digests
from rootless.storage.blobs import Blobs

DATA = b"some bytes" * 1000


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(store=tmp_path / "s", run=tmp_path / "r")


@pytest.fixture
def blobs(paths: Paths) -> Blobs:
    return Blobs(paths)


def files(paths: Paths) -> list[str]:
    return sorted(str(p.relative_to(paths.store)) for p in paths.store.rglob("*") if not p.is_dir())


def test_round_trip(blobs: Blobs, paths: Paths) -> None:
    """In the place that an OCI image layout has for it."""
    digest, size = blobs.add(DATA)
    assert (digest, size) == (digests.of(DATA), len(DATA))
    assert blobs.exists(digest) and blobs.size(digest) == size and blobs.read(digest, size) == DATA
    with blobs.open(digest) as file:
        assert file.read() == DATA
    assert files(paths) == [f"blobs/sha256/{hashlib.sha256(DATA).hexdigest()}"]
    assert paths.store.stat().st_mode & 0o777 == 0o700


def test_written_in_pieces_of_any_type(blobs: Blobs) -> None:
    with blobs.writer() as writer:
        assert writer.write(DATA[:10]) == 10
        assert writer.write(bytearray(DATA[10:20])) == 10
        assert writer.write(memoryview(DATA)[20:]) == len(DATA) - 20
        assert writer.write(b"") == 0 and writer.size == len(DATA)
        assert writer.commit(digests.of(DATA), len(DATA)) == (digests.of(DATA), len(DATA))


def test_sha512(blobs: Blobs) -> None:
    """The hash must be chosen before the first byte arrives."""
    with blobs.writer(algorithm="sha512") as writer:
        writer.write(DATA)
        digest, _ = writer.commit(digests.of(DATA, "sha512"))
    assert blobs.path(digest).parent.name == "sha512" and blobs.read(digest, 10**6) == DATA
    with pytest.raises(InvalidError, match="unknown digest algorithm"), blobs.writer(algorithm="md5"):
        pass


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"digest": digests.of(b"other")}, "what arrived is something else"),
        ({"digest": digests.of(DATA), "size": 1}, "10000 bytes arrived where 1 were announced"),
        ({"size": 10**9}, "10000 bytes arrived"),
        ({"digest": "latest"}, "no algorithm"),
    ],
)
def test_what_was_not_promised_is_not_published(
    expected: dict[str, Any], message: str, blobs: Blobs, paths: Paths
) -> None:
    with blobs.writer() as writer:
        writer.write(DATA)
        with pytest.raises(InvalidError, match=message):
            writer.commit(**expected)
    assert files(paths) == []


def test_the_limit_holds_while_writing(blobs: Blobs, paths: Paths) -> None:
    """A server that never stops sending is noticed at the first byte too many, not when the disk is full."""
    with blobs.writer(limit=10) as writer:
        writer.write(b"0123456789")
        with pytest.raises(InvalidError, match="more than the 10 bytes"):
            writer.write(b"0")
    assert files(paths) == []


def test_nothing_is_left_without_commit(blobs: Blobs, paths: Paths) -> None:
    with blobs.writer() as writer:
        writer.write(DATA)
    assert files(paths) == []
    with pytest.raises(KeyboardInterrupt):
        _interrupted(blobs)
    assert files(paths) == []


def _interrupted(blobs: Blobs) -> None:
    with blobs.writer() as writer:
        writer.write(DATA)
        raise KeyboardInterrupt


def test_a_writer_ends_with_its_block(blobs: Blobs) -> None:
    with blobs.writer() as writer:
        writer.write(DATA)
    with pytest.raises(ValueError, match="committed or discarded"):
        writer.commit()


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_nothing_is_left_when_the_disk_fails(
    call: str, blobs: Blobs, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with blobs.writer() as writer, monkeypatch.context() as patch:
        writer.write(DATA)
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="Input/output"):
            writer.commit()
    assert files(paths) == []
    assert blobs.add(DATA)[0] == digests.of(DATA)


def test_a_blob_is_on_the_disk_before_it_has_a_name(
    blobs: Blobs, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut a name stands for the whole content: fsync of the file, rename, fsync of the directory."""
    steps: list[str] = []
    fsync, rename = os.fsync, os.rename

    def note_fsync(fd: int) -> None:
        steps.append("directory" if os.path.isdir(f"/proc/self/fd/{fd}") else "file")
        fsync(fd)

    def note_rename(old: object, new: object) -> None:
        steps.append("rename")
        rename(old, new)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "rename", note_rename)
    blobs.add(DATA)
    assert steps == ["file", "rename", "directory"]


def test_the_same_blob_twice(blobs: Blobs, paths: Paths) -> None:
    """The one that is there stays: a reader may have it open, and equal names have equal content."""
    digest, _ = blobs.add(DATA)
    inode = blobs.path(digest).stat().st_ino
    with blobs.writer() as first, blobs.writer() as second:
        for writer in first, second:
            writer.write(DATA)
        assert first.commit() == second.commit()
    assert blobs.path(digest).stat().st_ino == inode and len(files(paths)) == 1


def test_what_is_missing(blobs: Blobs) -> None:
    digest = digests.of(b"missing")
    assert not blobs.exists(digest)
    for look in (blobs.size, blobs.open, lambda d: blobs.read(d, 10)):
        with pytest.raises(NotFoundError, match=f"{digest} is not in the store; pull"):
            look(digest)
    blobs.remove(digest)


def test_names_that_would_lead_elsewhere(blobs: Blobs) -> None:
    for name in "sha256:../../version.json", "../x:" + "0" * 64, "sha256/" + "0" * 64:
        for call in blobs.path, blobs.exists, blobs.size, blobs.open, blobs.remove:
            with pytest.raises(InvalidError):
                call(name)


def test_a_document_is_read_with_care(blobs: Blobs) -> None:
    """Not more than such a document may have, and only if it still is what its name says."""
    digest, size = blobs.add(DATA)
    with pytest.raises(InvalidError, match="larger than the 9999 bytes"):
        blobs.read(digest, size - 1)
    blobs.path(digest).write_bytes(DATA[:-1] + b"!")
    with pytest.raises(InvalidError, match=r"damaged in the store; remove .*pull the image again"):
        blobs.read(digest, size)


def test_removal(blobs: Blobs, paths: Paths) -> None:
    digest, _ = blobs.add(DATA)
    blobs.remove(digest)
    assert not blobs.exists(digest) and files(paths) == []
