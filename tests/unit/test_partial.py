"""Blobs that are arriving, and the room that is asked for before they do."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from rootless.errors import InvalidError, StoreError
from rootless.idmap import detect
from rootless.image import partial, space
from rootless.image.partial import Partial
from rootless.image.store import ImageStore
from rootless.storage import digest as digests
from rootless.storage.layers import Layers
from tests.unit.image_maker import make_image, new_store

DATA = b"0123456789" * 1000
DIGEST = digests.of(DATA)


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return new_store(tmp_path)


def begin(store: ImageStore) -> Partial:
    taken = Partial.take(store.paths, DIGEST)
    assert taken is not None
    return taken


def test_one_writer_at_a_time(store: ImageStore) -> None:
    first = begin(store)
    assert Partial.take(store.paths, DIGEST) is None
    first.close()
    begin(store).close()


def test_a_second_run_goes_on(store: ImageStore) -> None:
    first = begin(store)
    first.write(DATA[:3000])
    first.close()
    second = begin(store)
    assert second.position == partial.size(store.paths, DIGEST) == 3000
    second.recall()
    second.write(DATA[3000:])
    second.verify(len(DATA))
    second.publish(store.blobs)
    second.close()
    assert store.blobs.read(DIGEST, 1 << 20) == DATA
    assert list(partial.every(store.paths)) == []


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"x", DATA[:-1] + b"x", b""])
def test_what_is_something_else_goes(store: ImageStore, data: bytes) -> None:
    taken = begin(store)
    taken.write(data)
    with pytest.raises(InvalidError, match="something else"):
        taken.verify(len(DATA))
    taken.close()
    assert (partial.size(store.paths, DIGEST), store.blobs.exists(DIGEST)) == (0, False)


def test_who_waited_for_what_was_published_is_told(store: ImageStore) -> None:
    """Its file has become the blob: to append to that would be a disaster."""
    place = partial.path(store.paths, DIGEST)
    taken = begin(store)
    taken.write(DATA)
    waiting = os.open(place, os.O_RDWR)
    taken.publish(store.blobs)
    taken.close()
    assert os.fstat(waiting).st_ino == store.blobs.path(DIGEST).stat().st_ino
    os.close(waiting)
    again = begin(store)
    assert again.position == 0
    again.discard()
    again.close()


def test_the_sweep_takes_what_is_old_and_nobodys(store: ImageStore) -> None:
    taken = begin(store)
    taken.write(DATA)
    os.utime(partial.path(store.paths, DIGEST), (1, 1))
    assert partial.sweep(store.paths, 3600) == 0
    taken.close()
    assert partial.sweep(store.paths, 3600) == len(DATA)
    begin(store).close()
    assert partial.sweep(store.paths, 3600) == 0


def test_space_is_checked_before(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is here already is not asked for again."""
    image = make_image(store, "x:1", layers=(b"a" * 1000, b"b" * 500))
    layers = Layers(store.paths, detect())
    assert space.needed(store, layers, image.manifest, image.diff_ids) == 1500
    store.blobs.remove(image.layers[0].blob.digest)
    assert space.needed(store, layers, image.manifest, image.diff_ids) == 2500
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=2499, f_frsize=1))
    with pytest.raises(StoreError, match="needs at least 2500 bytes in .*, where 2499 are free"):
        space.check(store, layers, image.manifest, image.diff_ids, "x:1")
