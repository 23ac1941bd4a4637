"""The cache of unpacked layers: once each, whole or not at all, whoever else is at it and whoever is killed."""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rootless import room
from rootless.errors import InvalidError, NotFoundError, RootlessError
from rootless.idmap import Extent, IdMap
from rootless.kernel import mount, namespaces
from rootless.paths import Paths
from rootless.storage import digest as digests
from rootless.storage import layers as layers_module
from rootless.storage.blobs import Blobs
from rootless.storage.layers import Layers, LayerSource
from rootless.storage.owners import UnmappedIdError
from rootless.storage.remove import remove_tree
from tests.conftest import CHECKOUT
from tests.storage.archives import END, Archive, header
from tests.storage.shelf import leftovers, stored, trees

OUTSIDE = 70_000
"""An id that a map of 65537 has not."""


def test_a_stack_can_be_mounted_by_its_links(paths: Paths, layers: Layers, idmap: IdMap) -> None:
    """Top first, relative to the store, short: as the overlay driver hands them to mount(2)."""
    chain = [
        stored(paths, Archive().file("f", text, uid=n).file(f"only{n}")) for n, text in enumerate([b"0", b"1", b"2"])
    ]
    links = layers.ensure(chain, "mapped")
    assert all(link.startswith("l/") and len(link) == 12 for link in links)
    target = paths.store / "m"
    target.mkdir()

    def look() -> tuple[str, list[str], int]:
        os.chdir(paths.store)
        namespaces.unshare(namespaces.CLONE_NEWNS)
        mount.mount("overlay", "m", "overlay", mount.MS_RDONLY, f"lowerdir={':'.join(links)},userxattr")
        return (target / "f").read_text(), sorted(os.listdir(target)), (target / "f").stat().st_uid

    fd = room.open_room(paths, idmap)
    assert room.call(fd, look) == ("2", ["f", "only0", "only1", "only2"], 2)
    os.close(fd)
    assert leftovers(paths) == []


def test_layers_are_shared_and_named_by_their_chain(paths: Paths, layers: Layers) -> None:
    """Two images on one base have it once; the same archive on two bases is two layers."""
    base, other, top = (stored(paths, Archive().file(name)) for name in ("base", "other", "top"))
    one = layers.ensure([base, top], "mapped")
    two = layers.ensure([base, other, top], "mapped")
    assert one[1] == two[2] and one[0] != two[0] and len(trees(paths)) == 4
    assert trees(paths) == sorted(
        f"{chain.removeprefix('sha256:')}/mapped-{layers._idmap.tag}"
        for ids in (
            digests.chain_ids([base.diff_id, top.diff_id]),
            digests.chain_ids([base.diff_id, other.diff_id, top.diff_id])[1:],
        )
        for chain in ids
    )


def test_what_is_unpacked_needs_neither_blob_nor_write_access(paths: Paths, layers: Layers) -> None:
    """The fast path of every `run`, on a store that is mounted read-only as well."""
    source = stored(paths, Archive().file("f"))
    first = layers.ensure([source])
    Blobs(paths).remove(source.blob)
    for directory in paths.links, paths.layers, paths.tmp, paths.store:
        directory.chmod(0o500)
    try:
        assert layers.ensure([source]) == first
    finally:
        for directory in paths.store, paths.tmp, paths.layers, paths.links:
            directory.chmod(0o700)


def test_a_missing_link_is_made_again(paths: Paths, layers: Layers) -> None:
    source = stored(paths, Archive().file("f"))
    (link,) = layers.ensure([source])
    (paths.store / link).unlink()
    assert layers.ensure([source]) == [link] and (paths.store / link / "f").exists()


def test_a_taken_link_is_not_believed(paths: Paths, layers: Layers) -> None:
    """Ten characters can be found twice: the second layer then gets another name."""
    one, two = (stored(paths, Archive().file(name)) for name in ("one", "two"))
    (first,) = layers.ensure([one], "mapped")
    (second,) = layers.ensure([two], "mapped")
    target = os.readlink(paths.store / first)
    (paths.store / second).unlink()
    (paths.store / second).symlink_to(target)
    (third,) = layers.ensure([two], "mapped")
    assert third not in (first, second) and (paths.store / third / "two").exists()
    assert layers.ensure([two], "mapped") == [third]


