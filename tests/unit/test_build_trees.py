"""Contexts as trees: a directory that is read so that nothing leads out of it, an archive that is never unpacked."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from rootless.build.archives import chunks
from rootless.build.tartree import TarTree
from rootless.build.tree import DirectoryTree, Tree, resolve
from rootless.errors import InvalidError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "context"
    (root / "sub/deep").mkdir(parents=True)
    (root / "a").write_bytes(b"aa")
    (root / "sub/b").write_bytes(b"b" * 3_000_000)
    (root / "sub/deep/c").write_bytes(b"")
    (root / "link").symlink_to("sub")
    (root / "absolute").symlink_to("/sub/b")
    (root / "up").symlink_to("../../../../../a")
    (root / "round").symlink_to("about")
    (root / "about").symlink_to("round")
    (root / "nowhere").symlink_to("missing")
    (root / "hosts").symlink_to("/etc/hostname")
    return root


@pytest.fixture
def tree(root: Path) -> Iterator[DirectoryTree]:
    with DirectoryTree(root) as tree:
        yield tree


def content(tree: Tree, path: str) -> bytes:
    entry = resolve(tree, path)
    assert entry is not None
    with tree.open(entry) as opened:
        return b"".join(opened.chunks())


def test_a_directory_is_listed_by_name(tree: DirectoryTree) -> None:
    names = [entry.path for entry in tree.children("")]
    assert names == sorted(["a", "sub", "link", "absolute", "up", "round", "about", "nowhere", "hosts"])
    assert [entry.path for entry in tree.children("sub")] == ["sub/b", "sub/deep"]


def test_entries(tree: DirectoryTree, root: Path) -> None:
    entry = tree.entry("sub/b")
    assert entry is not None and entry.is_file and entry.size == 3_000_000 and entry.name == "b"
    assert entry.mtime == (root / "sub/b").stat().st_mtime_ns
    link = tree.entry("link")
    assert link is not None and link.is_link and link.link == "sub"
    for path in "missing", "a/b", "link/b", "sub/deep/c/d", "x" * 300:
        assert tree.entry(path) is None, path


def test_links_are_followed_inside_of_the_tree(tree: DirectoryTree) -> None:
    found = {
        path: resolve(tree, path) for path in ("link/b", "absolute", "up", "sub/../../a", "nowhere", "hosts", "a/x")
    }
    assert {path: entry.path if entry else None for path, entry in found.items()} == {
        "link/b": "sub/b",
        "absolute": "sub/b",
        "up": "a",
        "sub/../../a": "a",
        "nowhere": None,
        "hosts": None,
        "a/x": None,
    }


def test_links_in_a_circle(tree: DirectoryTree) -> None:
    with pytest.raises(InvalidError, match='"/round": too many levels of symbolic links'):
        resolve(tree, "round")


def test_contents(tree: DirectoryTree) -> None:
    assert content(tree, "link/b") == b"b" * 3_000_000
    assert content(tree, "sub/deep/c") == b""


def change_length(path: Path) -> None:
    path.write_bytes(b"longer than it was")


def change_bytes(path: Path) -> None:
    path.write_bytes(b"zz")


def replace_it(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"aa")


def remove_it(path: Path) -> None:
    path.unlink()


def link_it_outside(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


def make_it_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "change", [change_length, change_bytes, replace_it, remove_it, link_it_outside, make_it_a_pipe]
)
def test_a_file_that_changes_before_it_is_read(tree: DirectoryTree, root: Path, change: Callable[[Path], None]) -> None:
    entry = tree.entry("a")
    assert entry is not None
    change(root / "a")
    with pytest.raises(InvalidError, match="'/a' changed while it was read"), tree.open(entry) as opened:
        list(opened.chunks())


def test_a_file_that_changes_while_it_is_read(tree: DirectoryTree, root: Path) -> None:
    entry = tree.entry("sub/b")
    assert entry is not None
    with tree.open(entry) as opened:
        pieces = opened.chunks()
        next(pieces)
        with (root / "sub/b").open("r+b") as file:
            file.write(b"x")
        with pytest.raises(InvalidError, match="'/sub/b' changed while it was read"):
            list(pieces)


def test_a_file_that_shrinks_while_it_is_read(tree: DirectoryTree, root: Path) -> None:
    entry = tree.entry("sub/b")
    assert entry is not None
    with tree.open(entry) as opened:
        pieces = opened.chunks()
        next(pieces)
        os.truncate(root / "sub/b", 10)
        with pytest.raises(InvalidError, match="'/sub/b' changed while it was read"):
            list(pieces)


def test_nobody_is_led_out_by_a_directory_that_becomes_a_link(tree: DirectoryTree, root: Path, tmp_path: Path) -> None:
    """Whoever may write to the context swaps a directory and a link to another one, all the time."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "b").write_bytes(b"secret")
    (root / "swap").mkdir()
    (root / "swap/b").write_bytes(b"inside")
    (root / "other").symlink_to(outside)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            os.rename(root / "swap", root / "aside")
            os.rename(root / "other", root / "swap")
            os.rename(root / "swap", root / "other")
            os.rename(root / "aside", root / "swap")

    thread = threading.Thread(target=swap)
    thread.start()
    seen, tries, deadline = 0, 0, time.monotonic() + 30
    try:
        while tries < 2000 or (not seen and time.monotonic() < deadline):  # on a busy machine few meet it at rest
            tries += 1
            entry = tree.entry("swap/b")
            if entry is not None:
                with suppress(InvalidError), tree.open(entry) as opened:
                    assert b"".join(opened.chunks()) == b"inside"
                    seen += 1
    finally:
        stop.set()
        thread.join()
    assert seen


