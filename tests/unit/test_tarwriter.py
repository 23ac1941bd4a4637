"""Archives as we write them, read by others: the standard library's tarfile, GNU tar, and our own reader."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rootless.storage import tarheader as th
from rootless.storage.tarheader import Entry
from rootless.storage.tarstream import TarStream
from rootless.storage.tarwriter import TarWriter, data_pieces

RELAXED = settings(deadline=None, database=None)

names = st.binary(min_size=1, max_size=400).map(lambda raw: raw.replace(b"\0", b"x").strip(b"/") or b"x")
LARGEST = 2**31


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    kind = draw(st.sampled_from([th.DIRECTORY, th.SYMLINK, th.HARD_LINK, th.FIFO, th.CHARACTER]))
    entry = Entry(
        mode=draw(st.integers(0, 0o7777)),
        uid=draw(st.integers(0, 2**32 - 2)),
        gid=draw(st.integers(0, 2**32 - 2)),
        mtime=draw(st.integers(-(10**18), 2 * 10**18)),
        xattrs=draw(st.dictionaries(st.sampled_from([b"user.a", b"user.b c"]), st.binary(min_size=1, max_size=50))),
        name=draw(names),
        type=kind,
    )
    if kind in (th.SYMLINK, th.HARD_LINK):
        entry.link = draw(names)
    if kind == th.CHARACTER:
        entry.device = draw(st.tuples(st.integers(0, 4095), st.integers(0, 2**20)))
    return entry


@RELAXED
@given(st.lists(entries(), min_size=1, max_size=5))
def test_what_is_written_is_read_again(wanted: list[Entry]) -> None:
    sink = io.BytesIO()
    archive = TarWriter(sink)
    for entry in wanted:
        archive.add(entry)
    archive.close()
    assert list(TarStream(iter([sink.getvalue()]))) == wanted
    with tarfile.open(fileobj=io.BytesIO(sink.getvalue()), errors="surrogateescape") as other:
        found = other.getmembers()
    assert [os.fsencode(member.name) for member in found] == [entry.name.rstrip(b"/") for entry in wanted]
    assert [(m.uid, m.gid, m.mode) for m in found] == [(e.uid, e.gid, e.mode) for e in wanted]


@pytest.mark.parametrize("name", [b"plain", b"d/" * 60 + b"long"])
def test_holes_stay_holes(tmp_path: Path, name: bytes) -> None:
    """GNU tar makes the same file of it, with as few blocks; ours is the only data it reads."""
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.write(b"begin")
        file.seek(10 << 20)
        file.write(b"middle")
        file.truncate(30 << 20)
    sink = io.BytesIO()
    archive = TarWriter(sink)
    with path.open("rb") as file:
        archive.add(Entry(0o644, 0, 0, 0, name=name, size=30 << 20), file.fileno())
    archive.close()
    if len(data_pieces(os.open(path, os.O_RDONLY), 30 << 20)) < 2:
        pytest.skip("this file system has no holes")
    assert len(sink.getvalue()) < 100_000
    (read,) = TarStream(iter([sink.getvalue()]))
    assert (read.name, read.length) == (name, 30 << 20)
    if shutil.which("tar") is None:
        pytest.skip("no tar")
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-x", "-C", tmp_path / "out", "-f", "-"], input=sink.getvalue(), check=True)
    unpacked = tmp_path / "out" / os.fsdecode(name)
    assert unpacked.read_bytes() == path.read_bytes()
    assert unpacked.stat().st_blocks <= path.stat().st_blocks


def test_a_file_that_shrinks_is_filled_up(tmp_path: Path) -> None:
    """A running container may truncate a file after its header was written: what follows must not shift."""
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    sink = io.BytesIO()
    archive = TarWriter(sink)
    with path.open("rb") as file:
        archive.add(Entry(0o644, 0, 0, 0, name=b"file", size=1000), file.fileno())
    archive.add(Entry(0o755, 0, 0, 0, name=b"next/", type=th.DIRECTORY))
    archive.close()
    with tarfile.open(fileobj=io.BytesIO(sink.getvalue())) as read:
        assert read.getnames() == ["file", "next"]
        content = read.extractfile("file")
        assert content is not None
        assert content.read() == b"abc".ljust(1000, b"\0")
