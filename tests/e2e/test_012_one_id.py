"""An account without subordinate ids, or a machine without newuidmap: one id, and everything that one id can do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Rootless

IMAGE = "busybox:latest"


@dataclass(frozen=True)
class OneId(Rootless):
    """The command on a machine whose PATH has no newuidmap."""

    bin: Path = Path()

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"PATH": str(self.bin)}


@pytest.fixture
def one_id(tmp_path: Path, busybox_tar: Path) -> Iterator[OneId]:
    if os.getuid() == 0:
        pytest.skip("root's ids never come from newuidmap")
    (tmp_path / "bin").mkdir()
    for program in "sh", "fuse-overlayfs":
        if (found := shutil.which(program)) is not None:
            (tmp_path / "bin" / program).symlink_to(found)
    engine = OneId(tmp_path / "store", bin=tmp_path / "bin")
    engine.ok("import", "-c", 'CMD ["/bin/sh"]', str(busybox_tar), IMAGE)
    yield engine
    engine.nothing_remains()


def test_a_container_with_one_id_runs_and_says_once_what_would_give_it_more(one_id: OneId) -> None:
    command = (
        "run",
        "--rm",
        "--network",
        "none",
        IMAGE,
        "sh",
        "-c",
        "id; cat /proc/self/uid_map; stat -c %u:%g /bin/busybox; touch /new",
    )
    first, second = one_id(*command), one_id(*command)
    assert first.stdout.decode().split("\n")[:2] == ["uid=0(root) gid=0(root) groups=0(root)", f"{0:10} {0:10} {1:10}"]
    assert first.returncode == second.returncode == 0
    assert b"apt-get install uidmap" in first.stderr
    assert second.stderr == b""


def test_another_user_cannot_be_and_the_line_says_why(one_id: OneId) -> None:
    done = one_id("run", "--rm", "--network", "none", "-u", "1000", IMAGE, "id")
    assert done.returncode == 125
    assert b"user 1000 (1000:0) needs more ids than the one there is; newuidmap" in done.stderr


def test_layers_belong_wholly_to_the_caller(one_id: OneId) -> None:
    """So that rm -rf, backups and quotas just work."""
    for directory, _, files in os.walk(one_id.root):
        for name in files:
            assert os.lstat(Path(directory, name)).st_uid == os.getuid()


def test_a_terminal_works(one_id: OneId) -> None:
    """devpts has no group 5 to give it to."""
    assert one_id("run", "--rm", "-t", IMAGE, "tty").stdout == b"/dev/pts/0\r\n"
