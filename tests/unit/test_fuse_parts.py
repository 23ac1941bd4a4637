"""The small parts of the filesystem: overrides, inode numbers, base.jsonl, the INIT edit, the stand-in for trio."""

from __future__ import annotations

import errno
import json
import os
import stat
import struct
from pathlib import Path

import pytest

from rootless.fuse import engine, metadata
from rootless.fuse.base import Base, records
from rootless.fuse.node import Directory, Table
from rootless.fuse.owned import record, without_privileges


def status(ino: int, *, dev: int = 1, mode: int = stat.S_IFREG | 0o644, links: int = 1) -> os.stat_result:
    """Attributes of a made-up inode."""
    times = {"st_atime_ns": 0, "st_mtime_ns": 0, "st_ctime_ns": 0}
    return os.stat_result((mode, ino, dev, links, 0, 0, 0, 0, 0, 0), {"st_rdev": 0, **times})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"0:0:755:dir", (0, 0, 0o755, stat.S_IFDIR, 0)),
        (b"1000:1001:4755:file", (1000, 1001, 0o4755, stat.S_IFREG, 0)),
        (b"5:6:0644", (5, 6, 0o644, 0, 0)),
        (b"0:0:100644:file", (0, 0, 0o644, stat.S_IFREG, 0)),
        (b"0:0:600:char-1-3", (0, 0, 0o600, stat.S_IFCHR, os.makedev(1, 3))),
        (b"0:0:644:file\0", (0, 0, 0o644, stat.S_IFREG, 0)),
        (b"0:0:644:char", None),
        (b"0:0:644:file-1-2", None),
        (b"4294967295:0:644:file", None),
        (b" 0:0:644:file", None),
        (b"0:0:888:file", None),
        (b"", None),
    ],
)
def test_overrides(text: bytes, expected: tuple[int, ...] | None) -> None:
    """The format of containers/storage and fuse-overlayfs; what is malformed is not half believed."""
    assert metadata.parse_override(text) == expected


def test_an_override_says_what_was_meant() -> None:
    for mode, device in ((stat.S_IFDIR | 0o1777, 0), (stat.S_IFCHR | 0o600, os.makedev(5, 1)), (stat.S_IFIFO, 0)):
        wanted = metadata.changed(status(1, mode=mode), uid=7, gid=8, rdev=device)
        parsed = metadata.parse_override(metadata.format_override(wanted))
        assert parsed == (7, 8, stat.S_IMODE(mode), stat.S_IFMT(mode), device)


def test_changed_keeps_the_rest() -> None:
    real = os.stat(__file__)
    other = metadata.changed(real, uid=12)
    assert other.st_uid == 12
    for name in "st_mode st_ino st_dev st_nlink st_gid st_size st_mtime_ns st_atime_ns st_blocks".split():
        assert getattr(other, name) == getattr(real, name), name


@pytest.mark.parametrize(("mode", "expected"), [(0o6755, 0o755), (0o2745, 0o2745), (0o4644, 0o644), (0o2710, 0o710)])
def test_privileges_that_a_write_takes(mode: int, expected: int) -> None:
    """Set-group-id without group execution is mandatory locking's mark and stays (inode(7))."""
    assert without_privileges(mode) == expected


def test_escaped_attributes() -> None:
    assert metadata.escape("user.overlay.opaque") == "user.overlay.overlay.opaque"
    assert metadata.unescape("user.overlay.overlay.opaque") == "user.overlay.opaque"
    assert metadata.escape("user.x") == metadata.unescape("user.x") == "user.x"
    assert metadata.is_private("user.overlay.opaque")
    assert not metadata.is_private("user.overlay.overlay.opaque")


LINES = [b"", b"[]", b"{}", b'{"stat": 5, "path": "x"}', b'{"stat": "0:0:1:file", "raw": "%"}', b"nonsense"]


@pytest.mark.parametrize("line", LINES)
def test_malformed_owner_records(line: bytes) -> None:
    with pytest.raises(OSError, match=r"owners\.jsonl"):
        record(line)


class TestNumbers:
    """Inode numbers: the same for life, and never two files of one number."""

    @pytest.fixture
    def table(self) -> Table:
        return Table()

    @pytest.fixture
    def root(self) -> Directory:
        return Directory(1, None, b"", (0, 1), status(100, mode=stat.S_IFDIR | 0o755))

    def test_derived_from_the_real_one(self, table: Table, root: Directory) -> None:
        assert table.number(root, b"a", 1, status(50)) == table.number(root, b"a", 1, status(50)) == 50

    def test_one_of_another_device_differs(self, table: Table, root: Directory) -> None:
        assert table.number(root, b"a", 1, status(50)) != table.number(root, b"b", 1, status(50, dev=2))

    def test_one_that_is_in_use_is_not_given_again(self, table: Table, root: Directory) -> None:
        table.nodes[50] = root
        fresh = table.number(root, b"a", 0, status(50))
        assert fresh != 50
        assert table.number(root, b"a", 0, status(50)) == fresh

    def test_the_roots_own_is_never_given(self, table: Table, root: Directory) -> None:
        """On tmpfs the first inodes are 1, 2, 3."""
        assert table.number(root, b"a", 0, status(1)) != 1

    def test_hard_links_of_an_image_are_files_of_their_own(self, table: Table, root: Directory) -> None:
        first = table.number(root, b"a", 1, status(50, links=2))
        assert table.number(root, b"b", 1, status(50, links=2)) != first
        assert table.number(root, b"a", 1, status(50, links=2)) == first


