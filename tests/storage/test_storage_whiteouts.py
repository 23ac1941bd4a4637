"""Layers on layers: whiteouts, opaque directories, what an archive only implies, and links into lower layers.

The oracle is the kernel: the layers are stacked by a real overlayfs, and what it shows must be what image-spec's
layer.md says. `owned` layers are compared with the `mapped` ones file by file.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rootless.errors import InvalidError
from rootless.kernel import fs, mount, namespaces
from rootless.paths import Paths
from tests.storage import conftest
from tests.storage.archives import MTIME, Archive
from tests.storage.conftest import Tree, Unpack, Unpacked

KINDS = pytest.mark.parametrize("kind", ["mapped", "owned"])


def merged(paths: Paths, layers: list[Unpacked]) -> Tree:
    """What overlayfs makes of `mapped` layers, top first."""
    target = paths.store / "merged"
    target.mkdir()
    empty = paths.store / "empty"  # without an upper it wants two layers
    empty.mkdir(mode=0o755)
    lower = ":".join(str(p) for p in (*(layer.path for layer in layers), empty))

    def look() -> Tree:
        namespaces.unshare(namespaces.CLONE_NEWNS)
        mount.mount("overlay", str(target), "overlay", mount.MS_RDONLY, f"lowerdir={lower},userxattr")
        return conftest._walk(target, "mapped")

    found: Tree = layers[0].inside(look)
    return found


def contents(tree: Tree) -> dict[str, str]:
    """Names (a directory's with a slash) and contents; for a link that it is one."""
    found = {}
    for name, file in tree.items():
        if file.kind == "dir":
            found[f"{name}/"] = ""
        else:
            found[name] = (file.content or b"").decode() if file.kind == "file" else file.kind
    del found["./"]
    return found


def base() -> Archive:
    return (
        Archive()
        .directory("d", mode=0o2750, uid=7, gid=8, mtime=5)
        .directory("d/sub", mode=0o700, uid=9, gid=10, mtime=6, pax={"SCHILY.xattr.user.note": "kept"})
        .file("d/sub/a", b"a0")
        .file("d/b", b"b0")
        .file("c", b"c0")
        .symlink("l", "d", uid=11, gid=12)
    )


ALL = {"d/": "", "d/sub/": "", "d/sub/a": "a0", "d/b": "b0", "c": "c0", "l": "symlink"}


def without(*names: str, **more: str) -> dict[str, str]:
    return {name: text for name, text in ALL.items() if name not in names} | more


CASES: dict[str, tuple[Callable[[Archive], Archive], dict[str, str]]] = {
    "a file": (lambda a: a.file(".wh.c"), without("c")),
    "a file in a directory": (lambda a: a.file("d/sub/.wh.a"), without("d/sub/a")),
    "a directory": (lambda a: a.file(".wh.d"), without("d/", "d/sub/", "d/sub/a", "d/b")),
    "a symlink": (lambda a: a.file(".wh.l"), without("l")),
    "what is not there": (lambda a: a.file("d/.wh.nothing"), without()),
    "a directory, then anew": (
        lambda a: a.file(".wh.d").file("d/new", b"n"),
        without("d/sub/", "d/sub/a", "d/b", **{"d/new": "n"}),
    ),
    "a directory, made anew before": (
        lambda a: a.file("d/new", b"n").file(".wh.d"),
        without("d/sub/", "d/sub/a", "d/b", **{"d/new": "n"}),
    ),
    "a directory, with an entry for the new one": (
        lambda a: a.file(".wh.d").directory("d").file("d/new", b"n"),
        without("d/sub/", "d/sub/a", "d/b", **{"d/new": "n"}),
    ),
    "a file, which this layer has anew": (lambda a: a.file("c", b"c1").file(".wh.c"), without(c="c1")),
    "a file, and then anew": (lambda a: a.file(".wh.c").file("c", b"c1"), without(c="c1")),
    "everything in a directory": (
        lambda a: a.file("d/.wh..wh..opq"),
        without("d/sub/", "d/sub/a", "d/b"),
    ),
    "everything in a directory, before and after new files": (
        lambda a: a.file("d/x", b"x").file("d/.wh..wh..opq").file("d/sub/y", b"y"),
        without("d/sub/a", "d/b", **{"d/x": "x", "d/sub/y": "y"}),
    ),
    "everything": (lambda a: a.file("d/new", b"n").file(".wh..wh..opq"), {"d/": "", "d/new": "n"}),
    "a directory by a file": (lambda a: a.file("d", b"f"), {"d": "f", "c": "c0", "l": "symlink"}),
    "a link by a directory": (lambda a: a.file("l/f", b"f"), without("l", **{"l/": "", "l/f": "f"})),
    "a whiteout that is whited out by a directory twice": (
        lambda a: a.file(".wh.d").directory("d").symlink("d", "c").directory("d"),
        ALL,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_whiteout(case: str, unpack: Unpack, paths: Paths) -> None:
    """What is gone is gone in the kernel's view of the stack, and nothing else is."""
    build, expected = CASES[case]
    bottom = unpack(base().bytes(), "mapped")
    top = unpack(build(Archive()).bytes(), "mapped", [bottom])
    assert contents(merged(paths, [top, bottom])) == expected


@pytest.mark.parametrize("case", CASES)
def test_owned_layers_say_the_same(case: str, unpack: Unpack) -> None:
    """One archive gives one tree, whichever kind of layer holds it."""
    build, _ = CASES[case]
    trees = []
    for kind in "mapped", "owned":
        bottom = unpack(base().bytes(), kind)
        trees.append((bottom.tree(), unpack(build(Archive()).bytes(), kind, [bottom]).tree()))
    assert trees[0] == trees[1]


@KINDS
def test_implied_directories_look_as_they_do_below(kind: str, unpack: Unpack) -> None:
    """`d/sub/new` without entries for `d` and `d/sub`: overlayfs shows the upper one's attributes."""
    bottom = unpack(base().bytes(), kind)
    middle = unpack(Archive().file("unrelated").bytes(), kind, [bottom])
    top = unpack(Archive().file("d/sub/new").bytes(), kind, [middle, bottom])
    for name in "d", "d/sub":
        assert top.tree()[name] == bottom.tree()[name], name
    assert top.tree()["d"].mode == 0o2750 and top.tree()["d/sub"].xattrs == (("user.note", b"kept"),)


@KINDS
def test_implied_directories_without_a_model(kind: str, unpack: Unpack) -> None:
    """Nothing below, or something that a middle layer took away, is no model: root's, 0755."""
    bottom = unpack(base().bytes(), kind)
    for archive in Archive().file(".wh.d"), Archive().file("d", b"now a file"), Archive().symlink("d", "c"):
        middle = unpack(archive.bytes(), kind, [bottom])
        made = unpack(Archive().file("d/new").bytes(), kind, [middle, bottom]).tree()["d"]
        assert (made.mode, made.uid, made.gid, made.mtime) == (0o755, 0, 0, MTIME * 10**9)
    middle = unpack(Archive().directory("d").file("d/.wh..wh..opq").bytes(), kind, [bottom])
    made = unpack(Archive().file("d/sub/new").bytes(), kind, [middle, bottom]).tree()["d/sub"]
    assert (made.mode, made.uid) == (0o755, 0), "an opaque directory hides what lies below it"


@KINDS
def test_the_root_is_the_one_below_until_an_entry_says_otherwise(kind: str, unpack: Unpack) -> None:
    bottom = unpack(Archive().directory(".", mode=0o1711, uid=1, gid=2, mtime=3).bytes(), kind)
    same = unpack(Archive().file("f").bytes(), kind, [bottom]).tree()["."]
    assert (same.mode, same.uid, same.gid, same.mtime) == (0o1711, 1, 2, 3 * 10**9)
    other = unpack(Archive().file("f").directory(".", mode=0o755).bytes(), kind, [bottom]).tree()["."]
    assert (other.mode, other.uid, other.gid) == (0o755, 0, 0)


@KINDS
def test_hard_link_to_a_file_of_a_lower_layer(kind: str, unpack: Unpack, paths: Paths) -> None:
    """The file comes up into this layer, as overlayfs's own link(2) does it, and both names are one file there."""
    bottom = unpack(
        base()
        .file("d/sub/full", b"full", mode=0o4751, uid=33, gid=44, mtime=77, pax={"SCHILY.xattr.user.x": "y"})
        .add("pipe", b"6", uid=5, mode=0o620)
        .bytes(),
        kind,
    )
    archive = Archive().link("copy", "d/sub/full").link("l2", "l").link("pipe2", "pipe")
    top = unpack(archive.bytes(), kind, [bottom])
    tree, below = top.tree(), bottom.tree()
    assert tree["copy"] == below["d/sub/full"] and tree["d/sub/full"].link == "copy"
    assert (tree["l2"].link, tree["l2"].uid, tree["l2"].gid) == ("d", 11, 12)
    assert (tree["pipe"].kind, tree["pipe"].uid, tree["pipe"].mode) == ("pipe", 5, 0o620)
    assert os.lstat(top.path / "pipe").st_ino == os.lstat(top.path / "pipe2").st_ino
    assert tree["d/sub"] == below["d/sub"]


@KINDS
@pytest.mark.parametrize("hide", [".wh.c", ".wh..wh..opq"])
def test_hard_link_to_what_is_hidden(kind: str, hide: str, unpack: Unpack) -> None:
    """A lower layer's file that a layer between took away can't be linked to."""
    bottom = unpack(base().bytes(), kind)
    middle = unpack(Archive().file(hide).bytes(), kind, [bottom])
    with pytest.raises(InvalidError, match="hard link to c, which is no file"):
        unpack(Archive().link("copy", "c").bytes(), kind, [middle, bottom])


@KINDS
@pytest.mark.parametrize("hide", [".wh.c", ".wh..wh..opq"])
def test_hard_link_to_what_the_layer_itself_hides(kind: str, hide: str, unpack: Unpack) -> None:
    bottom = unpack(base().bytes(), kind)
    with pytest.raises(InvalidError, match="hard link to c, which is no file"):
        unpack(Archive().file(hide).link("copy", "c").bytes(), kind, [bottom])


@KINDS
def test_a_directory_that_is_removed_takes_its_opaque_mark_along(kind: str, unpack: Unpack) -> None:
    """What is made anew in its place merges with the layers below again."""
    bottom = unpack(base().bytes(), kind)
    archive = Archive().file("d/.wh..wh..opq").file("d", b"file").directory("d", mode=0o711).file("d/sub/new")
    tree = unpack(archive.bytes(), kind, [bottom]).tree()
    assert not tree["d"].opaque and tree["d/sub"].mode == 0o700


def test_whiteouts_where_no_device_may_be_made(unpack: Unpack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Linux 5.8, and on NFS: an attribute takes the device's place, and without attributes the archive's mark.

    Upper layers must see those marks as what they are.
    """

    def refuse(name: bytes, dirfd: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    bottom = unpack(base().bytes(), "owned")
    monkeypatch.setattr(fs, "whiteout", refuse)
    middle = unpack(Archive().file("d/.wh.sub").bytes(), "owned", [bottom])
    assert os.getxattr(middle.path / "d/sub", "user.overlay.whiteout") == b"y"
    assert os.getxattr(middle.path / "d", "user.overlay.opaque") == b"x"
    _no_model(unpack, middle, bottom)
    again = unpack(Archive().file("d/.wh.sub").file("d/sub/f", b"f").bytes(), "owned", [bottom])
    assert again.tree()["d/sub"].opaque

    with monkeypatch.context() as patch:
        without_attributes(patch)
        marked = unpack(Archive().file("d/.wh.sub").file("other/.wh..wh..opq").bytes(), "owned", [bottom])
    assert (marked.path / "d/.wh.sub").is_file() and (marked.path / "other/.wh..wh..opq").is_file()
    _no_model(unpack, marked, bottom)


def _no_model(unpack: Unpack, middle: Unpacked, bottom: Unpacked) -> None:
    made = unpack(Archive().file("d/sub/new").bytes(), "owned", [middle, bottom]).tree()["d/sub"]
    assert (made.mode, made.uid) == (0o755, 0)


def without_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without extended attributes: none is at hand that an unprivileged user may mount."""
    import errno

    def refuse(*arguments: object, **more: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    for name in "setxattr", "getxattr", "listxattr", "removexattr":
        monkeypatch.setattr(os, name, refuse)


def test_owned_without_attributes(unpack: Unpack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then `owners.jsonl` says everything, also what layers above inherit, and who was replaced is forgotten."""
    archive = base().file("d/f", uid=3, mode=0o4755, pax={"SCHILY.xattr.user.x": "y"}).link("d/g", "d/f")
    wanted = unpack(archive.bytes(), "owned").tree()
    with monkeypatch.context() as patch:
        without_attributes(patch)
        plain = unpack(
            base()
            .file("d/f", uid=3, mode=0o4755, pax={"SCHILY.xattr.user.x": "y"})
            .link("d/g", "d/f")
            .directory("gone", uid=9)
            .file("gone/f", uid=9)
            .symlink("gone", "c")
            .bytes(),
            "owned",
        )
        top = unpack(Archive().file("d/sub/new").bytes(), "owned", [plain])
    records = conftest.ownerfile.load(plain.owner_file)
    assert b"gone" not in records and b"gone/f" not in records
    for name, file in wanted.items():
        if name != "l":
            record = records[b"" if name == "." else name.encode()]
            assert record[:4] == (file.uid, file.gid, file.mode, file.kind), name
    assert records[b"d/g"].xattrs == {b"user.x": b"y"}
    assert (records[b"l"].uid, records[b"l"].gid) == (11, 12)
    inherited = conftest.ownerfile.load(top.owner_file)[b"d/sub"]
    assert inherited == records[b"d/sub"] and inherited.xattrs == {b"user.note": b"kept"}


def test_owner_file_holds_odd_names(tmp_path: Path) -> None:
    """A path is any bytes, JSON is text."""
    records = {
        b"\xff\xfe": conftest.ownerfile.OwnerRecord(1, 2, 0o777, "symlink"),
        "\u2603".encode(): conftest.ownerfile.OwnerRecord(3, 4, 0o4755, "file", {b"user.x": b"\0\xff"}),
        b"": conftest.ownerfile.OwnerRecord(0, 0, 0o755, "dir"),
    }
    file = tmp_path / "owners.jsonl"
    file.write_bytes(conftest.ownerfile.dump(records))
    assert conftest.ownerfile.load(file) == records
