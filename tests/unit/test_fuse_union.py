"""The union as a filesystem without a protocol: no mount, no namespace, no pyfuse3."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from rootless.fuse.files import Change
from rootless.fuse.layer import LayerSpec
from rootless.fuse.node import UPPER, Directory, File
from rootless.fuse.quota import Quota
from rootless.fuse.union import Config, Union
from rootless.kernel import fs


@dataclass
class Caller:
    """Who asks, as the real ids of the test: nothing needs a chown then."""

    uid: int = os.getuid()
    gid: int = os.getgid()


ME = Caller()
Make = Callable[[], Union]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Opens the union of `upper` over `top` over `bottom`; each call is a new mount of the same directories."""
    for name in "bottom", "top", "upper", "work":
        (tmp_path / name).mkdir()
    (tmp_path / "bottom/dir/sub").mkdir(parents=True)
    (tmp_path / "bottom/file").write_text("bottom")
    (tmp_path / "bottom/dir/a").write_text("a")
    (tmp_path / "bottom/dir/sub/b").write_text("b")
    (tmp_path / "top/dir").mkdir()
    (tmp_path / "top/dir/c").write_text("c")
    return lambda: Union(
        Config(
            (LayerSpec(str(tmp_path / "top")), LayerSpec(str(tmp_path / "bottom"))),
            LayerSpec(str(tmp_path / "upper")),
            str(tmp_path / "work"),
            descriptors=100,
        )
    )


def find(union: Union, path: str) -> Directory | File | None:
    """The node at a path."""
    node: object = union.tree.root
    for name in path.split("/"):
        assert isinstance(node, Directory)
        node = union.tree.child(node, name.encode())
    assert node is None or isinstance(node, (Directory, File))
    return node


def directory(union: Union, path: str) -> Directory:
    """The directory at a path."""
    node = find(union, path)
    assert isinstance(node, Directory)
    return node


def file(union: Union, path: str) -> File:
    """The file at a path."""
    node = find(union, path)
    assert isinstance(node, File)
    return node


def names(union: Union, node: Directory) -> list[bytes]:
    """The listing of a directory without . and .. ."""
    return sorted(union.entries(union.opendir(node), 0))


def test_directories_merge_top_first(make: Make) -> None:
    union = make()
    assert names(union, directory(union, "dir")) == [b"a", b"c", b"sub"]
    assert directory(union, "dir").layers == (1, 2)
    assert find(union, "dir/none") is None


def test_reading_opens_the_file_only_then(make: Make) -> None:
    union = make()
    node = file(union, "file")
    union.files.open(node, os.O_RDONLY)
    assert node.fd == -1, "the kernel may have all its pages"
    assert union.files.read(node, 0, 100) == b"bottom"
    union.files.release(node)


def test_opening_to_write_copies_up_and_keeps_the_number(make: Make, tmp_path: Path) -> None:
    union = make()
    node = file(union, "dir/sub/b")
    number = node.ino
    union.files.open(node, os.O_WRONLY)
    union.files.write(node, 1, b"!")
    assert (tmp_path / "upper/dir/sub/b").read_text() == "b!"
    assert (tmp_path / "bottom/dir/sub/b").read_text() == "b"
    union.files.release(node)
    union.tree.forget(node, node.lookups)
    union.tree.table.nodes.pop(number, None)
    directory(union, "dir/sub").children.clear()
    assert file(union, "dir/sub/b").ino == number, "also after the kernel forgot it"


def test_the_mode_of_a_link_is_nobodys(make: Make, tmp_path: Path) -> None:
    """chmod(2) follows a link, here out of the container; until Linux 6.6 also through a descriptor of the link."""
    outside = tmp_path / "outside"
    outside.touch(0o600)
    union = make()
    link = union.symlink(union.tree.root, b"link", os.fsencode(outside), ME)
    with pytest.raises(OSError) as caught:
        union.files.setattr(link, Change(mode=0o4777))
    assert caught.value.errno == errno.EOPNOTSUPP
    assert stat.S_IMODE(outside.stat().st_mode) == 0o600