REFUSED: dict[str, tuple[Callable[[Paths], LayerSource], type[RootlessError], str]] = {
    "another archive than promised": (
        lambda p: LayerSource(digests.of(b"other"), stored(p, Archive().file("f")).blob),
        InvalidError,
        "unpacks to sha256:.* but the image says",
    ),
    "more behind the end": (
        lambda p: LayerSource(digests.of(header(b"f") + END), stored(p, header(b"f") + END + b"more").blob),
        InvalidError,
        "but the image says",
    ),
    "a truncated blob": (
        lambda p: LayerSource(digests.of(b""), Blobs(p).add(gzip.compress(Archive().file("f").bytes())[:-5])[0]),
        InvalidError,
        "truncated",
    ),
    "a damaged blob": (
        lambda p: LayerSource(digests.of(b""), Blobs(p).add(gzip.compress(b"x" * 10_000)[:-4] + b"1234")[0]),
        InvalidError,
        "damaged|not a tar",
    ),
    "no tar in it": (lambda p: stored(p, b"<html>" * 100), InvalidError, "not a tar archive"),
    "another compression": (
        lambda p: LayerSource(digests.of(b""), Blobs(p).add(b"\xfd7zXZ\0" + bytes(100))[0]),
        InvalidError,
        "compressed with xz",
    ),
    "a hostile entry": (lambda p: stored(p, Archive().file("f").file("../f")), InvalidError, "leads out"),
    "no blob": (lambda _: LayerSource(digests.of(b"d"), digests.of(b"b")), NotFoundError, "pull the image again"),
    "no digest": (lambda p: LayerSource("latest", stored(p, b"").blob), InvalidError, "has no algorithm"),
}


@pytest.mark.parametrize("kind", ["mapped", "owned"])
@pytest.mark.parametrize("what", REFUSED)
def test_nothing_is_left_of_what_is_refused(what: str, kind: Any, paths: Paths, layers: Layers) -> None:
    """A clear error, no layer, no link, nothing in tmp/: as if it had not been tried."""
    make, error, message = REFUSED[what]
    good, bad = stored(paths, Archive().file("good")), make(paths)
    layers.ensure([good], kind)
    before = sorted(os.walk(paths.layers)), sorted(os.listdir(paths.links))
    with pytest.raises(error, match=message):
        layers.ensure([good, bad], kind)
    assert leftovers(paths) == []
    assert (sorted(os.walk(paths.layers)), sorted(os.listdir(paths.links))) == before


def test_auto_takes_owned_where_an_id_is_outside_the_map(paths: Paths, layers: Layers) -> None:
    """The whole stack is of one kind, and the second start doesn't try the other one again."""
    chain = [stored(paths, Archive().file("f")), stored(paths, Archive().file("dir/g", uid=OUTSIDE, gid=1))]
    stack = layers.stack(chain)
    assert stack.kind == "owned" and (paths.store / stack.links[0] / "dir/g").exists()
    assert os.getxattr(paths.store / stack.links[0] / "dir/g", "user.containers.override_stat") == b"70000:1:0644:file"
    Blobs(paths).remove(chain[1].blob)
    assert layers.stack(chain) == stack
    with pytest.raises(NotFoundError):
        layers.stack(chain, "mapped")


def test_mapped_names_the_file_and_the_id(paths: Paths, layers: Layers) -> None:
    chain = [stored(paths, Archive().file("dir/g", uid=5, gid=OUTSIDE))]
    with pytest.raises(UnmappedIdError, match=r"dir/g belongs to 5:70000.*; an administrator can enlarge") as caught:
        layers.ensure(chain, "mapped")
    assert (caught.value.path, caught.value.uid, caught.value.gid) == ("dir/g", 5, OUTSIDE)
    assert leftovers(paths) == [] and trees(paths) == []


def test_auto_takes_owned_with_a_single_id(paths: Paths) -> None:
    """An account without subordinate ids needs neither a room nor a helper for its layers."""
    uid, gid = os.geteuid(), os.getegid()
    single = IdMap((Extent(0, uid, 1),), (Extent(0, gid, 1),), "no subordinate ids")
    stack = Layers(paths, single).stack([stored(paths, Archive().file("f", uid=33).symlink("l", "f", uid=33))])
    assert stack.kind == "owned" and not paths.run.exists()
    (records,) = paths.layers.glob("*/owners.jsonl")
    assert records.read_text() == '{"stat":"33:0:0777:symlink","path":"l"}\n'


def test_read_only_roots_and_roots_of_others_are_published(paths: Paths, layers: Layers) -> None:
    """A directory moves only for who may write to it: Fedora's root has 0555, and a layer's may have any owner."""
    for fields in {"mode": 0o555}, {"mode": 0o700, "uid": 5, "gid": 6}:
        source = stored(paths, Archive().directory("./", **fields).file("f"))
        (link,) = layers.ensure([source], "mapped")
        assert stat.S_IMODE((paths.store / link).stat().st_mode) == fields["mode"]


