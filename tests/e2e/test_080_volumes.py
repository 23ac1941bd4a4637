"""Volumes and mounts as their users see them: what is taken over, what is kept, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Rootless


@pytest.fixture
def engine(rootless: Rootless) -> Iterator[Rootless]:
    """The command; afterwards no volume is left."""
    yield rootless
    volumes = rootless.paths.volumes
    for name in [entry.name for entry in volumes.iterdir()] if volumes.exists() else []:
        rootless("volume", "rm", "-f", name)


def inside(engine: Rootless, *words: str) -> str:
    """What a container says that was run with these words."""
    return engine.ok("run", "--rm", *words).strip()


def test_a_volume_outlives_its_containers(engine: Rootless) -> None:
    inside(engine, "-v", "data:/data", "busybox", "sh", "-c", "echo kept > /data/file")
    assert inside(engine, "-v", "data:/elsewhere", "busybox", "cat", "/elsewhere/file") == "kept"


def test_a_directory_of_the_machine_is_the_same_on_both_sides(engine: Rootless, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("from outside")
    script = "cat /w/there; echo from inside > /w/here"
    assert inside(engine, "-v", f"{tmp_path}:/w", "busybox", "sh", "-c", script) == "from outside"
    assert (tmp_path / "here").read_text() == "from inside\n"
