"""The map of a room: what it is made of, and by which name the disk knows it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rootless import idmap
from rootless.idmap import Extent, IdMap


def test_the_tag_of_a_map_never_changes() -> None:
    """It names the directories of unpacked layers: another one for the same map would orphan them all."""
    ranges = Extent(0, 1000, 1), Extent(1, 100000, 65536)
    assert IdMap(ranges, ranges).tag == "d4664fc2"
    assert IdMap((Extent(0, 1000, 1),), (Extent(0, 1000, 1),)).tag == "fdbd5e05"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("root:0:65536\n", None),
        ("root:0:65536\nroot:200000:70000\n", (200000, 65536)),
        ("0:300000:10\n", (300000, 10)),
        ("root:300000:0\n", None),
        ("somebody:300000:10\nroot:x:10\n", None),
    ],
)
def test_ranges(tmp_path: Path, text: str, found: tuple[int, int] | None) -> None:
    """One that begins with 0 would make somebody in a container root of the machine."""
    file = tmp_path / "subuid"
    file.write_text(text)
    assert idmap._subordinate(os.fspath(file), "root", 0) == found
