"""The frozen format of the store (docs/decisions/0004): each sample is read and written back byte by byte.

A failure here is a change of the format. It is made right by keeping the format, or by a new one with a migration and a
decision, never by a new sample alone.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from rootless.container.record import decode_record, decode_state, merge
from rootless.image import documents, layout, spec
from rootless.image.documents import Document
from rootless.image.steps import Step
from rootless.image.store import ImageStore
from rootless.network.record import decode_leases, decode_network
from rootless.paths import Paths
from rootless.storage import ownerfile
from tests.unit.image_maker import new_store

GOLDEN = Path(__file__).parent / "golden" / "store"
DECISION = Path(__file__).parents[2] / "docs/decisions/0004-store-format.md"
CONTAINER = "containers/e7b3b2c1a0f94d6d8b5a4c3e2f1d0c9b8a7f6e5d4c3b2a1908f7e6d5c4b3a291"
MANIFEST = "blobs/sha256/19b88f9c9d7bfee88c70ece7ebbda1e1d2489c7099f2e5cf4f7f7d434ece6da2"
CONFIG = "blobs/sha256/452fa07b87d5afc5b9a66dbe94357058cdc0ee9bdbdd2ce38d51e474267306b2"
NETWORK, LEASES = "networks/blue.json", "networks/blue.leases"
STEP = f"build/steps/{'5e' * 32}.json"
OWNERS = "layers/1bccf10afce5c1ffe31381419930ad565c1436eaeb1ca680494b0663e0028419/owners.jsonl"


def _document(kind: type[Document]) -> Callable[[Path], bytes]:
    return lambda path: documents.write(documents.read_whole(path.read_bytes(), kind, path.name))


def _record(path: Path) -> bytes:
    return merge(path.read_bytes(), decode_record(path.read_bytes(), path.name))


def _state(path: Path) -> bytes:
    return merge(path.read_bytes(), decode_state(path.read_bytes()))


def _network(path: Path) -> bytes:
    return merge(path.read_bytes(), decode_network(path.read_bytes(), path.name))


def _leases(path: Path) -> bytes:
    return msgspec.json.encode([raw for _, raw in decode_leases(path.read_bytes())])


WAYS: dict[str, Callable[[Path], bytes]] = {
    "version.json": _document(layout.Version),
    "oci-layout": _document(spec.Layout),
    "index.json": _document(spec.Index),
    MANIFEST: _document(spec.Manifest),
    CONFIG: _document(spec.ImageConfig),
    f"{CONTAINER}/config.json": _record,
    f"{CONTAINER}/state.json": _state,
    NETWORK: _network,
    LEASES: _leases,
    STEP: _document(Step),
    OWNERS: lambda path: ownerfile.dump(ownerfile.load(path)),
}


@pytest.mark.parametrize("name", WAYS)
def test_each_document_is_written_back_as_it_was(name: str) -> None:
    assert WAYS[name](GOLDEN / name) == (GOLDEN / name).read_bytes()


def test_no_sample_is_forgotten() -> None:
    assert {str(path.relative_to(GOLDEN)) for path in GOLDEN.rglob("*") if path.is_file()} == WAYS.keys()


def test_blobs_are_named_by_what_is_in_them() -> None:
    for path in (GOLDEN / "blobs/sha256").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    """The sample as somebody's store, moved to another place and without the empty directories."""
    shutil.copytree(GOLDEN, tmp_path / "store")
    return ImageStore(Paths(store=tmp_path / "store", run=tmp_path / "run"))


def test_the_sample_is_a_store_that_works(store: ImageStore) -> None:
    image = store.resolve("alpine:3.20")
    assert [str(name) for name in image.names] == ["alpine:3.20", "quay.io/someone/tool:v1"]
    assert [str(name) for name in image.digests] == [
        "alpine@sha256:33735bd63cf84d7e388d9f6d297d348c523c044410f553bd878c6d7829612735"
    ]
    assert image.run.healthcheck is not None
    assert image.run.healthcheck.start_interval == 10**9
    assert image.run.env == ["PATH=/bin", "GREETING=Grüße"]
    assert [step.empty_layer for step in image.config.history or []] == [False, True]


def test_a_change_keeps_what_this_version_does_not_know(store: ImageStore) -> None:
    before = json.loads(store.paths.index.read_bytes())
    image = store.resolve("alpine:3.20")
    with store.changing() as contents:
        contents.manifests = [entry for entry in contents.manifests if entry.ref_name != "quay.io/someone/tool:v1"]
    after = json.loads(store.paths.index.read_bytes())
    assert after["future"] == before["future"]
    assert [entry.get("data") for entry in after["manifests"]] == [None, None, None, "e30=", None]
    assert store.find(image.id).names == image.names[:1]


def test_every_directory_that_a_store_has_stands_in_the_decision(tmp_path: Path) -> None:
    made = {path.name for path in new_store(tmp_path).paths.store.iterdir()}
    tree = DECISION.read_text().partition("### The tree")[2].split("```")[1]
    told = {
        word.rstrip("/").partition("/")[0] for line in tree.splitlines() if line[:2] == "  " for word in line.split()
    }
    assert made <= told
