"""The server killed before each single system call that changes something: every operation is done or not done.

Random kills (test_kills.py) find what is likely. What moves directories takes several steps each of which is over in
microseconds, so here the server counts its own steps and ends itself before the one that is asked for.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rootless.fuse import server
from rootless.fuse.work import remove_tree
from rootless.kernel import fs
from tests.drivers import layers
from tests.drivers.arena import Arena
from tests.drivers.trial import manifest

STEPS = {
    os: (
        *("rename", "link", "unlink", "rmdir", "mkdir", "symlink", "mknod"),
        *("chmod", "fchmod", "chown", "utime", "setxattr", "removexattr", "ftruncate", "copy_file_range", "pwrite"),
    ),
    fs: ("renameat2", "whiteout"),
}
"""The calls by which the file system changes the disk, by module; besides them an open(2) that makes a file."""

START = 4
"""The steps of the start: the work directory, and the trial whether a whiteout can be made."""


def exchange(one: str, other: str) -> None:
    """Let two names change what they stand for."""
    fs.renameat2(fs.AT_FDCWD, one.encode(), fs.AT_FDCWD, other.encode(), fs.RENAME_EXCHANGE)


ACTIONS: list[Callable[[], object]] = [
    partial(os.rename, "dir", "moved"),
    partial(os.rename, "moved", "tree/inside"),
    partial(os.rename, "tree", "dir"),
    partial(os.rename, "dir/inside", "tree"),  # out of a directory that is whole above, to where a whiteout stands
    partial(os.rename, "tree/sub", "dir/sub"),
    partial(os.rename, "dir", "both/below/dir"),
    partial(os.rename, "both/below", "dir"),
    partial(os.unlink, "both/name"),
    partial(os.rename, "hidden", "both/hidden"),
    partial(exchange, "both/above", "setgid"),
    partial(os.unlink, "setgid/z"),
    partial(os.rename, "tree", "setgid"),
    partial(os.rmdir, "both/above"),
    partial(os.mkdir, "both/above"),
    partial(os.rename, "setgid", "both/above"),
    partial(os.link, "both/above/a", "both/name"),
    partial(os.rename, "both", "setgid"),
]


def state() -> dict[str, object]:
    """What is compared: all but times (a kill may leave those of a directory) and link counts (a copy has one)."""
    lines = manifest(".", links=False)
    return {path: (*line[:5], *line[6:]) for path, line in lines.items() if isinstance(line, tuple)}


def act(counted: list[dict[str, object]] | None = None) -> int:
    """Do everything until the server is gone; how much was done. `counted` takes the state after each action."""
    for done, action in enumerate(ACTIONS):
        if counted is not None:
            counted.append(state())
        try:
            action()
        except OSError as problem:
            if problem.errno in (errno.ENOTCONN, errno.ECONNABORTED):
                return done
            raise
    return len(ACTIONS)


def whole() -> list[dict[str, object]]:
    """The states before the first action and after each."""
    states: list[dict[str, object]] = []
    act(states)
    return [*states, state()]


def ending(arena: Arena, step: int, count: Path | None = None) -> Callable[[], server.Config]:
    """A configuration whose server ends before its `step`th change, or writes down how many there are."""

    def config() -> server.Config:
        made = 0

        def stepped(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
            nonlocal made
            made += 1
            if made == step:
                os.kill(os.getpid(), signal.SIGKILL)
            if count is not None:
                count.write_text(str(made))
            return call(*arguments, **options)

        for module, names in STEPS.items():
            for name in names:
                setattr(module, name, partial(stepped, getattr(module, name)))
        return arena.config()

    return config


def empty(top: str) -> None:
    """Remove everything below a directory."""
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for name in os.listdir(fd):
        remove_tree(fd, os.fsencode(name))
    os.close(fd)


def sweep(arena: Arena, tmp_path: Path, points: Callable[[int], range]) -> None:
    arena.lowers = ["middle", "lower"]
    arena.prepare()
    arena.in_room(layers.make_layers)
    count = tmp_path / "count"
    count.touch()
    count.chmod(0o666)
    states = arena.container("cow", whole, config=ending(arena, -1, count))
    assert states[-1] == arena.container("overlay", state)
    wrong: list[str] = []
    for step in points(int(count.read_text())):
        for top in "upper", "work":
            arena.in_room(partial(empty, top))
        done = arena.container("cow", act, config=ending(arena, step))
        seen = arena.container("cow", state)
        overlay = arena.container("overlay", state)
        after = states[min(done + 1, len(ACTIONS))]
        if seen not in (states[done], after):
            wrong.append(f"step {step}, action {done}: {difference(seen, states[done])}, {difference(seen, after)}")
        if seen != overlay:
            wrong.append(f"step {step}, action {done}: overlay sees otherwise {difference(seen, overlay)}")
    assert not wrong, "\n".join(wrong)


def difference(seen: dict[str, object], expected: dict[str, object]) -> list[str]:
    """The paths at which two states differ."""
    return sorted(path for path in {*seen, *expected} if seen.get(path) != expected.get(path))


def test_an_operation_on_directories_is_done_or_not(arena: Arena, tmp_path: Path) -> None:
    """A few of the points, spread out."""
    sweep(arena, tmp_path, lambda steps: range(START + 30, steps, steps // 4))


@pytest.mark.long
def test_every_point_of_operations_on_directories(arena: Arena, tmp_path: Path) -> None:
    sweep(arena, tmp_path, lambda steps: range(START + 1, steps + 1))


def test_a_kill_between_exchange_and_removal(arena: Arena, tmp_path: Path) -> None:
    """The whiteout that changed places with a directory then stands where nothing of an image is merged: overlayfs
    would list it as a device that can't be opened."""
    arena.in_room(lambda: os.makedirs("lower/one/inside"))
    arena.in_room(lambda: os.makedirs("lower/two"))

    def work() -> int:
        os.rename("two", "three")
        os.rename("one", "four")
        with pytest.raises(OSError, match="not connected|abort"):
            os.rename("four/inside", "two")
        return 1

    def config() -> server.Config:
        renameat2 = fs.renameat2

        def last(*arguments: Any) -> None:
            renameat2(*arguments)
            if arguments[3] == b"two":
                os.kill(os.getpid(), signal.SIGKILL)

        fs.renameat2 = last  # type: ignore[assignment]
        return arena.config()

    assert arena.container("cow", work, config=config) == 1
    expected: dict[str, list[str]] = {"three": [], "four": [], "two": []}

    def lists() -> dict[str, list[str]]:
        return {name: os.listdir(name) for name in os.listdir(".")}

    assert arena.container("cow", lists) == expected
    assert arena.container("overlay", lists) == expected
