"""Archives that nobody means well with. The table lists what each one gets; nothing outside the layer ever changes.

`{outside}` in a name is a directory beside the layer, given as an absolute path; `../../outside` leads there too.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rootless.errors import InvalidError
from rootless.paths import Paths
from tests.storage.archives import (
    BLOCK,
    CHARACTER,
    DIRECTORY,
    END,
    FIFO,
    FILE,
    SYMLINK,
    Archive,
    header,
    padded,
    pax,
    record,
)
from tests.storage.conftest import Tree, Unpack, Unpacked

ODD = b"\xff\xfe\n\t\x1b[31m'\"\\".decode(errors="surrogateescape")


def names(tree: Tree) -> list[str]:
    return sorted(name for name in tree if name != ".")


def _deep(archive: Archive) -> Archive:
    return archive.file("/".join(["d" * 100] * 41), b"x")


# What each refused archive is told; a regular expression in the error's line.
REFUSED: dict[str, tuple[Callable[[Archive, str], Archive], str]] = {
    "a name with ..": (lambda a, _: a.file("../../outside/victim", b"x"), r"\.\./\.\./outside/victim leads out"),
    "an absolute name with ..": (lambda a, _: a.file("/../../outside/victim", b"x"), "leads out"),
    ".. behind an existing directory": (lambda a, _: a.directory("d").file("d/../../victim", b"x"), "leads out"),
    "a directory ..": (lambda a, _: a.directory("..", mode=0o777), "leads out"),
    "a hard link to ..": (lambda a, _: a.link("h", "../../outside/victim"), "leads out"),
    "a hard link to an absolute path": (lambda a, out: a.link("h", f"{out}/victim"), "hard link to .*victim, which is"),
    "a hard link through a symlink out": (
        lambda a, out: a.symlink("s", out).link("h", "s/victim"),
        "hard link to s/victim, which is no file",
    ),
    "a hard link to nothing": (lambda a, _: a.link("h", "missing"), "hard link to missing, which is no file"),
    "a hard link to a directory": (lambda a, _: a.directory("d").link("h", "d"), "Operation not permitted"),
    "a hard link to itself": (lambda a, _: a.file("f").link("f", "f"), "hard link to itself"),
    "a hard link over the directory of its target": (
        lambda a, _: a.directory("d").file("d/f").link("d", "d/f"),
        "hard link to itself",
    ),
    "a hard link to a whiteout": (lambda a, _: a.file(".wh.w").link("h", "w"), "hard link to w, which is no file"),
    "a file through a symlink that leads out": (
        lambda a, out: a.symlink("s", out).file("s/victim", b"x"),
        "below s, a link that leads to no directory of the layer",
    ),
    "a file through a relative symlink out": (
        lambda a, _: a.symlink("s", "../../outside").file("s/victim", b"x"),
        "below s, a link that leads to no directory",
    ),
    "a symlink loop": (lambda a, _: a.symlink("s", "t").symlink("t", "s").file("s/f"), "below s, a link that leads"),
    "a whiteout through a symlink out": (
        lambda a, out: a.symlink("s", out).file("s/.wh.victim"),
        "below s, a link that leads to no directory",
    ),
    "an opaque mark through a symlink out": (
        lambda a, out: a.symlink("s", out).file("s/.wh..wh..opq"),
        "below s, a link that leads to no directory",
    ),
    "a file below a file": (lambda a, _: a.file("f").file("f/g"), "files below f, no directory"),
    "a symlink to nothing": (lambda a, _: a.symlink("s", ""), "s is a symbolic link to nothing"),
    "a symlink with a target of 4096 bytes": (lambda a, _: a.symlink("s", "t" * 4096), "File name too long"),
    "a file for the root": (lambda a, _: a.file("./", b"x"), "would replace the layer's root"),
    "a symlink for the root": (lambda a, out: a.add("/", SYMLINK, linkname=out), "would replace the layer's root"),
    "a name of 256 bytes": (
        lambda a, _: a.file("n" * 256),
        "n can't be a file here: File name too long|n+\\.\\.\\. can't",
    ),
    "a directory's name of 256 bytes": (lambda a, _: a.file("n" * 256 + "/f"), "can't be a file here: File name too"),
    "a path of more than 4094 bytes": (lambda a, _: _deep(a), "a path of 4140 bytes"),
    "a whiteout of nothing": (lambda a, _: a.file(".wh."), "whiteout of nothing"),
    "a whiteout of .": (lambda a, _: a.file("d/.wh.."), "whiteout of nothing"),
    "a whiteout of ..": (lambda a, _: a.file("d/.wh..."), "whiteout of nothing"),
    "a whiteout that has files": (lambda a, _: a.file(".wh.a/b"), "whiteout of nothing"),
    "a type that no layer has": (lambda a, _: a.add("v", b"V"), "type that a layer can't have"),
}

RAW_REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing at all": (b"", "the archive is empty"),
    "no archive": (b"#!/bin/sh\n" + b"echo hello\n" * 100, "this is not a tar archive"),
    "an html page": (b"<html>404</html>", "truncated"),
    "a header cut in the middle": (header(b"a") + header(b"b")[:100], "the middle of a header: it is truncated"),
    "data cut in the middle": (header(b"a", size=b"00000002000\0") + b"x" * 100, "a file's data: it is truncated"),
    "padding cut off": (header(b"a", size=b"00000000001\0") + b"x", "truncated"),
    "a damaged header in the middle": (header(b"a") + b"x" + header(b"b")[1:] + END, "checksum is wrong"),
    "a lone block of zeros": (header(b"a") + bytes(512) + header(b"b") + END, "the archive's end mark"),
    "a negative size in base 256": (header(b"a", size=b"\xff" * 11 + b"\x00") + END, "the negative number -256"),
    "a size that is no number": (header(b"a", size=b"-0000000001\0") + END, "where a number belongs"),
    "a size beyond the end": (header(b"a", size=b"\x80" + b"\x7f" * 11) + END, "truncated"),
    "a pax header of 2 MiB": (header(b"p", b"x", b"%011o\0" % (2 << 20)), "extension header of 2097152 bytes"),
    "a long name of 2 MiB": (header(b"p", b"L", b"%011o\0" % (2 << 20)), "extension header of 2097152 bytes"),
    "a pax header cut in the middle": (
        header(b"p", b"x", b"%011o\0" % 100) + b"9 ",
        "an extension header: it is trunc",
    ),
    "a pax header without an entry": (pax(record(b"uid=33")) + END, "announces"),
    **{
        f"a pax record {raw!r}": (pax(raw) + header(b"f") + END, message)
        for raw, message in {
            b"999 path=x\n": "malformed",
            b"0 path=x\n": "malformed",
            b"-5 path=x\n": "where the archive should have a number",
            b"9 path=x": "malformed",
            b"10 =nokey\n": "malformed",
            b"5 x\n\n\n": "malformed",
            record(b"size=-1"): "where the archive should have a number",
            record(b"path=a\0b"): "has a NUL",
            record(b"uid=1e400"): "where the archive should have a number",
            record(b"mtime=never"): "where the archive should have a number",
            b"32 GNU.sparse.major=1\n": "malformed",
            record(b"GNU.sparse.major=1"): "has no length",
            record(b"GNU.sparse.realsize=99999999999999999999") + record(b"GNU.sparse.map=0,0"): "no file has so many",
            record(b"GNU.sparse.realsize=9223372036854775808") + record(b"GNU.sparse.map=0,0"): "no file has so many",
            record(b"SCHILY.xattr.user.a\0b=1"): "has the name 'user.a",
            record(b"SCHILY.xattr.=1"): "has the name ''",
        }.items()
    },
}


@pytest.fixture
def outside(paths: Paths) -> Path:
    """What must not change: a directory that the archives aim at, two levels above the layer."""
    directory = paths.store.parent / "outside"
    directory.mkdir()
    (directory / "victim").write_text("untouched")
    return directory


def surroundings(paths: Paths) -> dict[str, tuple[object, ...]]:
    """Everything around the layers: type, mode, owner, size, times."""
    found = {}
    for above, directories, files in os.walk(paths.store.parent):
        directories[:] = [d for d in directories if not d.startswith("layer") and d != "r"]
        for name in (*files, *directories):
            path = Path(above, name)
            s = path.lstat()
            if path != paths.store and not name.endswith(".owners"):
                found[str(path)] = (s.st_mode, s.st_uid, s.st_gid, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_nlink)
    return found


@pytest.mark.parametrize("kind", ["mapped", "owned"])
@pytest.mark.parametrize("trick", REFUSED)
def test_refused(trick: str, kind: str, unpack: Unpack, paths: Paths, outside: Path) -> None:
    """A clear error that names what is wrong, and no trace outside."""
    build, message = REFUSED[trick]
    before = surroundings(paths)
    with pytest.raises(InvalidError, match=message) as caught:
        unpack(build(Archive(), str(outside)).bytes(), kind)
    assert "\n" not in str(caught.value)
    assert surroundings(paths) == before


@pytest.mark.parametrize("trick", RAW_REFUSED)
def test_refused_bytes(trick: str, unpack: Unpack) -> None:
    """Broken archives are told what is broken, whatever follows the break."""
    data, message = RAW_REFUSED[trick]
    with pytest.raises(InvalidError, match=message):
        unpack(data, "owned")


def check_absolute(layer: Unpacked, tree: Tree) -> None:
    assert tree["etc/victim"].content == b"x"


def check_link_out(layer: Unpacked, tree: Tree) -> None:
    """Stored as it is: a symbolic link is only followed by who looks through it."""
    assert tree["s"].kind == "symlink" and tree["s"].link == "../../../etc/passwd"


def check_through_inner_link(layer: Unpacked, tree: Tree) -> None:
    """As in Docker's chroot: an absolute link starts at the layer's root."""
    assert tree["real/f"].content == b"x" and tree["s"].link == "/real"


def check_link_then_directory(layer: Unpacked, tree: Tree) -> None:
    assert tree["p"].kind == "dir" and tree["p/f"].content == b"x" and "real/f" not in tree


def check_directory_then_link(layer: Unpacked, tree: Tree) -> None:
    """The whole directory is gone; a later file goes where the link leads inside the layer."""
    assert tree["p"].kind == "symlink" and tree["real/g"].content == b"x" and "p/f" not in tree


def check_last_wins(layer: Unpacked, tree: Tree) -> None:
    assert tree["f"].content == b"second" and tree["f"].mode == 0o600
    assert tree["keep"].content == b"first", "the other name of a file that was replaced keeps the content"


def check_file_over_link(layer: Unpacked, tree: Tree) -> None:
    """The link itself is replaced; what it led to is not written through it."""
    assert tree["s"].kind == "file" and tree["s"].content == b"x" and tree["real/f"].content == b"old"


def check_devices(layer: Unpacked, tree: Tree) -> None:
    """No user namespace may make devices: `mapped` leaves them out, `owned` writes down what they are."""
    if layer.kind == "mapped":
        assert names(tree) == ["dev", "dev/fifo"]
        return
    assert tree["dev/null"].kind == "char-1-3" and tree["dev/null"].mode == 0o666
    assert tree["dev/sda"].kind == "block-8-0" and tree["dev/other"].link == "dev/null"
    assert "dev/zero-zero" not in tree, "a device 0:0 would be a whiteout"


def check_odd_names(layer: Unpacked, tree: Tree) -> None:
    assert tree[f"d{ODD}/{ODD}"].content == b"x" and tree["s"].link == ODD
    assert tree["\u00e9\u2603"].content == b"y"


def check_longest_names(layer: Unpacked, tree: Tree) -> None:
    assert tree["n" * 255].content == b"x" and tree["/".join(["e" * 200] * 20)].content == b"y"


def check_reserved(layer: Unpacked, tree: Tree) -> None:
    """aufs left such files in old images; Docker passes over them."""
    assert names(tree) == ["f"]


def check_forged(layer: Unpacked, tree: Tree) -> None:
    """overlayfs, fuse-overlayfs and this engine keep their state in attributes, which an image must not set."""
    assert not tree["d"].opaque and dict(tree["d"].xattrs) == {"user.kept": b"1"}
    assert tree["f"].xattrs == () and (tree["f"].uid, tree["f"].mode) == (0, 0o644)


def check_root(layer: Unpacked, tree: Tree) -> None:
    assert (tree["."].mode, tree["."].uid, tree["."].gid) == (0o1750, 3, 4)


def check_times(layer: Unpacked, tree: Tree) -> None:
    """A time that no file system can store becomes one that it can."""
    assert tree["early"].mtime < 0 and tree["f"].content == b"x"


def check_unreadable(layer: Unpacked, tree: Tree) -> None:
    """A directory without permissions comes before its files, and gets its mode after them."""
    assert tree["d"].mode == 0 and tree["d/e"].mode == 0o111 and tree["d/e/f"].mode == 0


def check_global(layer: Unpacked, tree: Tree) -> None:
    """Docker passes over global headers: who honours them gets other files from the same image."""
    assert tree["f"].uid == 0


def check_device_then_file(layer: Unpacked, tree: Tree) -> None:
    """What was left out is no longer meant once the name is another's."""
    assert tree["d"].content == b"x" and tree["e"].link == "d"


