"""What is made for a RUN to mount something on goes again, and nothing else."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from rootless.build import mountpoints


@pytest.mark.parametrize("bytes_of_a_directory", [None, 0], ids=["here", "btrfs"])
def test_only_what_is_empty_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bytes_of_a_directory: int | None
) -> None:
    """Whatever size the file system gives a directory: 4096 on ext4, 0 on btrfs."""
    (tmp_path / "above/point").mkdir(parents=True)
    (tmp_path / "full/in").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "written").write_text("x")
    os.symlink("file", tmp_path / "link")
    real = os.stat

    def seen(path: Any, **options: Any) -> os.stat_result:
        found = list(real(path, **options))
        if stat.S_ISDIR(found[0]) and bytes_of_a_directory is not None:
            found[6] = bytes_of_a_directory
        return os.stat_result(found)

    root = os.open(tmp_path, os.O_PATH)
    monkeypatch.setattr(os, "stat", seen)
    try:
        for path in "above/point", "file", "written", "link":
            mountpoints.remove_empty(root, path)
        with pytest.raises(OSError, match="not empty"):
            mountpoints.remove_empty(root, "full")
    finally:
        monkeypatch.undo()
        os.close(root)
    assert sorted(os.listdir(tmp_path)) == ["above", "full", "link", "written"]
    assert os.listdir(tmp_path / "above") == []
