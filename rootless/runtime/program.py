"""The last steps of a process that becomes a container's command: streams, user, powers, execve(2).

PID 1 comes here when its world is built (init.py), a process of `exec` when it has entered a world that stands
(enter.py). Nothing is imported any more: `/` is the container's.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from contextlib import suppress
from typing import NoReturn

import msgspec

from ..container.record import Ulimit
from ..errors import CommandError, RootlessError
from ..idmap import IdMap
from ..kernel import process, pty
from ..kernel.caps import Cap
from . import privileges, reaper, springboard, users
from .channel import Channel, Console, Failed, Mapped, Prepared, Proceed
from .seccomp import Filter

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Stdio(msgspec.Struct, frozen=True):
    """The container's ends of its streams, -1 for each that the terminal takes the place of."""

    stdin: int
    stdout: int
    stderr: int


class Program(msgspec.Struct, frozen=True):
    """What is executed, by whom, with which powers.

    Attributes:
        user: `user[:group]`, looked up in the container's own files.
        window: (rows, columns) of the terminal at its start.
        filter: the compiled seccomp program; None for none.
        debug: send tracebacks along with failures.
        affinity: the processors that it may run on; empty for all.
        oom_score_adj: 0 for the caller's own.
        make_workdir: make the working directory where there is none, as at a container's start. Elsewhere what is not
            there is a mistake.
        accounts: lines for /etc/passwd and /etc/group, where these exist and have none of that id; empty for none.
    """

    argv: tuple[str, ...]
    env: tuple[str, ...]
    workdir: str
    user: str
    group_add: tuple[str, ...]
    tty: bool
    stdin_open: bool
    init: bool
    ulimits: tuple[Ulimit, ...]
    no_new_privileges: bool
    capabilities: frozenset[Cap]
    filter: Filter | None
    idmap: IdMap
    window: tuple[int, int]
    debug: bool
    affinity: frozenset[int] = frozenset()
    oom_score_adj: int = 0
    accounts: tuple[str, str] = ("", "")
    make_workdir: bool = True


def adjust_oom_score(program: Program) -> None:
    """For this process and those it will make. While it is dumpable: later its files in /proc are the real root's."""
    if program.oom_score_adj:
        with suppress(PermissionError):  # whoever asked for the start is told (confinement.py)
            process.set_oom_score_adj(program.oom_score_adj)


def report(program: Program, channel: Channel, problem: BaseException) -> None:
    """Tell the monitor why there is no command; there is no caller above who could."""
    trace = ""
    if program.debug:
        import traceback  # `begin` has seen to it that this needs no file

        trace = traceback.format_exc()
    if isinstance(problem, RootlessError):
        code = problem.exit_code if isinstance(problem, CommandError) else 125
        channel.send(Failed(problem.message, problem.hint, code, trace))
    else:
        channel.send(Failed(f"the container could not be set up: {problem}", "", 125, trace))


def wait_for(channel: Channel, kind: type[Mapped] | type[Proceed]) -> None:
    """The monitor's next message. Without a monitor nobody would ever wait for this process: it ends."""
    if not isinstance(channel.read(), kind):
        os._exit(1)


def cut_ties(stdio: Stdio, channel: Channel, *keep: int) -> None:
    """Leave what the engine's process carries: its descriptors, but for the streams, the channel and those to `keep`;
    its session, keyring and umask; and die when the monitor dies.

    PR_SET_PDEATHSIG comes after the change of credentials that clone(2) made (a later one clears it, prctl(2)). A
    monitor that died before is noticed at the next `wait_for`.
    """
    process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
    # Until execve(2) this is a Python of the host's: a container that shares the pid namespace must not look into it.
    process.prctl(process.PR_SET_DUMPABLE, 0)
    # Before anything of the image is looked up: a path in it may lead through /proc/self/fd (CVE-2024-21626).
    process.close_from(3, frozenset({stdio.stdin, stdio.stdout, stdio.stderr, channel.fileno(), *keep}))
    os.setsid()
    os.umask(0o022)
    try:
        process.new_session_keyring()
    except OSError as problem:
        if problem.errno not in (errno.ENOSYS, errno.EPERM, errno.EDQUOT):  # a kernel without keyrings has none to leak
            raise


def connect_streams(stdio: Stdio, console: tuple[int, int] | None, channel: Channel) -> None:
    """Descriptors 0, 1 and 2: the terminal (its controlling and its terminal side), or the pipes to the monitor."""
    if console is not None:
        controller, terminal = console
        channel.send(Console(), controller)
        os.close(controller)
        pty.make_controlling(terminal)
        for number in range(3):
            os.dup2(terminal, number)
        os.close(terminal)
        return
    for number, fd in enumerate((stdio.stdin, stdio.stdout, stdio.stderr)):
        os.dup2(fd, number)