def check_stale_directories(layer: Unpacked, tree: Tree) -> None:
    """The attributes of a directory that was replaced by a link don't reach where the link leads."""
    assert (tree["real/sub"].mode, tree["real/sub"].uid) == (0o755, 0) and tree["p"].kind == "symlink"


def _forged() -> Archive:
    xattrs = {
        "SCHILY.xattr.user.overlay.opaque": "y",
        "SCHILY.xattr.user.overlay.redirect": "/etc",
        "SCHILY.xattr.user.overlay.whiteout": "y",
        "SCHILY.xattr.trusted.overlay.opaque": "y",
        "SCHILY.xattr.user.containers.override_stat": "1:1:4777:file",
        "SCHILY.xattr.user.fuseoverlayfs.opaque": "y",
        "SCHILY.xattr.user.rootless.security.capability": "x",
        "SCHILY.xattr.system.posix_acl_access": "x",
        "SCHILY.xattr.security.selinux": "x",
    }
    return Archive().directory("d", pax=xattrs | {"SCHILY.xattr.user.kept": "1"}).file("f", pax=xattrs)


def _devices() -> Archive:
    return (
        Archive()
        .directory("dev")
        .add("dev/null", CHARACTER, devmajor=1, devminor=3, mode=0o666)
        .add("dev/sda", BLOCK, devmajor=8, devminor=0)
        .add("dev/zero-zero", CHARACTER)
        .add("dev/fifo", FIFO)
        .link("dev/other", "dev/null")
    )


