"""`exec`: another process in a running container, under a monitor of its own."""

from __future__ import annotations

import os

import msgspec

from ..errors import ConflictError, UsageError
from ..idmap import IdMap
from ..kernel.caps import supported
from ..runtime import enter, execkeeper, launch, limits
from ..runtime.main_program import main_program
from ..runtime.program import Program
from .container import Container
from .environment import merge_environment
from .state import ALIVE, Status, restarting


class ExecOptions(msgspec.Struct, frozen=True):
    """What the caller asked for; empty where nothing was said.

    Attributes:
        env: `NAME=value` only.
        window: (rows, columns) of the terminal at its start.
    """

    command: tuple[str, ...]
    env: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    tty: bool = False
    interactive: bool = False
    privileged: bool = False
    detach: bool = False
    window: tuple[int, int] = (24, 80)


def execute(container: Container, options: ExecOptions, idmap: IdMap, *, debug: bool = False) -> launch.Started:
    """Start a process in `container`. Its namespaces, limits and filter are the container's; it is not PID 1's child.

    Args:
        idmap: the caller's.

    Raises:
        ConflictError: the container does not run, or is paused; in Docker's words.
        CommandError: 126 or 127, as for a container's own command.
    """
    state = container.state_here()
    if state.status == Status.PAUSED:
        raise ConflictError(f"container {container.name} is paused, unpause the container before exec")
    if state.status == Status.RESTARTING:
        raise restarting(container.id)
    if state.status not in ALIVE:
        raise ConflictError(f"container {container.id} is not running")
    if options.workdir and not options.workdir.startswith("/"):
        raise UsageError(f"Cwd must be an absolute path: {options.workdir}")
    program = _program(container, options, idmap, debug, state.cgroup)
    identifier, words = os.urandom(32).hex(), " ".join(options.command)
    container.emit(f"exec_create: {words}", execID=identifier)
    order = execkeeper.ExecOrder(
        program=program,
        namespaces=enter.open_namespaces(state),
        attached=not options.detach,
        stdin=options.interactive and not options.detach,
        cgroup=state.cgroup,
        ended=lambda code: container.emit("exec_die", execID=identifier, exitCode=str(code)),
        debug=debug,
    )
    started = launch.launch_exec(order)
    if not limits.wanted(container.spec.resources):
        started = msgspec.structs.replace(started, warnings=())  # where it is makes no difference that was asked for
    container.emit(f"exec_start: {words}", execID=identifier)
    return started


def _program(container: Container, options: ExecOptions, idmap: IdMap, debug: bool, cgroup: str) -> Program:
    main = main_program(container.spec, container.paths, idmap, options.window, debug, cgroup)
    program = msgspec.structs.replace(
        main,
        argv=options.command,
        env=merge_environment(("TERM=xterm",) if options.tty else (), main.env, options.env),
        workdir=options.workdir or main.workdir,
        user=options.user or main.user,
        tty=options.tty,
        stdin_open=options.interactive,
        init=False,
        make_workdir=False,
    )
    if options.privileged:
        return msgspec.structs.replace(program, capabilities=supported(), filter=None)
    return program
