"""Builds have a store of their own: what they keep in their cache is nobody else's to count."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Rootless


@pytest.fixture(scope="session")
def _store_with_image(tmp_path_factory: pytest.TempPathFactory, busybox_tar: Path) -> Rootless:
    engine = Rootless(tmp_path_factory.mktemp("build-store") / "s")
    engine.ok("import", "-c", 'CMD ["/bin/sh"]', str(busybox_tar), "busybox:latest")
    return engine