def become(program: Program, channel: Channel) -> NoReturn:
    """Be the user, with the capabilities and limits that are meant for it, and execute the command.

    Raises:
        RootlessError: what stands against it, as the user shall read it.
    """
    users.add(program.accounts)
    user = users.look_up(program.user, program.group_add, program.idmap)
    for number in range(3):
        # As a non-root user the command may open /dev/stdout, which the kernel checks against the pipe's owner.
        _give(number, user.uid, user.gid)
    environment = _environment(program.env, user.home)
    board = springboard.prepare()
    if program.make_workdir:
        _make_workdir(program.workdir)
    # As root first, who may search every directory of the container's own, as runc does; as the user where root of
    # the container may not: a directory of the machine's that was mounted for that user.
    entered = _enter_workdir(program.workdir, again=True)
    privileges.drop(program, user)
    if not entered:
        _enter_workdir(program.workdir)
    path = find_command(program.argv[0], environment.get("PATH", DEFAULT_PATH))
    channel.send(Prepared())
    wait_for(channel, Proceed)
    if program.init:
        reaper.split()
    _reset_signals()
    board = _arrange(channel, board)
    privileges.tighten(program)
    try:
        springboard.jump(board, path, program.argv, environment)
    except OSError as problem:
        raise CommandError(f'exec: "{program.argv[0]}": {_reason(problem)}', exit_code=126) from problem


def _arrange(channel: Channel, board: int) -> int:
    """The channel on descriptor 3, the springboard on 4, nothing else."""
    first = springboard.CHANNEL
    # Both out of the way before either takes its place: dup2(2) onto itself would not do, nor onto the other.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, first + 2) for fd in (channel.fileno(), board)]
    for place, fd in enumerate(high, first):
        os.dup2(fd, place, inheritable=False)
    channel.move_to(first)
    process.close_from(first + 2)
    return first + 1


def _give(fd: int, uid: int, gid: int) -> None:
    try:
        os.fchown(fd, uid, gid)
    except OSError:
        return  # /dev/null of the host's: everybody may open it


def _environment(items: tuple[str, ...], home: str) -> dict[str, str]:
    environment = {}
    for item in items:
        name, _, value = item.partition("=")
        environment[name] = value
    if not environment.get("HOME"):
        environment["HOME"] = home
    return environment


def _make_workdir(path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as problem:
        raise RootlessError(f"the working directory {path} can't be made: {_reason(problem)}") from problem


def _enter_workdir(path: str, *, again: bool = False) -> bool:
    """With `again`, for who can try once more, False where it may not be entered."""
    try:
        os.chdir(path)
        inside = os.getcwd().startswith("/")
    except OSError as problem:
        if again and isinstance(problem, PermissionError):
            return False
        code = 127 if isinstance(problem, FileNotFoundError) else 126
        raise CommandError(f"chdir to the working directory {path}: {_reason(problem)}", exit_code=code) from problem
    if not inside:  # getcwd(2) says "(unreachable)" of a directory that a descriptor of the host's led to
        raise RootlessError(f"the working directory {path} lies outside of the container", hint="name another one")
    return True


def find_command(command: str, path: str) -> str:
    """The file that execve(2) gets for `command`: itself when it holds a slash, else the first match on `path`.

    Raises:
        CommandError: 127 when there is none, 126 when there are only ones that can't be executed; in Docker's words.
    """
    if "/" in command:
        _require_file(command)
        candidates = [command]
    else:
        candidates = [f"{directory or '.'}/{command}" for directory in path.split(":")] if command else []
    found = [c for c in candidates if os.path.isfile(c) or "/" in command]
    for candidate in found:
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK, effective_ids=True):
            return candidate
    if found:
        reason = "is a directory" if os.path.isdir(found[0]) else "permission denied"
        raise CommandError(f'exec: "{command}": {reason}', exit_code=126)
    raise CommandError(f'exec: "{command}": executable file not found in $PATH', exit_code=127)


def _require_file(command: str) -> None:
    try:
        os.stat(command)
    except OSError as problem:
        code = 126 if isinstance(problem, PermissionError) else 127
        raise CommandError(f'exec: "{command}": stat {command}: {_reason(problem)}', exit_code=code) from problem


def _reset_signals() -> None:
    """Every signal as a new program expects it: an ignored one stays ignored over execve(2), and Python ignores two."""
    for number in signal.valid_signals():
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _reason(problem: OSError) -> str:
    return (problem.strerror or str(problem)).lower()