def test_a_deleted_file_leaves_a_whiteout_and_a_new_one_replaces_it(make: Make, tmp_path: Path) -> None:
    union = make()
    union.unlink(union.tree.root, b"file")
    assert fs.is_whiteout((tmp_path / "upper/file").lstat())
    assert find(make(), "file") is None
    made = union.create(union.tree.root, b"file", 0o600, ME)
    union.files.write(made, 0, b"new")
    assert (tmp_path / "upper/file").read_text() == "new"
    assert oct((tmp_path / "upper/file").stat().st_mode) == "0o100600"


def test_a_directory_over_a_whiteout_is_opaque(make: Make, tmp_path: Path) -> None:
    union = make()
    for path in ("dir/a", "dir/c", "dir/sub/b"):
        parent, _, name = path.rpartition("/")
        union.unlink(directory(union, parent), name.encode())
    union.rmdir(directory(union, "dir"), b"sub")
    union.rmdir(union.tree.root, b"dir")
    assert fs.is_whiteout((tmp_path / "upper/dir").lstat())
    union.mkdir(union.tree.root, b"dir", 0o755, ME)
    assert os.getxattr(tmp_path / "upper/dir", "user.overlay.opaque") == b"y"
    assert names(make(), directory(make(), "dir")) == []


def test_a_merged_directory_is_renamed_whole(make: Make, tmp_path: Path) -> None:
    union = make()
    node = directory(union, "dir")
    number, below = node.ino, file(union, "dir/sub/b").ino
    union.renames.rename(union.tree.root, b"dir", union.tree.root, b"new", 0)
    assert directory(union, "new") is node
    assert (node.ino, file(union, "new/sub/b").ino, node.layers) == (number, below, (UPPER,))
    assert fs.is_whiteout((tmp_path / "upper/dir").lstat())
    fresh = make()
    assert names(fresh, directory(fresh, "new")) == [b"a", b"c", b"sub"]
    assert find(fresh, "dir") is None


def test_hard_links_are_one_node(make: Make) -> None:
    union = make()
    root = union.tree.root
    node = file(union, "file")
    union.link(node, root, b"second")
    assert file(union, "second") is node
    union.renames.rename(root, b"file", directory(union, "dir"), b"moved", 0)
    union.unlink(root, b"second")
    assert not node.orphan
    assert union.tree.status(node).st_nlink == 1
    fresh = make()
    assert file(fresh, "dir/moved").layer == UPPER


def test_a_removed_file_lives_until_it_is_released(make: Make) -> None:
    union = make()
    node = union.create(union.tree.root, b"temporary", 0o600, ME)
    node.lookups = 1
    union.unlink(union.tree.root, b"temporary")
    union.files.write(node, 0, b"still")
    assert union.files.read(node, 0, 10) == b"still"
    assert union.tree.links(node, union.tree.status(node)) == 0
    union.files.release(node)
    union.tree.forget(node, 1)
    assert node.ino not in union.nodes


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (lambda u: u.unlink(u.tree.root, b"none"), errno.ENOENT),
        (lambda u: u.unlink(u.tree.root, b"dir"), errno.EISDIR),
        (lambda u: u.rmdir(u.tree.root, b"file"), errno.ENOTDIR),
        (lambda u: u.rmdir(u.tree.root, b"dir"), errno.ENOTEMPTY),
        (lambda u: u.create(u.tree.root, b"file", 0o600, ME), errno.EEXIST),
        (lambda u: u.mkdir(directory(u, "dir"), b"c", 0o755, ME), errno.EEXIST),
        (lambda u: u.renames.rename(u.tree.root, b"none", u.tree.root, b"x", 0), errno.ENOENT),
        (lambda u: u.renames.rename(u.tree.root, b"dir", u.tree.root, b"file", 0), errno.ENOTDIR),
        (lambda u: u.renames.rename(u.tree.root, b"file", u.tree.root, b"dir", 0), errno.EISDIR),
        (lambda u: u.renames.rename(u.tree.root, b"file", u.tree.root, b"dir", 1), errno.EEXIST),
        (lambda u: u.renames.rename(u.tree.root, b"file", u.tree.root, b"x", 4), errno.EINVAL),
        (lambda u: u.mknod(u.tree.root, b"w", stat.S_IFCHR, 0, ME), errno.EPERM),
        (lambda u: u.files.getxattr(u.tree.root, b"user.none"), errno.ENODATA),
        (lambda u: u.files.setxattr(u.tree.root, b"system.posix_acl_access", b""), errno.EOPNOTSUPP),
        (lambda u: u.files.readlink(file(u, "file")), errno.EINVAL),
        (lambda u: u.node(12345), errno.ESTALE),
    ],
)  # fmt: skip
def test_errors(make: Make, action: Callable[[Union], object], expected: int, tmp_path: Path) -> None:
    """An errno, and nothing changed: no file in the upper directory, nothing left in the work directory."""
    union = make()
    find(union, "file")
    find(union, "dir/c")
    with pytest.raises(OSError, match=os.strerror(expected)) as caught:
        action(union)
    assert caught.value.errno == expected
    assert os.listdir(tmp_path / "work/cow") == []


