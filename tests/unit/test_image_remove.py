"""Removal: Docker's rules about names, ids and containers, and that only what nobody needs goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rootless.errors import ConflictError, InvalidError, NotFoundError
from rootless.idmap import Extent, IdMap
from rootless.image import documents, garbage, index, pins, spec
from rootless.image.reference import parse
from rootless.image.remove import Removed, Use, prune, remove
from rootless.image.store import Image, ImageStore
from rootless.storage import digest as digests
from rootless.storage.layers import Layers
from tests.unit.image_maker import blobs, make_image, names, new_store

CONTAINER = "c" * 64


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return new_store(tmp_path)


def unpacked(store: ImageStore, image: Image) -> list[Path]:
    """Stand-ins for the unpacked layers: the caller's own directories, which need no room to be removed."""
    found = []
    for chain_id in image.chain_ids:
        directory = store.paths.layers / chain_id.partition(":")[2]
        (directory / "owned" / "etc").mkdir(parents=True, exist_ok=True)
        (directory / "lock").touch()
        link = store.paths.links / directory.name[:10].upper()
        if not link.is_symlink():
            link.symlink_to(f"../layers/{directory.name}/owned")
        found.append(directory)
    return found


def rm(store: ImageStore, text: str, *uses: Use, force: bool = False) -> list[str]:
    return _remove(store, text, uses, force).lines()


def _remove(store: ImageStore, text: str, uses: tuple[Use, ...], force: bool) -> Removed:
    return remove(store, text, lambda: uses, _layers(store), force=force)


def _layers(store: ImageStore) -> Layers:
    me = (Extent(0, os.getuid(), 1),), (Extent(0, os.getgid(), 1),)
    return Layers(store.paths, IdMap(*me))


def used(image: Image, *, running: bool = False) -> Use:
    return Use(CONTAINER, image.id, running, tuple(image.chain_ids))


def deleted(image: Image) -> list[str]:
    return [f"Deleted: {digest}" for digest in (image.id, *reversed(image.chain_ids))]


def test_the_last_name_takes_the_image_with_it(store: ImageStore) -> None:
    image = make_image(store, "a", layers=(b"1", b"2"))
    directories = unpacked(store, image)
    assert rm(store, "a") == ["Untagged: a:latest", *deleted(image)]
    assert blobs(store) == set()
    assert not any(directory.exists() for directory in directories)
    assert list(store.paths.links.iterdir()) == []
    assert store.read_index().manifests == []


def test_an_image_with_another_name_only_loses_this_one(store: ImageStore) -> None:
    image = make_image(store, "a")
    store.tag(image, parse("b:1"))
    assert rm(store, "a") == ["Untagged: a:latest"]
    assert names(store) == {image.short_id: ["b:1"]}


def test_what_two_images_share_stays_with_the_other(store: ImageStore) -> None:
    image, other = make_image(store, "a", layers=(b"1", b"2")), make_image(store, "b", layers=(b"1", b"3"))
    directories = unpacked(store, image) + unpacked(store, other)
    assert rm(store, "a") == ["Untagged: a:latest", f"Deleted: {image.id}", f"Deleted: {image.chain_ids[1]}"]
    assert store.resolve("b").id == other.id
    assert set(other.diff_ids) <= blobs(store)
    assert [directory.exists() for directory in directories] == [True, False, True, True]


def test_by_id_all_names_of_one_repository_go_but_several_repositories_need_force(store: ImageStore) -> None:
    image = make_image(store, "a")
    store.tag(image, parse("b:1"))
    with pytest.raises(ConflictError) as caught:
        rm(store, image.short_id)
    words = (
        f"conflict: unable to delete {image.short_id} (must be forced) - image is referenced in multiple repositories"
    )
    assert str(caught.value) == words
    assert rm(store, image.short_id, force=True) == ["Untagged: a:latest", "Untagged: b:1", *deleted(image)]
    image = make_image(store, "a")
    assert rm(store, image.id) == ["Untagged: a:latest", *deleted(image)]