def _odd() -> Archive:
    archive = Archive(tarfile.GNU_FORMAT)
    return archive.file(f"d{ODD}/{ODD}", b"x").symlink("s", ODD).file("\u00e9\u2603", b"y")


HARMLESS: dict[str, tuple[Callable[[], Archive], Callable[[Unpacked, Tree], None]]] = {
    "an absolute name": (lambda: Archive().file("/etc/victim", b"x"), check_absolute),
    ".. that stays inside": (lambda: Archive().file("etc/a/../victim", b"x"), check_absolute),
    "a symlink that leads out": (lambda: Archive().symlink("s", "../../../etc/passwd"), check_link_out),
    "a file through a symlink inside": (
        lambda: Archive().directory("real").symlink("s", "/real").file("s/f", b"x"),
        check_through_inner_link,
    ),
    "a link replaced by a directory": (
        lambda: Archive().directory("real").symlink("p", "real").directory("p").file("p/f", b"x"),
        check_link_then_directory,
    ),
    "a directory replaced by a link": (
        lambda: Archive().directory("real").file("p/f", b"x").symlink("p", "real").file("p/g", b"x"),
        check_directory_then_link,
    ),
    "an entry twice": (
        lambda: Archive().file("f", b"first").link("keep", "f").file("f", b"second", mode=0o600),
        check_last_wins,
    ),
    "a file over a link": (
        lambda: Archive().file("real/f", b"old").symlink("s", "real/f").file("s", b"x"),
        check_file_over_link,
    ),
    "devices": (_devices, check_devices),
    "a device, then a file, then a link to it": (
        lambda: Archive().add("d", CHARACTER, devmajor=1).file("d", b"x").link("e", "d"),
        check_device_then_file,
    ),
    "a directory with directories, replaced by a link to another": (
        lambda: Archive().directory("real/sub").directory("p/sub", mode=0o700, uid=5).symlink("p", "real"),
        check_stale_directories,
    ),
    "names in odd bytes": (_odd, check_odd_names),
    "the longest names": (
        lambda: Archive().file("n" * 255, b"x").file("/".join(["e" * 200] * 20), b"y"),
        check_longest_names,
    ),
    "files of aufs": (
        lambda: Archive().file(".wh..wh.aufs").directory(".wh..wh.plnk").file(".wh..wh.plnk/1.2", b"x").file("f"),
        check_reserved,
    ),
    "forged attributes": (_forged, check_forged),
    "an entry for the root": (lambda: Archive().directory("./", mode=0o1750, uid=3, gid=4), check_root),
    "times from far away": (
        lambda: Archive().file("early", mtime=-5).file("f", b"x", pax={"mtime": "9" * 18 + ".5"}),
        check_times,
    ),
    "a directory that may not be entered": (
        lambda: Archive().directory("d", mode=0).directory("d/e", mode=0o111).file("d/e/f", b"x", mode=0),
        check_unreadable,
    ),
    "a global header": (lambda: Archive().add("g", b"g", b"10 uid=33\n").file("f"), check_global),
}


