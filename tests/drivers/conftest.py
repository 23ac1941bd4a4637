"""Fixtures of the drivers' suite: a room for the session, layers for each test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rootless.fuse.work import remove_tree
from tests.drivers import arena as arenas


@pytest.fixture(scope="session")
def room() -> int:
    """The room of the caller, or a skip that names what is missing."""
    if os.getuid() == 0:
        pytest.skip("the drivers are compared as an unprivileged user")
    for path in "/etc/subuid", "/etc/subgid":
        if arenas.first_subid(path) is None:
            pytest.skip(f"no 65536 subordinate ids in {path}")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("/dev/fuse may not be opened")
    return arenas.make_room()


@pytest.fixture
def arena(room: int, tmp_path: Path) -> Iterator[arenas.Arena]:
    """Empty layers; what subordinate ids own is removed afterwards from inside the room."""
    made = arenas.Arena(room, tmp_path / "a")
    made.base.mkdir()
    made.log = tmp_path / "cow.log"
    made.prepare()
    yield made
    made.in_room(lambda: remove_tree(os.open(tmp_path, os.O_RDONLY), b"a"))
    if made.log.exists():
        assert "Traceback" not in made.log.read_text(), made.log.read_text()


@pytest.fixture(params=arenas.DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    """Each of the three drivers; a skip for a binary that is not installed."""
    name: str = request.param
    if name == "fuse-overlayfs" and shutil.which(name) is None:
        pytest.skip("fuse-overlayfs is not installed")
    return name
