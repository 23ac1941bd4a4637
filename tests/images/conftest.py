"""A store of a test's own, emptied by the command itself afterwards: what `rmi` leaves behind is a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rootless.image.store import ImageStore
from tests.conftest import Rootless
from tests.images.registries import FakeRegistry
from tests.waiting import nothing


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
    if engine.paths.version.exists() and (images := ImageStore(engine.paths).all()):
        engine.ok("rmi", "-f", *(image.id for image in images))
    left = nothing(lambda: [f"{part}/{name}" for part, names in contents(engine).items() for name in names])
    assert not left, f"left behind: {left}"


@pytest.fixture
def nobody_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No login, alias or certificate of the caller's takes part; gives the empty home."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(home / "none.conf"))
    for name in "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR":
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def fake(nobody_at_home: Path) -> Iterator[FakeRegistry]:
    registry = FakeRegistry()
    yield registry
    registry.close()


IMPATIENT = """import sys
from functools import partial
from rootless.cli.main import main
from rootless.image import pull
from rootless.registry.session import Patience
from rootless.registry.connection import Limits
limits = Limits(silence=0.5, document=1)
pull.Options = partial(pull.Options, limits=limits, patience=Patience(tries=3, first=0.02, longest=2))
main(sys.argv[1:])
"""


def impatient(engine: Rootless, *words: str) -> subprocess.CompletedProcess[bytes]:
    """The command, with a patience that fits a test."""
    command = [sys.executable, "-c", IMPATIENT, *words]
    return subprocess.run(command, capture_output=True, env=engine.environment, timeout=120, stdin=subprocess.DEVNULL)
