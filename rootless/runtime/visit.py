"""A process inside a container's root, running or not, that is none of the container's: what `cp` works in.

Of a running container it enters the user and the mount namespace. For one that rests the root is mounted once more, in
the room and in a mount namespace that ends with the process, with what lies in it at a start: volumes, binds, the
files under /etc that the engine writes. Either way `/` is the container's root, and no path leads out of it.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from .. import child, room
from ..container.record import State
from ..kernel import mount as m
from ..kernel import namespaces as ns
from ..kernel import process
from ..storage.driver import LayerStack, StorageDriver
from . import enter, rootfs
from .mountpoint import Root

T = TypeVar("T")

_WHAT = "a process in the container"


@dataclass(frozen=True)
class Resting:
    """How the root of a container that does not run is mounted.

    Attributes:
        room: a descriptor on the room.
        target: where, relative to the store like the parts of `stack`.
        plan: what is mounted in it.
    """

    store: Path
    driver: StorageDriver
    stack: LayerStack
    target: str
    plan: tuple[rootfs.Operation, ...]
    room: int


def in_running(state: State, work: Callable[[], T]) -> T:
    """Do `work` in a running container. To be called in a process forked for it, from which no way leads back.

    Raises:
        ConflictError: it does not run any more.
    """
    namespaces = enter.open_namespaces(state, "user", "mnt")
    # Before anything of the container can see this process: it is a Python of the host's.
    process.prctl(process.PR_SET_DUMPABLE, 0)
    enter.enter(namespaces)
    _settle()
    return work()


def in_resting(order: Resting, work: Callable[[], T]) -> T:
    """Do `work` in the root of a container that does not run, whose lock is held. To be called in a process forked for
    it.

    Raises:
        OSError, RootlessError: it can't be mounted.
    """
    os.chdir(order.store)
    place = order.driver.server_place(order.stack)
    pair = socket.socketpair() if place else None
    server = _serve(order, pair[1]) if pair and place == "outside" else 0
    room.enter(order.room)
    process.prctl(process.PR_SET_DUMPABLE, 1)  # as in the stage: /proc/self would be the real root's
    if pair and place == "inside":
        server = _serve(order, pair[1])
    try:
        return child.call(lambda: _in_root(order, pair[0] if pair else None, work), _WHAT)
    finally:
        if pair:
            pair[0].close()
            pair[1].close()
            os.waitpid(server, 0)  # it ends with the mount, and must not be at work any more when the lock is released


def _serve(order: Resting, connection: socket.socket) -> int:
    """The file system's process: outside the mount namespace, which it would keep alive."""
    pid = os.fork()
    if pid == 0:
        try:
            process.close_from(3, frozenset({connection.fileno()}))
            order.driver.serve(order.stack, connection)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(1)
    return pid


def _in_root(order: Resting, server: socket.socket | None, work: Callable[[], T]) -> T:
    _settle()
    ns.unshare(ns.CLONE_NEWNS)
    m.mount(None, "/", None, m.MS_REC | m.MS_PRIVATE)
    order.driver.mount(order.stack, order.target, server)
    root = os.open(order.target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    rootfs.execute(order.plan, Root(root))
    os.fchdir(root)
    m.pivot_root(".", ".")
    m.umount(".", m.MNT_DETACH)
    os.chdir("/")
    os.close(root)
    return work()


def _settle() -> None:
    """Die with the process that is waiting for the work; make files with the modes that are asked for."""
    process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.umask(0)
