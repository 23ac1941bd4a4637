"""A cgroup for a container, where the caller may have one.

It is made below a *base*: the monitor's own cgroup, or one above it, that was delegated to the caller ("Delegation" in
the kernel's cgroup-v2.rst), else a scope that the caller's systemd makes around the monitor. A scope is only asked for
when a limit needs it: it belongs to the user's service manager, and ends with that when the user has logged out and
does not linger, while a session's processes usually stay.

    base/                          passes on the controllers that the limits need: it must have no processes then
      monitor/                     in a scope only: where the monitor has to go for that
      rootless-<12 of the id>/     the limits, the freezer, cgroup.kill
        container/                 the processes; the root of the container's cgroup namespace

The two levels are for those inside: their root belongs to container root, who could write its limits where it can be
mounted for writing. So the limits hold one level above, out of sight, and are only repeated here, for programs that
look at /sys/fs/cgroup/memory.max to learn how much they have.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from ..kernel import cgroup as kernel
from ..kernel import namespaces as ns
from . import systemd

SCOPE_TIMEOUT = 5.0
"""Seconds in which systemd has to bring a process where it said it would."""

REMOVE_TIMEOUT = 2.0
"""Seconds that killed processes have to leave their cgroup."""

INNER = "container"
UNITS = (".slice", ".scope", ".service", ".socket", ".mount", ".swap")
"""How the names of those cgroups end that are systemd's to manage: nothing of ours is made in one that is not ours."""


class Base(msgspec.Struct, frozen=True):
    """A cgroup in which the caller may make others.

    Attributes:
        controllers: those of the ones asked for that it passes on, or would.
        home: the cgroup of the caller itself, at or below `directory`.
    """

    directory: Path
    controllers: frozenset[str]
    home: Path


def find(wanted: frozenset[str], parent: str = "") -> Base | None:
    """The base that gives most of the controllers in `wanted`, the nearest first. None when there is none.

    Args:
        parent: if not empty, this one and no other: a path from the top of the hierarchy, or below that base.
    """
    home = kernel.own()
    if home is None:
        return None
    if parent:
        return _named(home, parent, wanted)
    base = _best(home, wanted)
    if base is not None and base.controllers >= wanted:
        return base
    scope = _enter_scope() if wanted else None
    return base if scope is None else _best(scope, wanted) or base


def _best(home: Path, wanted: frozenset[str]) -> Base | None:
    bases = [Base(directory, _would_pass_on(directory, wanted), home) for directory in _delegated(home)]
    return max(bases, key=lambda base: len(base.controllers), default=None)  # of equals, the first


def _named(home: Path, parent: str, wanted: frozenset[str]) -> Base | None:
    """A base that somebody names. One below a base of ours is made where it is not there."""
    words = [word for word in parent.split("/") if word not in ("", ".")]
    best = _best(home, wanted)
    if not words or ".." in words or (best is None and not parent.startswith("/")):
        return None
    start = top(home) if parent.startswith("/") or best is None else best.directory
    directory = start.joinpath(*words)
    with suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True)
    common = Path(os.path.commonpath((home, directory)))
    if not (_may_write(directory) and os.access(common / "cgroup.procs", os.W_OK, effective_ids=True)):
        return None
    for above in reversed(directory.relative_to(start).parents):
        kernel.pass_on(start / above, wanted)
    return Base(directory, _would_pass_on(directory, wanted), home)


def top(directory: Path) -> Path:
    """The highest cgroup that can be seen from here."""
    for above in directory.parents:
        if not (above / "cgroup.procs").exists():
            break
        directory = above
    return directory


def _delegated(home: Path) -> Iterator[Path]:
    """The caller's own cgroup and those above it, as far as they were handed to the caller."""
    if _may_write(home):
        yield home
    has_manager = os.geteuid() == 0 and bool(systemd.sockets())  # root may write everywhere, but has somebody to ask
    for directory in home.parents:
        if not _may_write(directory):
            return
        if _is_ours(directory) or not (has_manager or directory.name.endswith(UNITS)):
            yield directory


def _is_ours(directory: Path) -> bool:
    """Whether it is a scope that `find` asked for."""
    return directory.name.startswith("rootless-") and directory.name.endswith(".scope")


