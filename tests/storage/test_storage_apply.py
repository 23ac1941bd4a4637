"""`apply` killed before each single system call that changes something: old or new, and a second one finishes."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rootless import child
from rootless.fuse.base import Base
from rootless.fuse.handles import Handles, capacity
from rootless.fuse.layer import LayerSpec
from rootless.fuse.node import UPPER
from rootless.fuse.tree import Tree
from rootless.fuse.union import open_layer
from rootless.kernel import fs
from rootless.storage.apply import Order, Result, apply
from rootless.storage.meanwhile import Meanwhile
from rootless.storage.trees import Trees

CALLS = (
    *("rename", "unlink", "mkdir", "rmdir", "link", "symlink", "mkfifo", "removexattr", "setxattr"),
    *("chmod", "fchmod", "utime", "write"),
)

Snapshot = dict[str, tuple[int, int, object]]


def make(top: Path) -> None:
    """A directory of somebody's, and a writable layer over it as the kernel's overlayfs would have written it."""
    lower, upper = top / "lower", top / "upper"
    for name in "edited", "deleted", "kept", "becomes-directory":
        write(lower / name, f"old {name}")
    for name in "gone", "replaced", "entered", "becomes-file":
        write(lower / name / "deep" / "file", f"old {name}")
    write(lower / "replaced" / "both", "old both")
    (top / "since").write_text(str(time.time_ns() + 10**9))  # all of this is from before the container
    write(upper / "edited", "new edited")
    fs.whiteout(upper / "deleted")
    fs.whiteout(upper / "gone")
    write(upper / "becomes-directory" / "in", "new in")
    write(upper / "becomes-file", "new file")
    write(upper / "replaced" / "both", "new both")
    write(upper / "replaced" / "inner" / "file", "new inner")
    os.setxattr(upper / "replaced", "user.overlay.opaque", b"y")
    write(upper / "entered" / "deep" / "new", "new entered")
    fs.whiteout(upper / "entered" / "deep" / "file")
    (upper / "entered").chmod(0o700)
    write(upper / "first", "new first")
    (upper / "second").hardlink_to(upper / "first")
    (upper / "link").symlink_to("/nowhere")
    write(upper / "made" / "a" / "b", "new b")
    (upper / "made" / "a").chmod(0o711)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def make_host(top: Path) -> None:
    """The same as our own file system would have written it over the machine: owners and modes written down, what was
    below noted."""
    make(top)
    os.setxattr(top / "upper" / "made" / "a", "user.containers.override_stat", b"0:0:555:dir")
    (top / "upper" / "made" / "a").chmod(0o755)


def note(top: Path) -> None:
    """What was below, from before the container."""
    if not (top / "host").exists():
        (top / "since").write_text(str(time.time_ns() + 10**7))
        time.sleep(0.02)
        return
    (top / "since").unlink(missing_ok=True)
    base = Base(str(top / "base.jsonl"))
    for path in (top / "lower").rglob("*"):
        base.record(os.fsencode("/" + str(path.relative_to(top / "lower"))), path.lstat())


def run(top: Path, only: tuple[bytes, ...] = ()) -> Result:
    host = (top / "host").exists()
    upper = open_layer(UPPER, LayerSpec(str(top / "upper"), kind="owned" if host else "mapped"))
    upper.file_whiteouts = host
    below = {1: open_layer(1, LayerSpec(str(top / "lower"), kind="host" if host else "mapped", live=True))}
    trees = Trees(upper, Tree(below, Handles(below, capacity())))
    meanwhile = Meanwhile(top)
    return apply(trees, meanwhile, Order(draft=b".draft", only=only))


def snapshot(top: Path) -> Snapshot:
    found: Snapshot = {}
    for path in sorted(top.rglob("*")):
        status = path.lstat()
        regular = stat.S_ISREG(status.st_mode)
        content = path.read_text() if regular else os.readlink(path) if path.is_symlink() else None
        found[str(path.relative_to(top))] = (stat.S_IFMT(status.st_mode), status.st_nlink if regular else 0, content)
    return found


def killed_before(number: int, top: Path) -> int:
    """Run `apply` in a child that is killed before its change of this number; its wait status."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    try:
        left = [number]

        def counted(call: Callable[..., Any]) -> Callable[..., Any]:
            def wrapper(*words: Any, **more: Any) -> Any:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*words, **more)

            return wrapper

        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))
        fs.renameat2 = counted(fs.renameat2)
        run(top)
        os._exit(0)
    except BaseException:
        os._exit(1)


def old_or_new(before: Snapshot, now: Snapshot, after: Snapshot) -> None:
    for name, seen in now.items():
        if ".draft" in name:  # of a killed one: nobody's file, and gone after the next apply
            continue
        if seen[0] == stat.S_IFREG:
            contents = {state[name][2] for state in (before, after) if name in state}
            assert seen[2] in contents, f"{name} is neither old nor new: {seen}"
    for name, seen in before.items():
        if seen[0] == stat.S_IFREG and name in after and after[name][0] == stat.S_IFREG:
            assert name in now, f"{name} is missing, and was there before and after"