def test_modes_are_exact_whatever_the_caller_has_set(paths: Paths, layers: Layers) -> None:
    """The engine's umask, a set-group-id directory and a default ACL on the store must not show in an image."""
    paths.tmp.chmod(0o2700)
    # acl(5), in the form of the kernel: user::rwx, user:1:rwx, group::---, mask::r-x, other::---
    entries = [(1, 7, -1), (2, 7, 1), (4, 0, -1), (16, 5, -1), (32, 0, -1)]
    acl = (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little") + permissions.to_bytes(2, "little") + (number & 0xFFFFFFFF).to_bytes(4, "little")
        for tag, permissions, number in entries
    )
    os.setxattr(paths.tmp, "system.posix_acl_default", acl)
    archive = Archive().directory("d", mode=0o777).file("d/f", mode=0o666).file("d/g", mode=0o2776, gid=9)
    umask = os.umask(0o077)
    try:
        for kind in "mapped", "owned":
            (link,) = layers.ensure(
                [stored(paths, archive if isinstance(archive, bytes) else (archive := archive.bytes()))], kind
            )  # type: ignore[arg-type]
            modes = [stat.S_IMODE((paths.store / link / name).stat().st_mode) for name in ("d", "d/f", "d/g")]
            assert modes == [0o777, 0o666, 0o2776 if kind == "mapped" else 0o776]
            assert "system.posix_acl_access" not in os.listxattr(paths.store / link / "d/f")
    finally:
        os.umask(umask)


def test_removal(paths: Paths, layers: Layers) -> None:
    """Every kind, the links to it and the directory are gone; other layers stay; the blobs can make it again."""
    chain = [stored(paths, Archive().file("f", uid=5)), stored(paths, Archive().file("g"))]
    mapped, owned = layers.ensure(chain, "mapped"), layers.ensure(chain, "owned")
    base, top = digests.chain_ids([source.diff_id for source in chain])
    assert layers.present() == sorted([base, top])
    layers.remove(top)
    layers.remove(top)
    assert layers.present() == [base] and leftovers(paths) == []
    assert sorted(os.listdir(paths.links)) == sorted(Path(link).name for link in (mapped[1], owned[1]))
    assert layers.ensure(chain, "mapped") == mapped


@pytest.fixture
def hidden_store(tmp_path: Path, idmap: IdMap) -> Iterator[Paths]:
    """A store that only real root can walk to, as /root is."""
    (tmp_path / "closed").mkdir(mode=0o700)
    found = Paths(store=tmp_path / "closed/s", run=tmp_path / "r")
    yield found
    remove_tree(tmp_path / "closed", lambda: room.open_room(found, idmap))


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="about the engine started by real root")
def test_started_by_real_root(hidden_store: Paths, idmap: IdMap) -> None:
    """Container root is a subordinate id: it owns the layers, reaches them from the store, and nobody else does."""
    paths = hidden_store
    root = idmap.uids[0].outside
    assert root != 0
    chain = [
        stored(paths, Archive().file("f", uid=0).file("g", uid=7, mode=0o4755)),
        stored(paths, Archive().link("h", "g")),
    ]
    links = Layers(paths, idmap).ensure(chain)
    layer = paths.store / links[1]
    assert ((layer / "f").stat().st_uid, (layer / "g").stat().st_uid) == (root, root + 7)
    for directory in paths.store, paths.layers, paths.links, layer.resolve().parent:
        status = directory.stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (0, idmap.gids[0].outside, 0o710), (
            directory
        )
    (paths.store / "m").mkdir()
    here = os.getcwd()
    os.chdir(paths.store)

    def look() -> list[str]:
        namespaces.unshare(namespaces.CLONE_NEWNS)
        mount.mount("overlay", "m", "overlay", mount.MS_RDONLY, f"lowerdir={':'.join(links)},userxattr")
        return sorted(os.listdir("m"))

    fd = room.open_room(paths, idmap)
    try:
        # The mount point itself is what the runtime makes passable.
        (paths.store / "m").chmod(0o755)
        assert room.call(fd, look) == ["f", "g", "h"]
    finally:
        os.chdir(here)
        os.close(fd)


FAST = """
import sys
from pathlib import Path
from rootless import idmap
from rootless.paths import Paths
from rootless.storage.layers import Layers, LayerSource
Layers(Paths(Path({store!r}), Path({store!r})), idmap.detect()).ensure([LayerSource({diff_id!r}, {diff_id!r})])
print(*sorted(m for m in sys.modules if m.split(".")[0] in {heavy!r} or m.startswith("rootless.storage")))
"""


def test_the_fast_path_imports_little(paths: Paths, layers: Layers) -> None:
    """Each `run` asks for its layers: decompression and the unpacker are for those that must be made."""
    import subprocess
    import sys

    source = stored(paths, Archive().file("f"))
    layers.ensure([source])
    heavy = ("isal", "zstandard", "trio", "tarfile", "threading")
    code = FAST.format(store=str(paths.store), diff_id=source.diff_id, heavy=heavy)
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert loaded == [f"rootless.storage{name}" for name in ("", ".blobs", ".digest", ".layers", ".remove")]


def test_the_links_name_says_which_layer_it_is() -> None:
    """Derived from what it leads to: the same on every machine, so a store can be copied."""
    name = layers_module._short_name("../layers/abc/owned 0")
    raw = hashlib.sha256(b"../layers/abc/owned 0").digest()
    assert name.isalnum() and name.isupper() and len(name) == 10
    assert name == __import__("base64").b32encode(raw).decode()[:10]