def _may_write(directory: Path) -> bool:
    """Whether the caller may make cgroups there and bring its processes into them (cgroup-v2.rst, "Delegation
    Containment": cgroup.procs of the nearest cgroup above both places must be writable)."""
    return (
        os.access(directory, os.W_OK | os.X_OK, effective_ids=True)
        and os.access(directory / "cgroup.procs", os.W_OK, effective_ids=True)
        and kernel.read(directory, "cgroup.type") in ("", "domain")
    )


def _would_pass_on(directory: Path, wanted: frozenset[str]) -> frozenset[str]:
    """The "no internal processes" rule: only a cgroup without processes of its own can pass controllers on."""
    already = wanted & kernel.passed_on(directory)
    writable = os.access(directory / "cgroup.subtree_control", os.W_OK, effective_ids=True)
    if writable and (kernel.is_root(directory) or not kernel.processes(directory)):
        return already | wanted & kernel.controllers(directory)
    return already


def _enter_scope() -> Path | None:
    """Have systemd make a scope around this process, and leave its top for a leaf; the leaf."""
    before = kernel.own()
    with suppress(systemd.ManagerError, OSError):
        systemd.start_scope(f"rootless-{os.getpid()}-{os.urandom(4).hex()}.scope", os.getpid())
        deadline = time.monotonic() + SCOPE_TIMEOUT
        while (scope := kernel.own()) == before:
            if time.monotonic() > deadline:
                return None
            time.sleep(0.002)
        if scope is None:
            return None
        leaf = scope / "monitor"
        leaf.mkdir()
        kernel.write(leaf, "cgroup.procs", "0")
        return leaf
    return None


def make(base: Base, name: str) -> None:
    """Make the cgroup `name` below the base, with the base's controllers.

    What a killed monitor left under this name is removed first: the caller holds the container's lock.

    Raises:
        OSError: EAGAIN at a limit of somebody's above (cgroup.max.descendants), EBUSY when the old one does not go.
    """
    directory = base.directory / name
    remove(directory)
    got = kernel.pass_on(base.directory, base.controllers)
    directory.mkdir()
    try:
        kernel.pass_on(directory, got)
        (directory / INNER).mkdir()
    except OSError:
        remove(directory)
        raise


def extend(directory: Path, wanted: frozenset[str]) -> None:
    """Have more controllers in a container's cgroup, as far as what is above gives them."""
    kernel.pass_on(directory.parent, wanted)
    kernel.pass_on(directory, wanted)


def fork(directory: Path) -> int:
    """fork(2), as os.fork(), with the child in the cgroup of a container that `make` made. `holds` tells whether it is.

    It is born there (CLONE_INTO_CGROUP), which costs nothing, rather than moved. From another part of the tree, such as
    the login session that `exec` is typed in, the kernel lets no unprivileged process go there; if it is in a scope,
    systemd may bring it.
    """
    try:
        return _bear(directory / INNER)
    except OSError:
        pid = os.fork()
        if pid == 0:
            with suppress(systemd.ManagerError):
                _be_brought(directory / INNER)
        return pid


def _bear(directory: Path) -> int:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return ns.clone(0, fd)
    finally:
        os.close(fd)


def _be_brought(directory: Path) -> None:
    """Have systemd bring this process to a cgroup in a scope. Without one, nothing happens."""
    for above in directory.parents:
        if _is_ours(above):
            systemd.attach(above.name, f"/{directory.relative_to(above)}", os.getpid())


def forker(directory: str) -> Callable[[], int]:
    """`fork` for a container's cgroup, os.fork() for an empty one."""
    return (lambda: fork(Path(directory))) if directory else os.fork


def remove(directory: Path) -> bool:
    """Kill what is left in a container's cgroup, and remove it. Whether it is gone."""
    return kernel.remove(directory, REMOVE_TIMEOUT)


def holds(directory: Path, pid: int) -> bool:
    """Whether a process, which may have ended, is or was in the container's cgroup, or one below."""
    where = kernel.own(membership=f"/proc/{pid}/cgroup")
    return where is not None and where.is_relative_to(directory)
