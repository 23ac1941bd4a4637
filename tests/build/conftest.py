"""Builds have a store of their own: what they keep in their cache is nobody else's to count."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.build.site import Site
from tests.build.warm import Warm
from tests.conftest import Rootless, leaving_nothing


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


@pytest.fixture(scope="module")
def _clean(_store_with_image: Rootless) -> Iterator[Rootless]:
    """As `rootless`, asked once a module: to look at all of the machine's processes takes longer than many a build."""
    yield from leaving_nothing(_store_with_image)


@pytest.fixture
def bare_site(warm: Warm, _clean: Rootless, tmp_path: Path) -> Site:
    """For tests after which there is no image to be removed."""
    directory = tmp_path / "context"
    directory.mkdir()
    return Site(_clean, directory, f"site-{os.urandom(4).hex()}", warm)


@pytest.fixture
def site(bare_site: Site) -> Iterator[Site]:
    yield bare_site
    bare_site.remove()
