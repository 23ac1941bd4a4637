"""The stage of `exec`: enters a running container's namespaces and makes a process in them.

It stands where PID 1's stage stands (stage.py): forked from the monitor of the new process, it clones with
CLONE_PARENT, so that this monitor waits for the process itself. The namespaces come from the container's own monitor,
which holds a descriptor on each.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import NoReturn

from ..container.record import State
from ..errors import ConflictError
from ..kernel import namespaces as ns
from ..kernel import process, pty
from .channel import Channel, Cloned, Failed, Mapped
from .program import Program, Stdio, adjust_oom_score, become, connect_streams, cut_ties, report, wait_for


def open_namespaces(state: State, *wanted: str) -> dict[str, int]:
    """Descriptors on the namespaces of a running container, by their names under /proc/PID/ns.

    Args:
        wanted: only these; all by default.

    Raises:
        ConflictError: it does not run any more.
    """
    try:
        if process.start_time(state.monitor) != state.monitor_started:
            raise ProcessLookupError
        return {
            name: os.open(f"/proc/{state.monitor}/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
            for name, fd in state.namespaces.items()
            if not wanted or name in wanted
        }
    except OSError as problem:
        raise ConflictError("the container is not running") from problem


def enter(namespaces: Mapping[str, int]) -> None:
    """Move the calling process, which must have one thread, into these namespaces, as root of the user namespace, which
    must be among them.

    The pid namespace takes effect for children only (pid_namespaces(7)).

    Raises:
        OSError: EPERM when the caller does not own the user namespace.
    """
    # What the container has from the caller belongs to the machine's root: to enter it is refused, even from within.
    named = {flag: name for flag, name in ns.FILES.items() if name in namespaces}
    others = {flag: name for flag, name in named.items() if not _is_in(name, namespaces[name])}
    for flag, name in others.items():  # the user namespace first: it gives the capabilities for the others
        ns.setns(namespaces[name], flag)
        if flag == ns.CLONE_NEWUSER:
            with suppress(PermissionError):  # in a map of one id setgroups(2) has been given up
                os.setgroups([])
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
    os.chdir("/")


def _is_in(name: str, namespace: int) -> bool:
    """Whether the calling process is in this namespace (namespaces(7))."""
    ours, other = os.stat(f"/proc/self/ns/{name}"), os.fstat(namespace)
    return (ours.st_dev, ours.st_ino) == (other.st_dev, other.st_ino)


def run(program: Program, namespaces: Mapping[str, int], stdio: Stdio, channel: Channel) -> NoReturn:
    """The body of the stage."""
    code = 1
    try:
        adjust_oom_score(program)
        # Before anything of the container can see this process: it is a Python of the host's.
        process.prctl(process.PR_SET_DUMPABLE, 0)
        enter(namespaces)
        pid = ns.clone(ns.CLONE_PARENT)
        if pid == 0:
            _be_process(program, stdio, channel)
        channel.send(Cloned(pid))
        code = 0
    except BaseException as problem:
        channel.send(Failed(f"the container could not be entered: {problem}"))
    finally:
        os._exit(code)


def _be_process(program: Program, stdio: Stdio, channel: Channel) -> NoReturn:
    try:
        wait_for(channel, Mapped)
        cut_ties(stdio, channel)
        console = pty.open_pair("/dev/ptmx")[:2] if program.tty else None
        if console is not None:
            pty.set_window_size(console[1], *program.window)
        connect_streams(stdio, console, channel)
        become(program, channel)
    except BaseException as problem:
        report(program, channel, problem)
    finally:
        os._exit(1)