@pytest.mark.parametrize("kind", ["mapped", "owned"])
@pytest.mark.parametrize("trick", HARMLESS)
def test_harmless(trick: str, kind: str, unpack: Unpack, paths: Paths, outside: Path) -> None:
    """What Docker and podman accept, too, with the same outcome, and no trace outside."""
    build, check = HARMLESS[trick]
    before = surroundings(paths)
    layer = unpack(build().bytes(), kind)
    check(layer, layer.tree())
    assert surroundings(paths) == before


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="about the engine started by real root")
def test_the_table_under_real_root(unpack: Unpack, paths: Paths, outside: Path) -> None:
    """Where the caller could change everything, the room's root, who unpacks, still can't."""
    before = surroundings(paths)
    for build, message in REFUSED.values():
        with pytest.raises(InvalidError, match=message):
            unpack(build(Archive(), str(outside)).bytes(), "mapped")
    for make, check in HARMLESS.values():
        for kind in "mapped", "owned":
            layer = unpack(make().bytes(), kind)
            check(layer, layer.tree())
    assert surroundings(paths) == before


def test_extension_headers_of_every_entry_cost_no_memory_for_ever(unpack: Unpack) -> None:
    """A thousand headers of nearly the largest size pass one after the other: the sum of them is no limit."""
    import resource

    one = pax(record(b"comment=" + b"x" * 1_000_000)) + header(b"f")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unpack(one * 40 + END, "owned")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 100 * 1024, "KiB: the archive itself has 40 MB"


