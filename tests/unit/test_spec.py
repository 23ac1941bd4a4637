"""Documents from outside: what is refused and why, and that rewriting one loses nothing of it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rootless.errors import InvalidError
from rootless.image import documents, spec

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"


def descriptor(**changes: Any) -> dict[str, Any]:
    return {"mediaType": spec.OCI_CONFIG, "digest": DIGEST, "size": 2} | changes


def manifest(**changes: Any) -> bytes:
    layer = descriptor(mediaType=spec.OCI_LAYER)
    return json.dumps({"schemaVersion": 2, "config": descriptor(), "layers": [layer]} | changes).encode()


def config(**changes: Any) -> bytes:
    rootfs = {"type": "layers", "diff_ids": [DIGEST]}
    return json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs} | changes).encode()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "m is not valid: "),
        (b"[]", "m is not valid: Expected `object`, got `array`"),
        (b"{}", "m is not valid: Object missing required field `schemaVersion`"),
        (b"\xff", "m is not valid: "),
        (b'"\xff"', "m is not valid: "),
        (b"[" * 200_000, "m is not valid: "),
        (b'{"schemaVersion": 2, "x":' + b"[" * 200_000, "m is not valid: "),
        (manifest(schemaVersion=1), "m has schema version 1"),
        (manifest(schemaVersion="2"), "m is not valid: Expected `int`, got `str` - at `$.schemaVersion`"),
        (manifest(layers=None), "m is not valid: Expected `array`, got `null` - at `$.layers`"),
        (
            manifest(config=descriptor(mediaType="application/x.helm")),
            "m is not of a container image but of 'application",
        ),
        (manifest(config=descriptor(digest="../../etc/passwd")), "digest '../../etc/passwd' has no algorithm"),
        (manifest(config=descriptor(digest="sha256:../../" + "a" * 58)), "digest 'sha256:../../"),
        (manifest(config=descriptor(digest="md5:" + "a" * 32)), "digest 'md5:"),
        (manifest(config=descriptor(digest=DIGEST + "\n")), "digest 'sha256:"),
        (manifest(config=descriptor(size=-1)), "m, its configuration: a size of -1 bytes is not acceptable"),
        (manifest(config=descriptor(size=9 << 20)), "m, its configuration: a size of 9437184 bytes"),
        (manifest(config=descriptor(size=1 << 70)), "m, its configuration: a size of 1180591620717411303424 bytes"),
        (manifest(layers=[descriptor(size=-5)]), "m, layer 0: a size of -5 bytes"),
        (manifest(layers=[descriptor()] * 121), "m has 121 layers; at most 120"),
    ],
)
def test_a_bad_manifest_is_refused_with_what_is_wrong(data: bytes, words: str) -> None:
    with pytest.raises(InvalidError) as caught:
        spec.read_manifest(data, "m")
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (config(rootfs={"type": "disk", "diff_ids": []}), "c has a root filesystem of type 'disk'"),
        (config(rootfs={"type": "layers", "diff_ids": ["latest"]}), "digest 'latest'"),
        (config(rootfs=None), "c is not valid: Expected `object`, got `null` - at `$.rootfs`"),
        (config(config={"Env": "A=1"}), "c is not valid: Expected `array | null`, got `str` - at `$.config.Env`"),
        (config(config={"Cmd": [1]}), "c is not valid: Expected `str`, got `int` - at `$.config.Cmd[0]`"),
        (config(os=7), "c is not valid: Expected `str`, got `int` - at `$.os`"),
    ],
)
def test_a_bad_configuration_is_refused_with_what_is_wrong(data: bytes, words: str) -> None:
    with pytest.raises(InvalidError) as caught:
        spec.read_config(data, "c")
    assert str(caught.value).startswith(words)


def test_layers_and_diff_ids_must_be_as_many() -> None:
    """Otherwise a layer could be unpacked that no diff id verifies."""
    found = spec.read_manifest(manifest(layers=[]), "m")
    with pytest.raises(InvalidError, match="^m has 0 layers but its configuration names 1$"):
        spec.check_pair(found, spec.read_config(config(), "c"), "m")


def test_null_and_missing_both_mean_that_the_image_says_nothing() -> None:
    names = ("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "Healthcheck")
    empty = spec.read_config(config(config=dict.fromkeys(names)), "c").run
    assert empty == spec.read_config(config(), "c").run == spec.read_config(config(config=None), "c").run
    assert spec.read_config(config(config={"ExposedPorts": {"80/tcp": None}}), "c").run.exposed_ports == {
        "80/tcp": None
    }


def test_what_this_version_does_not_know_is_written_back_at_every_depth() -> None:
    whole = {
        "schemaVersion": 2,
        "manifests": [
            descriptor(
                annotations={"a": "b"},
                data="e30=",
                platform={"architecture": "arm", "os": "linux", "os.features": ["x"]},
            ),
            descriptor(),
        ],
        "x.future": {"deep": [1, {"er": None}]},
    }
    index = documents.read_whole(json.dumps(whole).encode(), spec.Index, "index")
    assert json.loads(documents.write(index)) == whole
    changed = index.changed(manifests=[index.manifests[1], index.manifests[0].changed(annotations=None)])
    expected = [whole["manifests"][1], {k: v for k, v in whole["manifests"][0].items() if k != "annotations"}]  # type: ignore[index]
    assert json.loads(documents.write(changed)) == whole | {"manifests": expected}


def test_a_known_field_wins_over_an_unknown_one_of_the_same_name() -> None:
    """`media_type` is a name of Python's here; in JSON it is just another unknown field."""
    data = json.dumps(descriptor(media_type="x", unknown={"a": 1})).encode()
    read = documents.read_whole(data, spec.Descriptor, "d")
    assert read.media_type == spec.OCI_CONFIG
    assert json.loads(documents.write(read)) == json.loads(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(database=None, deadline=None)
@given(st.dictionaries(st.text(max_size=8), json_values, max_size=4))
def test_any_unknown_fields_survive(extra: dict[str, Any]) -> None:
    known = {field.encode_name for field in msgspec.structs.fields(spec.Manifest)}
    extra = {key: value for key, value in extra.items() if key not in known}
    data = json.dumps(json.loads(manifest()) | extra).encode()
    assert json.loads(documents.write(documents.read_whole(data, spec.Manifest, "m"))) == json.loads(data)


@settings(database=None, deadline=None)
@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_break_the_readers(data: bytes) -> None:
    for reader in (spec.read_manifest, spec.read_config):
        with pytest.raises(InvalidError):
            reader(data, "it")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-09-06T22:20:07.972381771Z", "2024-09-06T22:20:07.972382Z"),
        ("2024-09-06T22:20:07Z", "2024-09-06T22:20:07Z"),
        ("2024-09-06T22:20:07.5+02:00", "2024-09-06T20:20:07.5Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
    ],
)
def test_moments_as_go_writes_them(text: str, expected: str) -> None:
    found = spec.moment(text)
    assert found is not None
    assert spec.timestamp(found) == expected


@pytest.mark.parametrize("text", [None, "", "yesterday", "2024-09-06", "2024-13-01T00:00:00Z"])
def test_what_is_no_moment_is_none(text: str | None) -> None:
    assert spec.moment(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", ("linux", "amd64", "")),
        ("linux/arm/v7", ("linux", "arm", "v7")),
        ("Linux/AArch64", ("linux", "arm64", "")),
        ("x86_64", ("linux", "amd64", "")),
        ("linux/armv7l", ("linux", "arm", "v7")),
    ],
)
def test_platforms_by_gos_names_and_the_kernels(text: str, expected: tuple[str, str, str]) -> None:
    found = spec.parse_platform(text)
    assert (found.os, found.architecture, found.variant) == expected


@pytest.mark.parametrize("text", ["", "windows/amd64", "linux/a/b/c", "linux/", "linux/am d64", "/"])
def test_what_is_no_platform_of_ours(text: str) -> None:
    with pytest.raises(InvalidError):
        spec.parse_platform(text)


def test_the_platform_of_this_machine_is_its_own() -> None:
    assert spec.parse_platform("linux") == spec.host_platform()
