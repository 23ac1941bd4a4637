"""The public POSIX suite github.com/pjd/pjdfstest: `cow` fails where the kernel's overlayfs fails, and nowhere else.

ROOTLESS_PJDFSTEST names a built checkout. Block and character devices are left out of its loops: a user namespace may
make none, and one that is refused fails all that follows.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.drivers.arena import Arena

CHECKS = 5640

pytestmark = pytest.mark.long


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A copy of the suite without the devices."""
    checkout = os.environ.get("ROOTLESS_PJDFSTEST")
    if not checkout or shutil.which("prove") is None:
        pytest.skip("ROOTLESS_PJDFSTEST does not name a built checkout of github.com/pjd/pjdfstest")
    made = tmp_path / "suite"
    shutil.copytree(Path(checkout, "tests"), made / "tests")
    shutil.copy(Path(checkout, "pjdfstest"), made)
    for path in (made / "tests").rglob("*.t"):
        path.write_text(re.sub(r"(?<=for type)(.*) block char", r"\1", path.read_text()))
    return made


def failures(arena: Arena, driver: str, suite: Path) -> tuple[int, dict[str, str]]:
    """How many checks were made, and the numbers of those that failed, by file."""

    def work() -> str:
        os.mkdir("work", 0o755)
        os.chdir("work")
        command = ["prove", "--recurse", "--failures", "--QUIET", str(suite / "tests")]
        return subprocess.run(command, capture_output=True, text=True).stdout

    shown = arena.container(driver, work)
    found = re.findall(r"tests/(\S+)\s+\(Wstat.*\n  Failed tests?:\s+(.*)", shown)
    made = re.search(r"Tests=(\d+)", shown)
    assert made is not None, shown
    return int(made[1]), dict(found)


def test_cow_fails_where_overlayfs_fails(arena: Arena, room: int, suite: Path) -> None:
    expected = failures(arena, "overlay", suite)
    other = Arena(room, arena.base / "other", log=arena.log)
    other.base.mkdir()
    other.prepare()
    assert failures(other, "cow", suite) == expected
    assert expected[0] == CHECKS
    assert set(expected[1]) == {"mknod/02.t", "mknod/03.t", "mknod/11.t", "unlink/00.t"}, "all about device nodes"
