"""`owned` layers: what the container sees is what it would see of real ids; what is on disk belongs to one user."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from rootless.fuse import server
from tests.drivers.arena import Arena
from tests.drivers.test_semantics import CASES, setup
from tests.drivers.trial import Trial, manifest

DIFFERENT = {"nested_overlay_attributes"}  # not about owners


def owned_upper(arena: Arena) -> Callable[[], server.Config]:
    """The configuration of a mount whose upper layer is owned."""

    def config() -> server.Config:
        plain = arena.config()
        upper = server.LayerSpec(str(arena.base / "upper"), "owned")
        return server.Config(plain.lowers, upper, plain.work, log=plain.log)

    return config


def act(case: Callable[[Trial], None]) -> list[object]:
    """The results of one case."""
    trial = Trial()
    case(trial)
    return trial.results


@pytest.mark.parametrize("name", [name for name in CASES if name not in DIFFERENT])
def test_like_overlayfs(name: str, arena: Arena, room: int) -> None:
    """Every case of the drivers' suite, with all of the upper directory in one user's hands."""
    setup(arena)
    expected = arena.container("overlay", partial(act, CASES[name]))
    seen = arena.container("overlay", partial(manifest, "."))
    other = Arena(room, arena.base / "again", ["middle", "lower"], arena.log)
    other.base.mkdir()
    setup(other)
    config = owned_upper(other)
    assert other.container("cow", partial(act, CASES[name]), config=config) == expected
    assert other.container("cow", partial(manifest, "."), config=config) == seen
    assert other.in_room(partial(owners, "upper")) <= {(0, 0)}, "the user who runs the container owns all of it"


def owners(top: str) -> set[tuple[int, int]]:
    """The real owners of everything below `top`; set-id bits must not be real."""
    found = set()
    for directory, names, files in os.walk(top):
        for name in (*names, *files):
            status = os.lstat(os.path.join(directory, name))
            found.add((status.st_uid, status.st_gid))
            assert not status.st_mode & 0o6000, name
    return found


def test_an_owned_image_is_read(arena: Arena) -> None:
    """Overrides of every type, lines of owners.jsonl, and what has neither."""
    (arena.base / "layers").mkdir()
    arena.lowers = ["layers/owned"]
    arena.prepare()

    def make() -> None:
        top = Path("layers/owned")
        for name, text in {
            "file": "5:6:4755:file",
            "pipe": "1:2:0640:pipe",
            "device": "0:0:600:char-1-3",
            "link": "7:8:777:symlink",
            "old": "9:9:0600",
        }.items():
            Path(top, name).write_text("target" if name == "link" else "")
            os.setxattr(Path(top, name), "user.containers.override_stat", text.encode())
        os.mkdir(top / "dir", 0o700)
        os.setxattr(top / "dir", "user.containers.override_stat", b"10:11:2755:dir")
        os.symlink("else", top / "dir/real")
        os.symlink("else", top / "plain")
        lines = [{"stat": "3:4:777:symlink", "path": "dir/real"}, {"stat": "0:0:755:dir", "path": ""}]
        Path("layers/owners.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def config() -> server.Config:
        spec = server.LayerSpec(str(arena.base / "layers/owned"), "owned")
        return server.Config((spec,), server.LayerSpec(str(arena.base / "upper")), str(arena.base / "work"))

    def work() -> dict[str, tuple[object, ...]]:
        found: dict[str, tuple[object, ...]] = {}
        for name in ("file", "pipe", "device", "link", "old", "dir", "dir/real", "plain"):
            status = os.lstat(name)
            found[name] = (oct(status.st_mode), status.st_uid, status.st_gid, status.st_rdev)
        assert os.readlink("link") == "target"
        assert os.listxattr("file") == []
        os.chown("link", 20, 21, follow_symlinks=False)
        os.chmod("file", 0o600)
        os.chmod("pipe", 0o600)
        os.rename("dir", "moved")
        return found

    arena.in_room(make)
    assert arena.container("cow", work, config=config) == {
        "file": ("0o104755", 5, 6, 0),
        "pipe": ("0o10640", 1, 2, 0),
        "device": ("0o20600", 0, 0, os.makedev(1, 3)),
        "link": ("0o120777", 7, 8, 0),
        "old": ("0o100600", 9, 9, 0),
        "dir": ("0o42755", 10, 11, 0),
        "dir/real": ("0o120777", 3, 4, 0),
        "plain": ("0o120777", 0, 0, 0),
    }

    def upper() -> None:
        assert stat.S_ISFIFO(os.lstat("upper/pipe").st_mode), "the upper layer has real ids and real types"
        assert (os.lstat("upper/moved/real").st_uid, os.lstat("upper/moved").st_gid) == (3, 11)
        assert os.readlink("upper/link") == "target"

    arena.in_room(upper)


@pytest.mark.parametrize("text", ["0:0", "0:0:9:file", "-1:0:644:file", "4294967295:0:644:file", "0:0:644:thing"])
def test_a_malformed_override_is_not_believed(arena: Arena, text: str) -> None:
    """An image's file whose owner can't be read is an error, not a file of root's."""

    def make() -> None:
        Path("lower/file").write_text("x")
        os.setxattr("lower/file", "user.containers.override_stat", text.encode())

    def config() -> server.Config:
        spec = server.LayerSpec(str(arena.base / "lower"), "owned")
        return server.Config((spec,), server.LayerSpec(str(arena.base / "upper")), str(arena.base / "work"))

    def work() -> int | None:
        try:
            os.stat("file")
        except OSError as problem:
            return problem.errno
        return None

    arena.in_room(make)
    assert arena.container("cow", work, config=config) == 5
