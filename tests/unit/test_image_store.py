"""The store of images: what a name, an id or a digest finds, how names move, and what damage does."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from rootless.errors import ConflictError, InvalidError, NotFoundError, RootlessError, StoreError
from rootless.image import layout, reference, spec
from rootless.image.reference import parse
from rootless.image.store import ImageStore
from rootless.storage import digest as digests
from tests.unit.image_maker import blobs, make_image, names, new_store


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return new_store(tmp_path)


def index(store: ImageStore) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(store.paths.index.read_bytes())
    return found


def ref_names(store: ImageStore) -> list[str]:
    return sorted(e.get("annotations", {}).get(spec.REF_NAME, "-") for e in index(store)["manifests"])


def test_a_new_store_is_a_valid_layout_that_nobody_else_may_enter(store: ImageStore) -> None:
    assert json.loads(store.paths.oci_layout.read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert index(store) == {"schemaVersion": 2, "mediaType": spec.OCI_INDEX, "manifests": []}
    assert json.loads(store.paths.version.read_bytes()) == {"format": 1, "min_reader": 1}
    assert stat.S_IMODE(store.paths.store.stat().st_mode) == 0o700
    assert store.all() == []


def test_an_image_is_listed_by_both_spellings_of_its_name(store: ImageStore) -> None:
    make_image(store, "alpine")
    assert ref_names(store) == ["alpine:latest", "docker.io/library/alpine:latest"]
    make_image(store, "quay.io/a/b:1", layers=(b"2",))
    assert ref_names(store)[2:] == ["quay.io/a/b:1"]


@pytest.mark.parametrize(
    "text",
    [
        "alpine",
        "alpine:latest",
        "docker.io/alpine",
        "docker.io/library/alpine:latest",
        "index.docker.io/library/alpine",
    ],
)
def test_every_spelling_finds_the_image(store: ImageStore, text: str) -> None:
    image = make_image(store, "alpine")
    found = store.resolve(text)
    assert (found.id, [str(n) for n in found.names]) == (image.id, ["alpine:latest"])


def test_ids_digests_and_their_beginnings_find_the_image(store: ImageStore) -> None:
    image, other = make_image(store, "a"), make_image(store, "b", layers=(b"2",))
    digits = image.id.removeprefix("sha256:")
    common = next(n for n in range(64) if digits[n] != other.id.removeprefix("sha256:")[n])
    manifest = image.manifests[0].digest
    texts = [image.id, digits, digits[:12], f"sha256:{digits[:12]}", manifest, manifest.removeprefix("sha256:")]
    texts += [f"a@{manifest}", f"a:whatever@{manifest}", digits[: common + 1]]
    assert {store.resolve(text).id for text in texts} == {image.id}


def test_a_beginning_that_two_ids_share_is_refused(store: ImageStore) -> None:
    ids: dict[str, str] = {}
    for number in range(17):  # among 17 images two begin with the same digit
        image = make_image(store, layers=(b"%d" % number,))
        if image.id[7] in ids:
            break
        ids[image.id[7]] = image.id
    with pytest.raises(ConflictError, match="multiple images found with provided prefix"):
        store.resolve(image.id[7])


def test_a_name_goes_before_an_id_of_the_same_spelling(store: ImageStore) -> None:
    image = make_image(store, "a")
    other = make_image(store, image.short_id, layers=(b"2",))
    assert store.resolve(image.short_id).id == other.id


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x", "No such image: x:latest"),
        ("x:1", "No such image: x:1"),
        ("quay.io/x/y", "No such image: quay.io/x/y:latest"),
    ]
    + [("0" * 64, f"No such image: {'0' * 64}"), ("sha256:" + "0" * 64, f"No such image: sha256:{'0' * 64}")]
    + [("x@sha256:" + "0" * 64, f"No such image: x@sha256:{'0' * 64}"), ("deadbeef", "No such image: deadbeef:latest")],
)
def test_what_is_not_there_is_told_in_dockers_words(store: ImageStore, text: str, words: str) -> None:
    make_image(store, "a")
    with pytest.raises(NotFoundError) as caught:
        store.resolve(text)
    assert caught.value.message == words


def test_a_name_that_can_be_none_is_refused(store: ImageStore) -> None:
    with pytest.raises(InvalidError, match="must be lowercase"):
        store.resolve("Foo")


def test_a_name_moves_and_its_old_image_stays_without_one(store: ImageStore) -> None:
    old, new = make_image(store, "a"), make_image(store, "a", layers=(b"2",))
    assert names(store) == {old.short_id: [], new.short_id: ["a:latest"]}
    assert ref_names(store) == ["-", "a:latest", "docker.io/library/a:latest"]
    store.tag(store.resolve(old.id), parse("b").tagged())
    assert names(store) == {old.short_id: ["b:latest"], new.short_id: ["a:latest"]}
    assert "-" not in ref_names(store)


def test_giving_an_image_the_name_it_has_changes_nothing(store: ImageStore) -> None:
    image = make_image(store, "a")
    before = index(store)
    store.tag(image, parse("a").tagged())
    make_image(store, "a")
    assert index(store) == before


def test_manifests_of_one_configuration_are_one_image(store: ImageStore) -> None:
    """The same image pulled from two registries that compress differently."""
    image = make_image(store, "a")
    manifest = image.manifest.changed(annotations={"compressed": "otherwise"})
    from rootless.image import documents

    digest, size = store.blobs.add(documents.write(manifest))
    with store.changing() as contents:
        entry = spec.Descriptor(
            media_type=spec.OCI_MANIFEST, digest=digest, size=size, annotations={spec.REF_NAME: "quay.io/a:1"}
        )
        contents.manifests.append(entry)
    assert names(store) == {image.short_id: ["a:latest", "quay.io/a:1"]}
    assert [str(name) for name in store.find("a").names] == ["a:latest", "quay.io/a:1"]
    assert len(store.find("a").manifests) == 2


def test_names_that_other_tools_wrote(store: ImageStore) -> None:
    """skopeo and umoci put any text into a layout: what is a reference is a name, what is not is none."""
    image = make_image(store, "a")
    with store.changing() as contents:
        for name in ("b", "3.20", "not a name!", "Upper"):
            contents.manifests.append(contents.manifests[0].changed(annotations={spec.REF_NAME: name}))
    assert names(store) == {image.short_id: ["3.20:latest", "a:latest", "b:latest"]}
    store.tag(image, parse("c").tagged())
    assert {"not a name!", "Upper"} <= set(ref_names(store))


def test_where_the_spellings_disagree_the_full_one_counts(store: ImageStore) -> None:
    """`skopeo copy ... oci:STORE:alpine:latest` replaces the descriptor with the familiar name only."""
    image, other = make_image(store, "a"), make_image(store, layers=(b"2",))
    with store.changing() as contents:
        entry = next(e for e in contents.manifests if e.ref_name == "a:latest")
        entry.digest, entry.size = other.manifests[0].digest, other.manifests[0].size
    assert store.resolve("a").id == image.id
    store.tag(image, parse("a").tagged())
    assert names(store) == {image.short_id: ["a:latest"], other.short_id: []}


def test_entries_that_are_no_images_are_left_alone(store: ImageStore) -> None:
    foreign = {"mediaType": "application/x.signature", "digest": "sha256:" + "0" * 64, "size": 1, "future": True}
    with store.changing():
        pass
    store.paths.index.write_text(json.dumps(index(store) | {"manifests": [foreign], "x": 1}))
    make_image(store, "a")
    assert index(store)["manifests"][0] == foreign
    assert index(store)["x"] == 1
    assert len(store.all()) == 1


def test_a_damaged_image_is_told_and_the_others_are_still_there(store: ImageStore) -> None:
    image, other = make_image(store, "a"), make_image(store, "b", layers=(b"2",))
    store.blobs.path(image.id).write_bytes(b"{}")
    problems: list[RootlessError] = []
    assert [found.id for found in store.all(problems.append)] == [other.id]
    assert "is damaged" in str(problems[0])
    with pytest.raises(StoreError, match="image docker.io/library/a:latest is damaged: .*" + image.id):
        store.resolve("a")
    store.blobs.remove(image.id)
    with pytest.raises(StoreError, match="is damaged: .* is not in the store"):
        store.resolve("a")
    assert store.resolve(other.id[7:20]).id == other.id, "a search by id passes over what it can't read"


def test_a_damaged_index_is_refused_not_emptied(store: ImageStore) -> None:
    store.paths.index.write_text("{")
    for act in (store.all, lambda: make_image(store, "a")):
        with pytest.raises(InvalidError, match=r"index\.json is not valid"):
            act()
    assert store.paths.index.read_text() == "{"


def test_a_failed_change_leaves_the_index_alone(store: ImageStore) -> None:
    make_image(store, "a")
    before = store.paths.index.read_bytes()

    def fail() -> None:
        with store.changing() as contents:
            contents.manifests.clear()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.paths.index.read_bytes() == before


def test_a_newer_store_is_refused_in_one_line_unless_it_says_that_we_may_read_it(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    make_image(store, "a")
    store.paths.version.write_text('{"format": 9, "min_reader": 1, "future": true}')
    assert len(ImageStore(store.paths).all()) == 1
    store.paths.version.write_text('{"format": 9, "min_reader": 2}')
    with pytest.raises(StoreError, match=r"has format 9, this version reads up to 1; use the newer rootless") as caught:
        ImageStore(store.paths)
    assert "\n" not in str(caught.value)


def test_a_store_whose_making_was_interrupted_is_finished(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    make_image(store, "a")
    store.paths.version.unlink()
    (store.paths.store / "l").rmdir()
    assert len(ImageStore(store.paths).all()) == 1
    assert store.paths.version.exists()
    assert store.paths.links.is_dir()


def test_a_store_that_may_not_be_written_can_be_read(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    store = new_store(tmp_path)
    image = make_image(store, "a")
    for directory in (store.paths.store, store.paths.tmp):
        directory.chmod(0o500)
    try:
        read = ImageStore(store.paths)
        assert read.resolve("a").id == image.id
        assert len(read.all()) == 1
    finally:
        store.paths.store.chmod(0o700)
        store.paths.tmp.chmod(0o700)


def test_a_store_that_can_not_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(StoreError, match=r"store can't be made: "):
        new_store(tmp_path)


def test_many_writers_at_once_lose_no_name(store: ImageStore) -> None:
    image = make_image(store)

    def tag(number: int) -> None:
        own = ImageStore(store.paths)
        for letter in "abcd":
            own.tag(image, parse(f"{letter}:{number}"))

    threads = [threading.Thread(target=tag, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.resolve("a:0").names) == 24


def test_a_store_can_be_moved(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    image = make_image(store, "a")
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    store.paths.store.rename(moved / "store")
    assert new_store(moved).resolve("a").id == image.id


def test_documents_are_in_place_before_the_index_tells_of_them(
    store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    write = ImageStore.write_index

    def look(self: ImageStore, contents: spec.Index) -> None:
        seen.extend(self.blobs.exists(entry.digest) for entry in contents.manifests)
        write(self, contents)

    monkeypatch.setattr(ImageStore, "write_index", look)
    make_image(store, "a")
    assert seen == [True, True]


def test_the_chain_names_the_whole_root_filesystem(store: ImageStore) -> None:
    image = make_image(store, "a", layers=(b"1", b"2"))
    assert image.chain_ids == digests.chain_ids(image.diff_ids)
    assert [layer.blob.digest for layer in image.layers] == image.diff_ids
    assert store.size(image) == 2
    assert len(blobs(store)) == 4


def test_the_layout_is_prepared_once(store: ImageStore) -> None:
    """What is there is only read: two stats must not differ in a byte or a time."""
    before = {path: path.stat().st_mtime_ns for path in store.paths.store.rglob("*")}
    layout.prepare(store.paths)
    assert {path: path.stat().st_mtime_ns for path in store.paths.store.rglob("*")} == before


def test_the_newest_comes_first_whatever_zone_its_time_was_written_in(store: ImageStore) -> None:
    times = ["2024-01-01T10:00:00Z", "2024-01-01T11:30:00+02:00", "2024-01-01T10:00:00.5Z", "garbage"]
    made = [make_image(store, f"a:{n}", layers=(b"%d" % n,), created=time) for n, time in enumerate(times)]
    assert [image.id for image in store.all()] == [made[n].id for n in (2, 0, 1, 3)]


def test_references_sort_and_print_as_people_write_them(store: ImageStore) -> None:
    image = make_image(store, "b:2")
    for name in ("b:1", "quay.io/a/a:1", "a:1"):
        store.tag(image, reference.parse(name))
    assert [str(name) for name in store.find("b:1").names] == ["a:1", "b:1", "b:2", "quay.io/a/a:1"]
