"""Names of volumes come from anywhere: what is none is refused before a path is made of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.errors import InvalidError, NotFoundError
from rootless.paths import Paths
from rootless.volumes.store import Volumes, validate

HOSTILE = [
    *("..", ".", "../x", "a/b", "/abs", "a/../b", "a\nb", "a\0b", "x" * 256, "x" * 300, "", "-dash", "_x", ".hidden"),
    *("a b", "\u00e4", "a\x1b[31mb", "a\tb", "a\r", "a\n", "a:b", "a\\b", "\udcff"),
]


@pytest.mark.parametrize("name", HOSTILE, ids=repr)
def test_hostile_names(tmp_path: Path, name: str) -> None:
    store = tmp_path / "store"
    volumes = Volumes(Paths(store=store, run=tmp_path / "run"))
    with pytest.raises(InvalidError, match="^create "):
        volumes.create(name)
    with pytest.raises(NotFoundError):
        volumes.get(name)
    with pytest.raises(NotFoundError):
        volumes.remove(name, lambda _: [])
    assert not (store / "volumes").exists() and os.listdir(tmp_path) in (["store"], [])


@given(st.text())
def test_what_is_taken_is_one_name(name: str) -> None:
    try:
        validate(name)
    except InvalidError:
        return
    assert "/" not in name and "\0" not in name and name not in (".", "..") and len(os.fsencode(name)) <= 255
    assert name.isascii() and name.isprintable()
