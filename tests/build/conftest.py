"""Builds have a store of their own: what they keep in their cache is nobody else's to count."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.build.site import Site
from tests.build.warm import Warm
from tests.conftest import Rootless


@pytest.fixture(scope="session")
def _store_with_image(tmp_path_factory: pytest.TempPathFactory, busybox_tar: Path) -> Iterator[Rootless]:
    engine = Rootless(tmp_path_factory.mktemp("build-store") / "s")
    engine.ok("import", "-c", 'CMD ["/bin/sh"]', str(busybox_tar), "busybox:latest")
    yield engine
    engine.ok("rmi", "-f", *engine.ok("images", "-q").split())
    engine.ok("builder", "prune", "-af")  # what belongs to subordinate ids, pytest could not remove


@pytest.fixture(scope="session")
def warm(_store_with_image: Rootless) -> Iterator[Warm]:
    made = Warm(_store_with_image)
    yield made
    made.close()


@pytest.fixture
def site(warm: Warm, rootless: Rootless, tmp_path: Path) -> Iterator[Site]:
    directory = tmp_path / "context"
    directory.mkdir()
    made = Site(rootless, directory, f"site-{os.urandom(4).hex()}", warm)
    yield made
    made.remove()