def test_a_deep_tree_needs_few_descriptors(unpack: Unpack) -> None:
    """Directories nested two thousand deep, with the 1024 descriptors that a process usually may open."""
    deep = "/".join(["d"] * 2000)
    layer = unpack(Archive().file(deep + "/f", b"x").link("g", deep + "/f").bytes(), "owned")
    assert (layer.path / "g").read_bytes() == b"x"


def test_types(unpack: Unpack) -> None:
    """Contiguous files and those of before POSIX are files; a name with a slash at its end was a directory then."""
    old = header(b"old", b"\0", b"%011o\0" % 1) + padded(b"x") + header(b"dir/", b"\0")
    tree = unpack(
        old + header(b"new", b"7", b"%011o\0" % 1) + padded(b"y") + header(b"d", DIRECTORY) + END, "owned"
    ).tree()
    assert {name: file.kind for name, file in tree.items()} == {
        ".": "dir", "old": "file", "dir": "dir", "new": "file", "d": "dir",
    }  # fmt: skip
    assert (tree["old"].content, tree["new"].content) == (b"x", b"y")


def test_link_entries_have_no_data(unpack: Unpack) -> None:
    """Some writers put the file's length into a hard link's header, and no data behind it."""
    linked = header(b"b", b"1", b"%011o\0" % 1, link=b"a")
    tree = unpack(header(b"a", FILE, b"%011o\0" % 1) + padded(b"x") + linked + header(b"c") + END, "owned").tree()
    assert tree["b"].link == "a" and "c" in tree
