"""The stage: the hand in the room. Clones PID 1 as the monitor's child, writes its id map, and ends.

It exists because of two rules of the kernel: the map of a nested user namespace can be written only by a process of its
parent (user_namespaces(7)), and with CLONE_PARENT the clone becomes the monitor's own child, so that the monitor, which
must stay in the caller's namespaces to write the store, waits for PID 1 itself and learns its exit status.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import NoReturn

from .. import room
from ..errors import RootlessError
from ..idmap import map_text
from ..kernel import namespaces as ns
from ..kernel import process
from . import init, mounting
from .bundle import Bundle
from .channel import Channel, Cloned, Failed
from .program import Stdio, adjust_oom_score


def run(bundle: Bundle, stdio: Stdio, room_fd: int, channel: Channel, outside: int) -> NoReturn:
    """The body of the stage, in a child of the monitor.

    Args:
        outside: a descriptor on the monitor's cgroup, where the stage itself is in the container's; else -1.
    """
    code = 1
    try:
        adjust_oom_score(bundle.program)
        os.chdir(bundle.store)  # drivers and binds name the store's files relative to it, whoever may not search above
        place = bundle.driver.server_place(bundle.stack)
        connections = socket.socketpair() if place else None
        # Later would be too late: no way leads back out of the room.
        server = _start_server(bundle, connections[1], outside, -1) if connections and place == "outside" else 0
        copies = mounting.copies_for_root(bundle.plan)
        room.enter(room_fd, keep_groups=True)
        # Root's change of ids made the process undumpable, and its /proc files the real root's (proc(5)): PID 1, a copy
        # of this process, would have a uid_map that nobody in the room may open.
        process.prctl(process.PR_SET_DUMPABLE, 1)
        sharing = bundle.sharing
        if connections and place == "inside" and sharing.user >= 0:
            server = _start_server(bundle, connections[1], outside, sharing.user)
        borrowed = copies | mounting.copies_of_memory(bundle.plan) | sharing.borrow()
        sharing.join()
        pid = ns.clone(sharing.own | ns.CLONE_PARENT)
        if pid == 0:
            if connections:
                connections[1].close()
            init.run(bundle, stdio, channel, connections[0] if connections else None, borrowed)
        if sharing.user < 0:
            _write_maps(pid, bundle)
            if connections and place == "inside":
                server = _start_server(bundle, connections[1], outside, ns.open_namespace(pid, ns.CLONE_NEWUSER))
        channel.send(Cloned(pid, server))
        code = 0
    except RootlessError as problem:
        channel.send(Failed(str(problem)))
    except BaseException as problem:  # whatever it was, the monitor must hear of it: this process has no other way out
        channel.send(Failed(f"the container's namespaces could not be made: {problem}"))
    finally:
        os._exit(code)


def _write_maps(pid: int, bundle: Bundle) -> None:
    Path(f"/proc/{pid}/uid_map").write_text(map_text(bundle.idmap.uids))
    Path(f"/proc/{pid}/gid_map").write_text(map_text(bundle.idmap.gids))


def _start_server(bundle: Bundle, connection: socket.socket, outside: int, user: int) -> int:
    """The file system's process: in the user namespace `user`, a descriptor, where the ids are real, or (-1) in the
    caller's, and in none other of the container's namespaces. Inside the mount or pid namespace it would keep them
    alive, or be killed before its clients. In the container's cgroup it would be frozen with its clients, and whoever
    looks at their files from outside would hang."""
    server = _clone_outside(outside)
    if server == 0:
        try:
            if user >= 0:
                ns.setns(user, ns.CLONE_NEWUSER)
            process.close_from(3, frozenset({connection.fileno()}))
            bundle.driver.serve(bundle.stack, connection)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(1)
    return server


def _clone_outside(cgroup: int) -> int:
    try:
        return ns.clone(ns.CLONE_PARENT, cgroup)
    except OSError:
        # As a subordinate id, which real root's containers have, this process may not leave the container's cgroup.
        return ns.clone(ns.CLONE_PARENT)