def test_the_work_directory_is_swept(make: Make, tmp_path: Path) -> None:
    """What a killed server left there, however deep and whatever its modes."""
    make()
    deep = tmp_path / "work/cow/t1/a/b"
    deep.mkdir(parents=True)
    (deep / "file").touch()
    (tmp_path / "work/cow/t2").symlink_to(tmp_path / "bottom")
    deep.chmod(0o500)
    make()
    assert os.listdir(tmp_path / "work/cow") == []
    assert (tmp_path / "bottom/file").exists()


def test_descriptors_are_bounded(make: Make, tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"bottom/many/{number}").mkdir(parents=True)
        (tmp_path / f"bottom/many/{number}/f").write_text(str(number))
    union = make()
    before = len(os.listdir("/proc/self/fd"))
    for number in range(300):
        node = file(union, f"many/{number}/f")
        union.files.open(node, os.O_RDONLY)
        assert union.files.read(node, 0, 10) == str(number).encode()
        if union.handles.excess:
            union.handles.trim()
    assert len(os.listdir("/proc/self/fd")) - before <= 110
    assert union.files.read(file(union, "many/0/f"), 0, 10) == b"0"


def test_forgetting_everything_leaves_the_root(make: Make) -> None:
    """Memory follows what the kernel remembers."""
    union = make()
    held = []
    for path in ("dir", "dir/sub", "dir/sub/b", "dir/a", "file"):
        node = find(union, path)
        assert node is not None
        node.lookups += 1
        held.append(node)
    names(union, directory(union, "dir"))
    for node in held:
        union.tree.forget(node, 1)
    assert list(union.nodes) == [1]
    assert names(union, directory(union, "dir")) == [b"a", b"c", b"sub"]


def test_attributes_are_changed_as_asked(make: Make, tmp_path: Path) -> None:
    union = make()
    node = file(union, "file")
    status = union.files.setattr(node, Change(mode=0o4711, size=3, atime=5, mtime=1_000_000_007))
    assert (stat.S_IMODE(status.st_mode), status.st_size) == (0o4711, 3)
    assert (status.st_atime_ns, status.st_mtime_ns) == (5, 1_000_000_007)
    assert (tmp_path / "upper/file").read_text() == "bot"


