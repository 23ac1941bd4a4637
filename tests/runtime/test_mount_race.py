"""Mounts in a tree in which somebody exchanges directories for links at the same time: never a mount outside.

What a container starts with is mounted by these very functions; here they are called many times in one namespace, so
that thousands of tries take seconds.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from rootless import child
from rootless.errors import RootlessError
from rootless.kernel import mount as m
from rootless.runtime.mountpoint import Root, attach
from tests.swapper import own_namespaces, swapping


def race(tmp_path: Path, tries: int) -> tuple[int, int]:
    """(how many mounts were made, how many were refused because of what was put in the way)."""
    root, outside, source = tmp_path / "root", tmp_path / "outside", tmp_path / "source"
    for directory in root / "d", outside / "x", source:
        directory.mkdir(parents=True)
    (source / "mark").touch()
    with swapping(root, outside):
        made, refused = child.call(lambda: _mount_often(root, outside, source, tries), "the one that mounts")
    assert os.listdir(outside) == ["x"] and os.listdir(outside / "x") == []
    return made, refused


def _mount_often(root: Path, outside: Path, source: Path, tries: int) -> tuple[int, int]:
    own_namespaces()
    top = Root(os.open(root, os.O_PATH | os.O_DIRECTORY))
    tree = os.open(source, os.O_PATH | os.O_DIRECTORY)
    before = {point for point, _, _ in m.mountinfo()}
    made = refused = 0
    for _ in range(tries):
        try:
            attach(tree, top, "/d/x", attributes=m.MOUNT_ATTR_RDONLY)
        except (OSError, RootlessError):
            refused += 1
            continue
        made += 1
        for point in {point for point, _, _ in m.mountinfo()} - before:
            where = point.removesuffix("//deleted")
            assert where == str(root) or where.startswith(f"{root}/"), f"mounted at {point}"
            with suppress(OSError):  # renamed in this moment
                m.umount(point, m.MNT_DETACH)
    assert not (outside / "mark").exists() and not (outside / "x" / "mark").exists()
    return made, refused


def test_a_directory_that_becomes_a_link_meanwhile(tmp_path: Path) -> None:
    made, _ = race(tmp_path, 500)
    assert made > 10, "the race was never won"


@pytest.mark.long
def test_ten_thousand_mounts(tmp_path: Path) -> None:
    made, refused = race(tmp_path, 10_000)
    print(f"{made} mounts, {refused} refused")
    assert made > 100