@pytest.mark.parametrize("running", [False, True])
def test_an_image_in_use_keeps_its_last_name(store: ImageStore, running: bool) -> None:
    image = make_image(store, "a")
    with pytest.raises(ConflictError) as caught:
        rm(store, "a", used(image, running=running))
    assert str(caught.value) == (
        'conflict: unable to remove repository reference "a:latest" (must force) - container cccccccccccc is using its '
        f"referenced image {image.short_id}"
    )
    state = "running" if running else "stopped"
    how = "cannot be forced" if running else "must be forced"
    with pytest.raises(ConflictError) as caught:
        rm(store, image.short_id, used(image, running=running))
    words = (
        f"conflict: unable to delete {image.short_id} ({how}) - image is being used by {state} container cccccccccccc"
    )
    assert str(caught.value) == words
    assert names(store) == {image.short_id: ["a:latest"]}


@pytest.mark.parametrize("running", [False, True])
def test_forced_the_image_in_use_loses_its_name_and_nothing_else(store: ImageStore, running: bool) -> None:
    image = make_image(store, "a")
    directories, before = unpacked(store, image), blobs(store)
    assert rm(store, "a", used(image, running=running), force=True) == ["Untagged: a:latest"]
    assert names(store) == {image.short_id: []}
    assert blobs(store) == before
    assert all(directory.exists() for directory in directories)
    with pytest.raises(ConflictError, match="cannot be forced"):
        rm(store, image.short_id, used(image, running=running), force=True)
    assert rm(store, image.short_id) == deleted(image), "and goes when the container is gone"


def test_another_name_may_go_though_a_container_uses_the_image(store: ImageStore) -> None:
    image = make_image(store, "a")
    store.tag(image, parse("b:1"))
    assert rm(store, "b:1", used(image, running=True)) == ["Untagged: b:1"]


def test_the_digest_it_was_pulled_by_goes_with_the_last_tag_of_its_repository(store: ImageStore) -> None:
    image = make_image(store, "a")
    store.tag(image, parse("quay.io/a:1"))
    original = store.blobs.add(b'{"an": "original manifest"}')[0]
    store.tag(image, parse(f"a@{original}"))
    assert names(store) == {image.short_id: ["a:latest", "quay.io/a:1", f"a@{original}"]}
    assert rm(store, "a") == ["Untagged: a:latest", f"Untagged: a@{original}"]
    assert store.blobs.exists(original), "removal takes blobs only with an image"
    assert rm(store, "quay.io/a:1") == ["Untagged: quay.io/a:1", *deleted(image)]


def test_the_original_manifest_stays_as_long_as_a_digest_names_it_and_goes_with_the_image(store: ImageStore) -> None:
    """A multi-platform image's digest is of an index that lists manifests which are mostly not here."""
    image = make_image(store, "a")
    missing = spec.Descriptor(media_type=spec.OCI_MANIFEST, digest="sha256:" + "0" * 64, size=10)
    original = store.blobs.add(documents.write(spec.Index(schema_version=2, manifests=[missing, image.manifests[0]])))[
        0
    ]
    store.tag(image, parse(f"a@{original}"))
    other = make_image(store, "b", layers=(b"2",))
    rm(store, "b")
    assert original in blobs(store)
    assert not store.blobs.exists(other.id)
    rm(store, image.id)
    assert blobs(store) == set()


def test_what_is_not_there_is_told_in_dockers_words(store: ImageStore) -> None:
    with pytest.raises(NotFoundError, match="^No such image: a:latest$"):
        rm(store, "a")
    with pytest.raises(InvalidError, match="must be lowercase"):
        rm(store, "A", force=True)


def test_a_damaged_image_can_be_removed_by_its_name(store: ImageStore) -> None:
    image = make_image(store, "a")
    store.tag(image, parse("b"))
    store.blobs.remove(image.manifests[0].digest)
    assert sorted(rm(store, "a")) == ["Untagged: a:latest", "Untagged: b:latest"]
    assert store.read_index().manifests == []


def test_a_container_that_is_being_created_keeps_its_image(store: ImageStore) -> None:
    image = make_image(store, "a")
    with pins.hold(store.paths) as pin:
        pin.add(image.id)
        with pytest.raises(ConflictError, match="by a container that is being created"):
            rm(store, "a", force=True)
        assert prune(store, lambda _: True, tuple, _layers(store)).deleted == []
    assert rm(store, "a") == ["Untagged: a:latest", *deleted(image)]


