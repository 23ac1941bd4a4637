"""The same actions on every driver: the kernel's overlayfs says what must come of them.

Compared are the result or errno of each action, the tree that is seen afterwards through a fresh mount of the same
layers, and the upper directory that is left (so that one driver can mount what another has written).
"""

from __future__ import annotations

from functools import partial

import pytest

from tests.drivers import cases_files, cases_names
from tests.drivers.arena import Arena
from tests.drivers.cases import CASES, FUSE_OVERLAYFS_DIFFERS, Case
from tests.drivers.layers import make_layers
from tests.drivers.trial import Trial, manifest

__all__ = ["cases_files", "cases_names"]  # they have added their cases


def setup(arena: Arena) -> None:
    """The layers of the cases."""
    arena.lowers = ["middle", "lower"]
    arena.prepare()
    arena.in_room(make_layers)


def outcome(arena: Arena, driver: str, function: Case) -> dict[str, object]:
    """Run a case and gather everything that is compared."""

    def act() -> list[object]:
        trial = Trial()
        function(trial)
        return trial.results

    results = arena.container(driver, act)
    seen = arena.container(driver, partial(manifest, "."))
    upper = arena.in_room(partial(manifest, "upper"))
    return {"results": results, "tree": seen, "upper": upper}


ORACLE: dict[str, dict[str, object]] = {}


@pytest.mark.parametrize("name", CASES)
def test_like_overlayfs(name: str, driver: str, arena: Arena, room: int) -> None:
    """Results, tree and upper directory are those of the kernel's overlayfs."""
    setup(arena)
    if name not in ORACLE:
        ORACLE[name] = outcome(arena, "overlay", CASES[name])
        if driver == "overlay":
            return
        fresh = Arena(room, arena.base / "again", ["middle", "lower"], arena.log)
        arena.base.joinpath("again").mkdir()
        setup(fresh)
        arena = fresh
    expected = ORACLE[name]
    if driver == "fuse-overlayfs":
        if name in FUSE_OVERLAYFS_DIFFERS:
            pytest.skip(f"fuse-overlayfs 1.10 {FUSE_OVERLAYFS_DIFFERS[name]}")
        assert outcome(arena, driver, CASES[name])["results"] == expected["results"]
        return
    found = outcome(arena, driver, CASES[name])
    for part in ("results", "tree", "upper"):
        assert found[part] == expected[part], part