def test_a_failed_copy_leaves_nothing(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full in the middle: ENOSPC, the old file, an empty work directory."""
    union = make()

    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    with pytest.raises(OSError, match="full"):
        union.files.open(file(union, "file"), os.O_WRONLY)
    monkeypatch.undo()
    assert os.listdir(tmp_path / "upper") == []
    assert os.listdir(tmp_path / "work/cow") == []
    union.files.open(file(union, "file"), os.O_WRONLY)
    assert (tmp_path / "upper/file").read_text() == "bottom"


def test_xattr_whiteouts_of_an_image(make: Make, tmp_path: Path) -> None:
    """Read in lower layers; in an upper one the kernel takes them for files, and so do we."""
    for top in "top", "upper":
        (tmp_path / top / f"in-{top}").touch()
        os.setxattr(tmp_path / top / f"in-{top}", "user.overlay.whiteout", b"y")
        (tmp_path / f"bottom/in-{top}").write_text("hidden?")
    os.setxattr(tmp_path / "top", "user.overlay.opaque", b"x")
    union = make()
    assert find(union, "in-top") is None
    assert b"in-top" not in names(union, union.tree.root)
    assert union.tree.status(file(union, "in-upper")).st_size == 0


def test_without_devices_and_rename_flags(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on NFS: whiteouts by attribute, plain renames, the same tree after a remount."""

    def no_device(name: str | bytes, dirfd: int | None = None) -> None:
        raise PermissionError(errno.EPERM, "mknod")

    def no_flags(old_dir: int, old: bytes, new_dir: int, new: bytes, flags: int = 0) -> None:
        raise OSError(errno.EINVAL, "renameat2")

    monkeypatch.setattr(fs, "whiteout", no_device)
    monkeypatch.setattr(fs, "renameat2", no_flags)
    union = make()
    root = union.tree.root
    union.unlink(directory(union, "dir"), b"a")
    union.unlink(root, b"file")
    assert (tmp_path / "upper/file").is_file()
    union.renames.rename(root, b"dir", root, b"moved", 0)
    union.mkdir(root, b"dir", 0o755, ME)
    union.create(root, b"file", 0o600, ME)
    union.unlink(root, b"file")
    union.renames.rename(root, b"moved", root, b"file", 0)
    union.rmdir(root, b"dir")
    for fresh in (union, make()):
        assert names(fresh, fresh.tree.root) == [b"file"]
        assert names(fresh, directory(fresh, "file")) == [b"c", b"sub"]
        assert find(fresh, "dir") is None


def sandbox(tmp_path: Path, size: int | None = None) -> Union:
    """An `owned` upper over a living tree, as for the image `host`; both below that tree."""
    for name in "live/box/upper", "live/box/work":
        (tmp_path / name).mkdir(parents=True)
    live = LayerSpec(str(tmp_path / "live"), "host", live=True)
    upper = LayerSpec(str(tmp_path / "live/box/upper"), "owned")
    return Union(Config((live,), upper, str(tmp_path / "live/box/work"), size=size, descriptors=100))


def test_what_holds_the_writable_layer_can_be_renamed(tmp_path: Path) -> None:
    """It is not copied into itself, which would have no end but that of the disk."""
    (tmp_path / "live/box").mkdir(parents=True)
    (tmp_path / "live/box/file").write_text("file")
    union = sandbox(tmp_path, size=1 << 20)
    union.renames.rename(union.tree.root, b"box", union.tree.root, b"moved", 0)
    moved = tmp_path / "live/box/upper/moved"
    assert sorted(path.relative_to(moved).as_posix() for path in moved.rglob("*")) == ["file", "upper", "work"]
    assert names(union, directory(union, "moved/upper")) == []


def test_a_merged_directory_follows_its_living_part(tmp_path: Path) -> None:
    """Others may put another directory in the place of the one that a merged one was opened from, or none."""
    live = tmp_path / "live/dir"
    live.mkdir(parents=True)
    (live / "old").write_text("old")
    union = sandbox(tmp_path)
    union.create(directory(union, "dir"), b"mine", 0o644, ME)
    assert names(union, directory(union, "dir")) == [b"mine", b"old"]
    live.rename(tmp_path / "live/away")
    live.mkdir()
    (live / "new").write_text("new")
    assert find(union, "dir/old") is None
    assert find(union, "dir/new") is not None
    assert names(union, directory(union, "dir")) == [b"mine", b"new"]
    live.rename(tmp_path / "live/too")
    live.write_text("a file now")
    assert names(union, union.tree.root) == [b"away", b"box", b"dir", b"too"]
    assert names(union, directory(union, "dir")) == [b"mine"]
    union.unlink(directory(union, "dir"), b"mine")
    assert names(union, directory(union, "dir")) == []


def test_a_copied_directory_is_known_as_it_is_whatever_fails_then(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    union = make()
    quota = Quota(1 << 30, union.tree.layers[UPPER])

    def fail(removed: object) -> None:
        raise OSError(errno.EIO, "the disk")

    monkeypatch.setattr(quota, "recount", fail)
    monkeypatch.setattr(union.copyup, "_quota", quota)
    node = directory(union, "dir")
    with pytest.raises(OSError, match="the disk"):
        union.renames.rename(union.tree.root, b"dir", union.tree.root, b"moved", 0)
    assert node.pure, "the copy stands in its place"
    assert names(union, node) == [b"a", b"c", b"sub"]