def test_what_is_pinned_survives_the_image_that_had_it(store: ImageStore) -> None:
    """A pull finds a layer here already and counts on it; the image it came with is removed meanwhile."""
    image = make_image(store, "a", layers=(b"1", b"2"))
    directories = unpacked(store, image)
    with pins.hold(store.paths) as pin:
        pin.add(image.diff_ids[0], image.chain_ids[0])
        assert rm(store, "a") == ["Untagged: a:latest", f"Deleted: {image.id}", f"Deleted: {image.chain_ids[1]}"]
        assert blobs(store) == {image.diff_ids[0]}
        assert [directory.exists() for directory in directories] == [True, False]
        garbage.clean_up(store, _layers(store))
        assert directories[0].exists()
    # Whoever had it pinned made nothing of it after all: the next command takes it away.
    garbage.clean_up(store, _layers(store))
    assert (blobs(store), directories[0].exists()) == (set(), False)
    assert list(store.paths.pins.iterdir()) == []


def test_the_pins_of_a_killed_process_hold_nothing(store: ImageStore, tmp_path: Path) -> None:
    image = make_image(store, "a")
    script = (
        "import sys, time; from pathlib import Path\n"
        "from rootless.paths import Paths; from rootless.image import pins\n"
        "with pins.hold(Paths(Path(sys.argv[1]), Path(sys.argv[2]))) as pin:\n"
        "    pin.add(sys.argv[3]); print('ready', flush=True); time.sleep(60)"
    )
    words = [sys.executable, "-c", script, str(store.paths.store), str(store.paths.run), image.id]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(ConflictError):
            rm(store, "a")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert rm(store, "a") == ["Untagged: a:latest", *deleted(image)]
    assert list(store.paths.pins.iterdir()) == []


def test_prune_takes_the_chosen_that_no_container_uses(store: ImageStore) -> None:
    nameless, in_use, named = (
        make_image(store),
        make_image(store, layers=(b"2",)),
        make_image(store, "a", layers=(b"3",)),
    )
    removed = prune(store, lambda image: not image.names, lambda: [used(in_use)], _layers(store))
    assert removed.lines() == deleted(nameless)
    assert removed.size > 0
    assert names(store) == {in_use.short_id: [], named.short_id: ["a:latest"]}


def test_prune_takes_what_nothing_refers_to_once_it_is_old(store: ImageStore) -> None:
    """skopeo writes blobs first and the index last, and does not know our pins."""
    image = make_image(store, "a")
    directories = unpacked(store, image)
    orphan, young = store.blobs.add(b"orphan")[0], store.blobs.add(b"young")[0]
    old = time.time() - garbage.GRACE - 10
    for digest in (orphan, image.id):
        os.utime(store.blobs.path(digest), (old, old))
    forgotten = store.paths.layers / ("f" * 64)
    (forgotten / "owned").mkdir(parents=True)
    removed = prune(store, lambda _: False, tuple, _layers(store))
    assert (removed.deleted, removed.size) == ([], len(b"orphan"))
    assert not store.blobs.exists(orphan)
    assert store.blobs.exists(young)
    assert store.resolve("a").id == image.id
    assert not forgotten.exists()
    assert all(directory.exists() for directory in directories)


def test_layers_under_a_container_survive_even_a_damaged_image(store: ImageStore) -> None:
    image = make_image(store, "a")
    directories = unpacked(store, image)
    store.blobs.remove(image.id)
    prune(store, lambda _: True, lambda: [used(image)], _layers(store))
    assert all(directory.exists() for directory in directories)


def test_a_kill_between_index_and_blobs_leaves_garbage_that_prune_takes(
    store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = make_image(store, "a")
    with monkeypatch.context() as patched:
        patched.setattr(garbage, "release", _killed)
        with pytest.raises(KeyboardInterrupt):
            rm(store, "a")
    assert store.all() == []
    old = time.time() - garbage.GRACE - 10
    for digest in blobs(store):
        os.utime(store.blobs.path(digest), (old, old))
    assert image.id in blobs(store)
    prune(store, lambda _: False, tuple, _layers(store))
    assert blobs(store) == set()


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_failed_operation_removes_what_it_brought_and_not_what_others_have(store: ImageStore) -> None:
    image = make_image(store, "a")

    def fail() -> None:
        with garbage.transaction(store) as pin:
            pin.add(store.blobs.add(b"new")[0], image.diff_ids[0])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not store.blobs.exists(digests.of(b"new"))
    assert store.blobs.exists(image.diff_ids[0])


def test_the_index_forgets_a_name_in_either_spelling(store: ImageStore) -> None:
    make_image(store, "a")
    with store.changing() as contents:
        index.take(contents, parse("docker.io/library/a:latest"))
    assert [entry.ref_name for entry in store.read_index().manifests] == [""]
