"""What stands on disk of a container survives newer versions, damage and power cuts."""

from __future__ import annotations

import json

import pytest

from rootless.container import names
from rootless.container.record import Record, Spec, State, decode_record, decode_state, merge
from rootless.container.state import Status
from rootless.errors import InvalidError, StoreError

RECORD = Record(
    id="a" * 64,
    name="busy_bohr",
    created="2026-01-02T03:04:05.000000006Z",
    spec=Spec(image="alpine", image_id="sha256:" + "0" * 64, argv=("sh",)),
    driver="overlay",
    layers=("l/ABCDEFGHIJ",),
    idmap="01234567",
)


def test_a_field_of_a_newer_version_survives_a_rewrite_by_this_one() -> None:
    old = json.dumps({"status": "running", "colour": "green"}).encode()
    new = json.loads(merge(old, State(status=Status.EXITED)))
    assert new["colour"] == "green"
    assert new["status"] == "exited"


def test_a_torn_state_is_an_ended_container_and_not_a_crash() -> None:
    """A power cut may leave an empty file where an unsynced rename was: nothing of a boot before can be running."""
    for data in b"", b"{", b'{"status": "flying"}', b"\0" * 100:
        state = decode_state(data)
        assert (state.status, state.exit_code) == (Status.EXITED, 255)
        assert "damaged" in state.error


def test_a_damaged_record_names_its_file_and_the_way_out() -> None:
    with pytest.raises(StoreError, match=r"containers/x/config\.json is damaged.*rootless rm"):
        decode_record(b'{"id": 3}', "containers/x/config.json")


def test_a_record_comes_back_as_it_was() -> None:
    assert decode_record(merge(b"", RECORD), "config.json") == RECORD


@pytest.mark.parametrize("name", ["web", "a1", "/web", "w.e-b_2", "x" * 128])
def test_names_that_docker_takes(name: str) -> None:
    assert names.validate(name) == name.removeprefix("/")


@pytest.mark.parametrize("name", ["", "a", "-web", ".web", "we b", "../x", "web/1", "wéb", "web\n", "x" * 129])
def test_names_that_would_be_trouble_in_a_path(name: str) -> None:
    with pytest.raises(InvalidError, match="Invalid container name"):
        names.validate(name)


def test_generated_names_are_valid() -> None:
    for _ in range(200):
        names.validate(names.generate())