def test_base_notes_the_first_state_only(tmp_path: Path) -> None:
    path = str(tmp_path / "base.jsonl")
    base = Base(path)
    base.record(b"/file", status(5))
    base.record(b"/file", status(6))
    base.record(b"/\xff", status(7))
    with open(path, "a") as file:
        file.write('{"path": "/half')
    again = Base(path)
    again.record(b"/file", status(8))
    again.record(b"/\xff", status(8))
    again.record(b"/half", status(9))
    lines = [line for line in Path(path).read_bytes().split(b"\n") if line and line != b'{"path": "/half']
    assert [json.loads(line)["ino"] for line in lines] == [5, 7, 9]


def test_base_writes_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """write(2) may write less than all; and what a full disk has cut off is ended by the next line."""
    path = str(tmp_path / "base.jsonl")
    base = Base(path)
    write, room = os.write, 10**6

    def short(fd: int, data: bytes) -> int:
        nonlocal room
        if room <= 0:
            raise OSError(errno.ENOSPC, "full")
        room -= 7
        return write(fd, data[:7])

    monkeypatch.setattr(os, "write", short)
    base.record(b"/one", status(1))
    room = 20
    with pytest.raises(OSError, match="full"):
        base.record(b"/two", status(2))
    room = 10**6
    base.record(b"/three", status(3))
    base.record(b"/two", status(2))
    monkeypatch.undo()
    with open(path, "rb") as file:
        found = [record.path for record in records(file.read().split(b"\n"))]
    assert found == [b"/one", b"/three", b"/two"]


class TestInit:
    """The edit of FUSE_INIT's answer."""

    @staticmethod
    def answer(flags: int, error: int = 0) -> bytes:
        return struct.pack("<IiQ", 80, error, 1) + struct.pack("<IIII", 7, 38, 0, flags) + bytes(48)

    @staticmethod
    def flags(answer: bytes) -> int:
        return int(struct.unpack_from("<I", answer, 28)[0])

    def test_flags_that_the_kernel_offers_are_set(self) -> None:
        offered = engine.INIT_HANDLE_KILLPRIV_V2 | engine.INIT_CACHE_SYMLINKS
        found = engine.edited(self.answer(1 | engine.INIT_AUTO_INVAL_DATA), offered, live=False)
        assert self.flags(found) == 1 | offered
        assert len(found) == 80

    def test_a_live_layer_keeps_the_kernel_watching(self) -> None:
        found = engine.edited(self.answer(engine.INIT_AUTO_INVAL_DATA), 0xFFFFFFFF, live=True)
        assert self.flags(found) == engine.INIT_AUTO_INVAL_DATA | engine.INIT_HANDLE_KILLPRIV_V2

    @pytest.mark.parametrize("length", [16, 24, 40])
    def test_an_answer_of_another_kind_passes_as_it_is(self, length: int) -> None:
        assert engine.edited(self.answer(1)[:length], 0xFFFFFFFF, live=False) == self.answer(1)[:length]
        assert engine.edited(self.answer(1, -71), 0xFFFFFFFF, live=False) == self.answer(1, -71)


def test_flags_are_added_unless_it_could_not_be_opened() -> None:
    """struct fuse_out_header, struct fuse_open_out: length, error, unique, fh, open_flags, padding."""
    form = struct.Struct("<IiQQII")
    answer = bytearray(form.pack(32, 0, 7, 5, 1, 0))
    engine.add_flags(answer, 8)
    assert form.unpack(answer) == (32, 0, 7, 5, 9, 0)
    for size, failed in (16, -2), (32, -2), (16, 0):
        plain = form.pack(size, failed, 7, 5, 1, 0)[:size]
        answer = bytearray(plain)
        engine.add_flags(answer, 8)
        assert answer == plain


def test_the_stand_in_refuses_what_it_has_not() -> None:
    """A pyfuse3 that uses more of trio is noticed at its first use, not by a crash later."""
    trio = engine.stand_in(None)
    with pytest.raises(engine.AssumptionError, match=r"trio\.sleep"):
        _ = trio.sleep
    with pytest.raises(engine.AssumptionError, match=r"trio\.lowlevel\.checkpoint"):
        _ = trio.lowlevel.checkpoint


def test_ready_is_awaited_without_suspending() -> None:
    async def wait() -> str:
        await engine.READY  # type: ignore[misc]
        async with engine._Lock():
            return "done"

    with pytest.raises(StopIteration) as stopped:
        wait().send(None)
    assert stopped.value.value == "done"
