"""What several of the tests of the real command need."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.conftest import Rootless


@pytest.fixture
def networks(rootless: Rootless) -> Iterator[Rootless]:
    """The command, with no network before and after."""
    yield rootless
    for name in rootless.containers():
        rootless("rm", "-f", name)
    for name in rootless.ok("network", "ls", "-q", "--filter", "type=custom").split():
        rootless.ok("network", "rm", name)
    assert sorted(os.listdir(rootless.paths.networks)) == [".lock"]