def test_what_may_not_be_read_is_named(tree: DirectoryTree, root: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (root / "a").chmod(0)
    (root / "sub").chmod(0)
    entry = tree.entry("a")
    assert entry is not None
    with pytest.raises(InvalidError, match="no permission to read from '/a'"), tree.open(entry):
        pass
    with pytest.raises(InvalidError, match="no permission to read from '/sub'"):
        tree.children("sub")
    (root / "sub").chmod(0o755)


def test_names_of_one_file(tree: DirectoryTree, root: Path) -> None:
    os.link(root / "a", root / "sub/a2")
    first, second, other = (tree.entry(path) for path in ("a", "sub/a2", "sub/b"))
    assert first and second and other
    assert first.inode == second.inode is not None and other.inode is None


def test_no_socket_and_no_device_is_opened(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with DirectoryTree(root) as tree:
        pipe = next(entry for entry in tree.children("") if entry.name == "pipe")
        assert stat.S_ISFIFO(pipe.mode)


def test_extended_attributes(tree: DirectoryTree, root: Path) -> None:
    try:
        os.setxattr(root / "a", "user.mine", b"1")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    os.setxattr(root / "a", "user.containers.override_stat", b"0:0:0:0")
    entry = tree.entry("a")
    assert entry is not None
    with tree.open(entry) as opened:
        assert opened.xattrs() == {"user.mine": b"1"}


def archive(*members: tuple[str, bytes, dict[str, object]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data, more in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for field, value in more.items():
                setattr(info, field, value)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def tar_tree(data: bytes, tmp_path: Path) -> TarTree:
    return TarTree(chunks(io.BytesIO(data)), tmp_path)


LINK: dict[str, object] = {"type": tarfile.SYMTYPE}
HARD: dict[str, object] = {"type": tarfile.LNKTYPE}
DIR: dict[str, object] = {"type": tarfile.DIRTYPE}


def test_an_archive(tmp_path: Path) -> None:
    data = archive(
        ("./sub/", b"", DIR | {"mode": 0o700, "uid": 5}),
        ("sub/b", b"b" * 2_000_000, {"mode": 0o640}),
        ("/abs", b"x", {}),
        ("sub/l", b"", LINK | {"linkname": "../abs"}),
        ("sub/h", b"", HARD | {"linkname": "sub/b"}),
        ("implied/deep/f", b"f", {}),
        ("sub/b2", b"", {}),
    )
    with tar_tree(data, tmp_path) as tree:
        assert [entry.path for entry in tree.children("")] == ["abs", "implied", "sub"]
        assert [entry.path for entry in tree.children("sub")] == ["sub/b", "sub/b2", "sub/h", "sub/l"]
        assert content(tree, "sub/b") == content(tree, "sub/h") == b"b" * 2_000_000
        assert content(tree, "sub/l") == b"x" and content(tree, "implied/deep/f") == b"f"
        sub, first, second = tree.entry("sub"), tree.entry("sub/b"), tree.entry("sub/h")
        assert sub and first and second
        assert (sub.mode & 0o777, sub.uid) == (0o700, 5) and first.mode & 0o777 == 0o640
        assert first.inode == second.inode is not None
    assert list(tmp_path.iterdir()) == []


def test_the_last_of_two_equal_names_counts(tmp_path: Path) -> None:
    with tar_tree(archive(("a", b"1", {}), ("a", b"22", {})), tmp_path) as tree:
        assert content(tree, "a") == b"22"


def test_holes(tmp_path: Path) -> None:
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.seek(5_000_000)
        file.write(b"end")
        file.truncate(6_000_000)
    packed = tmp_path / "s.tar"
    os.system(f"tar -C {tmp_path} --sparse --format=pax -cf {packed} sparse")
    with tar_tree(packed.read_bytes(), tmp_path) as tree:
        assert content(tree, "sparse") == sparse.read_bytes()


HOSTILE = {
    "a path upwards": archive(("../x", b"", {})),
    "a path upwards in the middle": archive(("a/../../x", b"", {})),
    "a file below a file": archive(("a", b"", {}), ("a/b", b"", {})),
    "a file below a link": archive(("a", b"", LINK | {"linkname": "/etc"}), ("a/b", b"", {})),
    "a file in place of a full directory": archive(("a/b", b"", {}), ("a", b"", {})),
    "another name of nothing": archive(("a", b"", HARD | {"linkname": "/etc/passwd"})),
    "another name of a directory": archive(("d", b"", DIR), ("a", b"", HARD | {"linkname": "d"})),
    "an unknown type": archive(("a", b"", {"type": b"Q"})),
    "a truncated one": archive(("a", b"x" * 5000, {}))[:3000],
    "no archive": b"x" * 5000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidError):
        tar_tree(HOSTILE[name], tmp_path)


def test_links_in_an_archive_stay_in_it(tmp_path: Path) -> None:
    data = archive(("l", b"", LINK | {"linkname": "/etc/passwd"}), ("u", b"", LINK | {"linkname": "../../etc/passwd"}))
    with tar_tree(data, tmp_path) as tree:
        assert resolve(tree, "l") is None and resolve(tree, "u") is None
