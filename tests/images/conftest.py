"""A store of a test's own, emptied by the command itself afterwards: what `rmi` leaves behind is a failure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Rootless


def contents(engine: Rootless) -> dict[str, list[str]]:
    """What stands in the directories of the store that should be empty when no image is there."""
    parts = ("blobs/sha256", "layers", "l", "tmp", "pins", "partial", "containers", "names")
    found = {part: engine.root / part for part in parts}
    return {
        part: sorted(name for name in os.listdir(path) if not name.startswith("."))
        for part, path in found.items()
        if path.is_dir()
    }


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Rootless]:
    """The command on an empty store. Every image that a test made is removed at its end, and nothing may be left."""
    engine = Rootless(tmp_path / "s")
    yield engine
    empty(engine)


def empty(engine: Rootless) -> None:
    """Remove all images, by the command, and demand that nothing is left."""
    ids = set(engine.ok("images", "-q", "--no-trunc").split())
    if ids:
        engine.ok("rmi", "-f", *ids)
    left = {part: names for part, names in contents(engine).items() if names}
    assert not left, f"left behind: {left}"