@pytest.mark.parametrize("host", [False, True], ids=[":O", "host"])
def test_killed_before_some_changes(tmp_path: Path, host: bool) -> None:
    kill_before_every(11, tmp_path, host=host)


@pytest.mark.long
@pytest.mark.parametrize("host", [False, True], ids=[":O", "host"])
def test_killed_before_each_change(tmp_path: Path, host: bool) -> None:
    kill_before_every(1, tmp_path, host=host)


def kill_before_every(stride: int, tmp_path: Path, *, host: bool) -> None:
    origin = tmp_path / "origin"
    (make_host if host else make)(origin)
    if host:
        (origin / "host").touch()
    before = snapshot(origin / "lower")
    whole = tmp_path / "whole"
    shutil.copytree(origin, whole, symlinks=True, copy_function=copy)
    links(whole)
    assert child.call(lambda: run(whole), "apply").empty
    after = snapshot(whole / "lower")
    assert after["edited"][2] == "new edited" and "deleted" not in after and "gone" not in after
    assert after["first"][1] == after["second"][1] == 2 and "replaced/deep" not in after
    assert (whole / "lower/made/a").stat().st_mode & 0o777 == (0o555 if host else 0o711)
    number, status = 0, -1
    while status != 0:
        top = tmp_path / str(number)
        shutil.copytree(origin, top, symlinks=True, copy_function=copy)
        links(top)
        status = killed_before(number, top)
        assert status in (0, signal.SIGKILL), f"step {number}: {status}"
        old_or_new(before, snapshot(top / "lower"), after)
        result = child.call(lambda top=top: run(top), "apply")
        assert [outcome for outcome in result.outcomes if not outcome.done] == [], f"step {number}"
        assert snapshot(top / "lower") == after, f"step {number}"
        assert result.empty and os.listdir(top / "upper") == []
        unlock(top)
        shutil.rmtree(top)
        number += stride
    print(f"the last step is before {number}, each {stride}th was tried")
    assert number > 80, "there are more steps than that"
    unlock(whole)
    unlock(origin)


def copy(source: str, target: str) -> str:
    """With whiteouts and extended attributes."""
    mode = os.lstat(source).st_mode
    if stat.S_ISCHR(mode):
        fs.whiteout(target)
    else:
        shutil.copy2(source, target, follow_symlinks=False)
    return target


def links(top: Path) -> None:
    """What copying has not kept: two names of one file, and which files were there before the container."""
    (top / "upper/second").unlink()
    (top / "upper/second").hardlink_to(top / "upper/first")
    note(top)


def unlock(top: Path) -> None:
    for path in top.rglob("a"):
        path.chmod(0o755)


@pytest.mark.parametrize("name", ["edited", "deleted", "gone/deep/file", "replaced/deep/file"])
def test_what_changed_after_since_is_left(tmp_path: Path, name: str) -> None:
    make(tmp_path)
    (tmp_path / "since").write_text(str(time.time_ns()))
    time.sleep(0.02)
    (tmp_path / "lower" / name).write_text("mine")
    left = [outcome for outcome in child.call(lambda: run(tmp_path), "apply").outcomes if not outcome.done]
    assert len(left) == 1 and "was changed on the machine meanwhile" in left[0].remark
    assert (tmp_path / "lower" / name).read_text() == "mine"
    unlock(tmp_path)


@pytest.mark.parametrize("only", [(), (b"/entered",)], ids=["a conflict elsewhere", "only this"])
def test_a_deletion_that_is_real_leaves_the_layer(tmp_path: Path, only: tuple[bytes, ...]) -> None:
    """A killed `apply` has made it real. It must not stay a change because something else is left as it is: what the
    user puts in its place later is nobody's conflict."""
    make(tmp_path)
    note(tmp_path)
    (tmp_path / "lower" / "edited").write_text("edited on the machine")
    (tmp_path / "lower" / "entered" / "deep" / "file").unlink()
    result = run(tmp_path, only)
    assert not result.empty
    assert (tmp_path / "upper" / "edited").exists(), "a conflict, or not asked for"
    assert not os.path.lexists(tmp_path / "upper" / "entered" / "deep" / "file")
    assert not os.path.lexists(tmp_path / "upper" / "entered"), "nothing is left of it"


def test_a_deletion_in_what_is_left_stays(tmp_path: Path) -> None:
    """The directory was moved away on the machine, and may come back."""
    make(tmp_path)
    note(tmp_path)
    for name in "entered", "entered/deep":
        os.setxattr(tmp_path / "upper" / name, "user.overlay.origin", b"copied")
    (tmp_path / "lower" / "entered").rename(tmp_path / "elsewhere")
    (tmp_path / "lower" / "another").mkdir()
    result = run(tmp_path)
    assert b"/entered" in {outcome.path for outcome in result.outcomes if not outcome.done}
    assert os.path.lexists(tmp_path / "upper" / "entered" / "deep" / "file")
