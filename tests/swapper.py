"""A process that exchanges a directory for links that lead out, over and over, while something else works there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rootless.kernel import mount as m
from rootless.kernel import namespaces as ns

SWAP = """
import os, sys
root, outside = sys.argv[1:]
os.chdir(root)
links = [outside, "/", "../../" * 20 + outside.lstrip("/"), "/proc/1/root" + outside, "/proc/self/cwd"]
number = 0
print("ready", flush=True)
while True:
    number += 1
    os.symlink(links[number % len(links)], "link")
    os.mkdir("dir")
    for name in "dir", "link":
        try:
            os.rename(name, "d/x")
        except OSError:
            try:
                os.rename("d/x", "old")
                os.rename(name, "d/x")
            except OSError:
                pass
        for left in "old", "link", "dir":
            try:
                os.rmdir(left) if not os.path.islink(left) else os.unlink(left)
            except OSError:
                pass
"""


@contextmanager
def swapping(root: Path, outside: Path) -> Iterator[None]:
    """During the block `d/x` below `root` is by turns a directory, and a link to `outside` or to other places."""
    swapper = subprocess.Popen([sys.executable, "-c", SWAP, root, outside], stdout=subprocess.PIPE)
    assert swapper.stdout is not None
    swapper.stdout.readline()
    try:
        yield
    finally:
        os.kill(swapper.pid, signal.SIGKILL)
        swapper.wait()
        swapper.stdout.close()


def own_namespaces() -> None:
    """Make the calling process root of a user and a mount namespace of its own."""
    uid, gid = os.getuid(), os.getgid()
    ns.unshare(ns.CLONE_NEWUSER | ns.CLONE_NEWNS)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    m.mount("", "/", "", m.MS_REC | m.MS_PRIVATE)
