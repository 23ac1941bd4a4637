"""The room: one user namespace for each user, store and id map, in which all of that user's containers are nested.

Nobody lives in it and no daemon keeps it: a descriptor on it does, and every monitor holds one (holders.py). A process
of the same user enters it with setns(2), because the creator of a user namespace owns it, and has every capability
inside. Files of subordinate ids (layers, upper directories) can be made, read and removed only from within; `call` does
such work in a forked child.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

from . import child, holders
from .errors import UnavailableError
from .idmap import Extent, IdMap, map_text
from .kernel import namespaces, process
from .paths import Paths

T = TypeVar("T")

_WHAT = "a process in the user namespace"


def open_room(paths: Paths, idmap: IdMap, *, hold: bool = False, meanwhile: Callable[[], object] | None = None) -> int:
    """A descriptor on the room of this map, found or made.

    Args:
        hold: register the calling process as one that keeps it (a monitor), so that others find it here.
        meanwhile: called while the set-uid helpers are waited for, if they are needed.

    Raises:
        UnavailableError: user namespaces or the map were refused; says by what.
    """
    return holders.find_or_make(paths.rooms, idmap.tag, lambda: _make(idmap, meanwhile), hold=hold)


def forget(paths: Paths, idmap: IdMap) -> None:
    """Take the calling process off the list of holders."""
    holders.forget(paths.rooms, idmap.tag)


def has_dead_holders(paths: Paths) -> bool:
    """Whether a monitor was killed: it left its name on a list. Costs a look at each running monitor and no lock."""
    return holders.has_dead(paths.rooms)


def sweep(paths: Paths) -> None:
    """Take holders that were killed off the lists."""
    holders.sweep(paths.rooms)


def _make(idmap: IdMap, meanwhile: Callable[[], object] | None = None) -> int:
    """A new user namespace with this map; only the returned descriptor keeps it."""
    unshared_read, unshared_write = os.pipe2(os.O_CLOEXEC)
    mapped_read, mapped_write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _first_inhabitant(idmap, unshared_write, mapped_read, mapped_write)
    os.close(unshared_write)
    os.close(mapped_read)
    try:
        answer = os.read(unshared_read, 256)
        if answer != b"ok":
            raise UnavailableError(
                f"a user namespace was refused ({answer.decode() or 'the process died'})",
                hint="an administrator can look at the sysctls user.max_user_namespaces, "
                "kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns",
            )
        if not idmap.single:
            _write_maps(pid, idmap, meanwhile)
        return namespaces.open_namespace(pid, namespaces.CLONE_NEWUSER)
    finally:
        os.close(mapped_write)
        os.close(unshared_read)
        os.waitpid(pid, 0)


def _first_inhabitant(idmap: IdMap, report: int, mapped: int, writer: int) -> None:
    """The child that makes the namespace and lives until its maker holds a descriptor on it. Never returns."""
    try:
        process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.close(writer)
        namespaces.unshare(namespaces.CLONE_NEWUSER)
        if idmap.single:
            # Without privilege one id may be mapped by its owner, after setgroups(2) was given up (user_namespaces(7)).
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(map_text(idmap.uids))
            Path("/proc/self/gid_map").write_text(map_text(idmap.gids))
        os.write(report, b"ok")
        os.read(mapped, 1)
    except OSError as problem:
        os.write(report, str(problem).encode()[:256])
    finally:
        os._exit(0)


def _write_maps(pid: int, idmap: IdMap, meanwhile: Callable[[], object] | None) -> None:
    if os.geteuid() == 0:
        Path(f"/proc/{pid}/uid_map").write_text(map_text(idmap.uids))
        Path(f"/proc/{pid}/gid_map").write_text(map_text(idmap.gids))
        return
    helpers = [_Helper("newuidmap", pid, idmap.uids), _Helper("newgidmap", pid, idmap.gids)]
    if meanwhile is not None:
        meanwhile()
    for helper in helpers:
        helper.wait()


class _Helper:
    """One of shadow's set-uid helpers, running: newuidmap(1) checks the map against /etc/subuid and writes it."""

    def __init__(self, name: str, pid: int, extents: tuple[Extent, ...]) -> None:
        self.name = name
        arguments = [name, str(pid)]
        for extent in extents:
            arguments += [str(extent.inside), str(extent.outside), str(extent.count)]
        self.output, write = os.pipe2(os.O_CLOEXEC)
        actions = [(os.POSIX_SPAWN_DUP2, write, 1), (os.POSIX_SPAWN_DUP2, write, 2)]
        try:
            self.pid = os.posix_spawnp(name, arguments, os.environ, file_actions=actions)
        except OSError as problem:
            os.close(self.output)
            raise UnavailableError(
                f"{name}: {problem.strerror}", hint="an administrator can run: apt-get install uidmap"
            ) from problem
        finally:
            os.close(write)

    def wait(self) -> None:
        with open(self.output, errors="replace") as file:
            said = " ".join(file.read().split())
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        if code != 0:
            raise UnavailableError(
                f"{self.name} refused the id map: {said or f'exit code {code}'}",
                hint="the ranges in /etc/subuid and /etc/subgid must be yours, and the helper set-uid root",
            )


def enter(fd: int, *, keep_groups: bool = False) -> None:
    """Move the calling process into the room as its root, with every capability there. No way leads back.

    Args:
        keep_groups: the caller's supplementary groups stay, though the room has no numbers for them: what only they may
            search can still be mounted. Whoever becomes a container's user gives them up then.

    Raises:
        OSError: EPERM when the caller is not the room's owner, EINVAL when it is in it already or has threads.
    """
    namespaces.setns(fd, namespaces.CLONE_NEWUSER)
    if not keep_groups:
        with suppress(PermissionError):  # in a map of one id setgroups(2) is given up
            os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def call(fd: int, work: Callable[[], T], *, keep_groups: bool = False) -> T:
    """Run `work` in a child inside the room, as its root, and give back what it returns or raise what it raises.

    If the caller dies, the child is killed. Only for a process with one thread.

    Args:
        keep_groups: as for `enter`.
    """

    def inside() -> T:
        inhabit(fd, keep_groups=keep_groups)
        return work()

    return child.call(inside, _WHAT)


def stream(fd: int, work: Callable[[BinaryIO], object]) -> AbstractContextManager[BinaryIO]:
    """As `call`, for work whose result is what it writes: see `child.stream`."""

    def inside(sink: BinaryIO) -> None:
        inhabit(fd)
        work(sink)

    return child.stream(inside, _WHAT)


def inhabit(fd: int, *, keep_groups: bool = False) -> None:
    """Enter the room in a forked child, which then ends with its parent."""
    enter(fd, keep_groups=keep_groups)
    process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of credentials, which clears it
