"""What kind of document a registry sent, and which entry of an index is meant."""

from __future__ import annotations

import json

import pytest

from rootless.errors import InvalidError, NotFoundError
from rootless.image import manifests, spec
from rootless.image.spec import Descriptor, Index, Platform

DIGEST = "sha256:" + "1" * 64


def entry(platform: str, number: int = 0) -> Descriptor:
    system, architecture, *variant = platform.split("/")
    made_for = Platform(os=system, architecture=architecture, variant=variant[0] if variant else "")
    digest = f"sha256:{number:064x}"
    return Descriptor(media_type=spec.OCI_MANIFEST, digest=digest, size=1, platform=made_for)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/arm64", "linux/arm64/v8"),
        ("linux/arm/v7", "linux/arm/v7"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/v8", "linux/arm/v7"),
        ("linux/arm/v6", "linux/arm/v5"),
        ("linux/arm/v4", None),
        ("linux/amd64/v3", "linux/amd64/v2"),
        ("linux/s390x", None),
    ],
)
def test_the_nearest_variant_that_runs(wanted: str, expected: str | None) -> None:
    there = ["windows/amd64", "linux/amd64", "linux/amd64/v2", "linux/arm/v5", "linux/arm/v7", "linux/arm64/v8"]
    index = Index(schema_version=2, manifests=[entry(platform, n) for n, platform in enumerate(there)])
    platform = entry(wanted).platform
    assert platform is not None
    if expected is None:
        with pytest.raises(NotFoundError, match=f"no matching manifest for {wanted}"):
            manifests.choose(index, platform, "x")
    else:
        assert manifests.choose(index, platform, "x").digest == f"sha256:{there.index(expected):064x}"


def test_attestations_are_no_platform() -> None:
    """buildx lists documents about an image beside it, for `unknown/unknown`."""
    index = Index(schema_version=2, manifests=[entry("unknown/unknown", 1), entry("linux/amd64", 2)])
    assert manifests.choose(index, Platform(os="linux", architecture="amd64"), "x").digest.endswith("2")


@pytest.mark.parametrize(
    ("document", "said", "kind"),
    [
        ({"schemaVersion": 2, "manifests": []}, "", spec.OCI_INDEX),
        ({"schemaVersion": 2, "manifests": []}, "text/plain", spec.OCI_INDEX),
        ({"schemaVersion": 2, "layers": [], "config": {}}, "application/octet-stream", spec.OCI_MANIFEST),
        ({"schemaVersion": 2, "layers": [], "config": {}}, spec.DOCKER_MANIFEST, spec.DOCKER_MANIFEST),
        ({"schemaVersion": 2, "mediaType": spec.DOCKER_INDEX, "manifests": []}, spec.DOCKER_INDEX, spec.DOCKER_INDEX),
    ],
)
def test_the_kind_of_a_document(document: dict[str, object], said: str, kind: str) -> None:
    assert manifests.received(json.dumps(document).encode(), said, "", "x").media_type == kind


@pytest.mark.parametrize(
    "document",
    [
        {"schemaVersion": 2, "mediaType": spec.OCI_INDEX, "layers": []},
        {"schemaVersion": 2, "manifests": [], "config": {}},
        {"schemaVersion": 2, "mediaType": "application/vnd.example+json", "layers": []},
        {"schemaVersion": 1},
        [],
    ],
)
def test_what_is_neither(document: object) -> None:
    with pytest.raises(InvalidError):
        manifests.received(json.dumps(document).encode(), "", "", "x")


def test_a_converted_manifest_is_over_the_same_blobs() -> None:
    layer = {"mediaType": f"{spec.DOCKER_LAYER}.gzip", "digest": DIGEST, "size": 5}
    config = {"mediaType": spec.DOCKER_CONFIG, "digest": DIGEST, "size": 6}
    raw = {"schemaVersion": 2, "mediaType": spec.DOCKER_MANIFEST, "config": config, "layers": [layer]}
    found = manifests.converted(manifests.received(json.dumps(raw).encode(), "", "", "x"))
    document = json.loads(found.data)
    assert document["mediaType"] == spec.OCI_MANIFEST
    assert document["config"] == config | {"mediaType": spec.OCI_CONFIG}
    assert document["layers"] == [layer | {"mediaType": f"{spec.OCI_LAYER}+gzip"}]
    assert manifests.converted(found) is found
