"""PID 1 of a container, from clone(2) to execve(2): builds the world around itself, then becomes the command.

It runs in the container's namespaces as their root, with the host's files still in sight until `pivot_root`; after that
no module can be imported any more. What fails is told over the channel as the user shall read it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import struct
import traceback
from typing import NoReturn

from ..container.record import Spec
from ..errors import CommandError, RootlessError
from ..kernel import mount as m
from ..kernel import namespaces as ns
from ..kernel import process, pty
from . import privileges, reaper, rootfs, users
from .bundle import Bundle, Stdio
from .channel import Channel, Console, Failed, Mapped, Prepared, Proceed

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1  # netdevice(7)


def run(bundle: Bundle, stdio: Stdio, channel: Channel, server: socket.socket | None) -> NoReturn:
    """The body of PID 1. Ends by execve(2), or with a `Failed` on the channel."""
    try:
        _wait_for(channel, Mapped)
        _cut_ties()
        console = _build(bundle, server)
        _connect_streams(stdio, console, channel)
        _become(bundle, channel)
    except RootlessError as problem:
        code = problem.exit_code if isinstance(problem, CommandError) else 125
        _report(bundle, channel, problem.message, problem.hint, code)
    except BaseException as problem:  # there is no caller above who could tell it
        _report(bundle, channel, f"the container could not be set up: {problem}", "", 125)
    finally:
        os._exit(1)


def _report(bundle: Bundle, channel: Channel, message: str, hint: str, code: int) -> None:
    trace = traceback.format_exc() if bundle.debug else ""
    channel.send(Failed(message, hint, code, trace))


def _wait_for(channel: Channel, kind: type[Mapped] | type[Proceed]) -> None:
    message, _ = channel.receive()
    if not isinstance(message, kind):  # the monitor is gone: nobody would ever wait for this process
        os._exit(1)


def _cut_ties() -> None:
    """Leave what the engine's process carries: its session, keyring, umask; and die when the monitor dies.

    PR_SET_PDEATHSIG comes after the change of credentials that clone(2) made (a later one clears it, prctl(2)). A
    monitor that died before is noticed at the next `_wait_for`.
    """
    process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
    # Until execve(2) this is a Python of the host's: a container that shares the pid namespace must not look into it.
    process.prctl(process.PR_SET_DUMPABLE, 0)
    os.setsid()
    os.umask(0o022)
    try:
        process.new_session_keyring()
    except OSError as problem:
        if problem.errno not in (errno.ENOSYS, errno.EPERM, errno.EDQUOT):  # a kernel without keyrings has none to leak
            raise


def _build(bundle: Bundle, server: socket.socket | None) -> tuple[int, int] | None:
    """Names, network, file systems, terminal (its two sides are returned); then the container's root is `/`."""
    spec = bundle.record.spec
    if bundle.namespaces & ns.CLONE_NEWUTS:
        ns.sethostname(spec.hostname)
        if spec.domainname:
            ns.setdomainname(spec.domainname)
    if bundle.namespaces & ns.CLONE_NEWNET:
        _loopback_up()
    m.mount(None, "/", None, m.MS_REC | m.MS_PRIVATE)
    bundle.driver.mount(bundle.stack, bundle.target, server)
    root_fd = os.open(bundle.target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    rootfs.execute(bundle.plan, rootfs.Root(root_fd))
    console = _open_console(bundle, root_fd) if spec.tty else None
    _pivot(root_fd)
    return console


def _loopback_up() -> None:
    """A new network namespace has one interface, lo, and it is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack_from("16sH", fcntl.ioctl(control, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))


def _open_console(bundle: Bundle, root_fd: int) -> tuple[int, int]:
    """A terminal of the container's own devpts, as its /dev/console too: (controlling side, terminal side)."""
    controller, terminal, number = pty.open_pair(f"/proc/self/fd/{root_fd}/dev/pts/ptmx")
    pty.set_window_size(terminal, *bundle.window)
    rootfs.Bind(f"/proc/self/fd/{root_fd}/dev/pts/{number}", "/dev/console").execute(rootfs.Root(root_fd))
    return controller, terminal


def _pivot(root_fd: int) -> None:
    """Make the container's root the root of this mount namespace, and let go of the host's.

    With "." twice the old root ends up stacked on the new one, so no directory for it is needed in the image
    (pivot_root(2), NOTES).
    """
    os.fchdir(root_fd)
    m.pivot_root(".", ".")
    m.umount(".", m.MNT_DETACH)
    os.chdir("/")


def _connect_streams(stdio: Stdio, console: tuple[int, int] | None, channel: Channel) -> None:
    """Descriptors 0, 1 and 2: the terminal, or the pipes to the monitor."""
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


def _become(bundle: Bundle, channel: Channel) -> None:
    """Be the user, with the capabilities and limits that are meant for it, and execute the command."""
    spec = bundle.record.spec
    user = users.look_up(spec.user, spec.group_add, bundle.idmap)
    for number in range(3):
        # As a non-root user the command may open /dev/stdout, which the kernel checks against the pipe's owner.
        _give(number, user.uid, user.gid)
    environment = _environment(spec, user.home)
    os.makedirs(spec.workdir, exist_ok=True)
    privileges.drop(bundle, user)
    _enter_workdir(spec.workdir)
    path = find_command(spec.argv[0], environment.get("PATH", DEFAULT_PATH))
    channel.send(Prepared())
    _wait_for(channel, Proceed)
    if spec.init:
        reaper.split(channel)
    _reset_signals()
    process.close_from(3, frozenset({channel.fileno()}))
    try:
        os.execve(path, spec.argv, environment)
    except OSError as problem:
        raise CommandError(f'exec: "{spec.argv[0]}": {_reason(problem)}', exit_code=126) from problem


def _give(fd: int, uid: int, gid: int) -> None:
    try:
        os.fchown(fd, uid, gid)
    except OSError:
        return  # /dev/null of the host's: everybody may open it


def _environment(spec: Spec, home: str) -> dict[str, str]:
    environment = {}
    for item in spec.env:
        name, _, value = item.partition("=")
        environment[name] = value
    if not environment.get("HOME"):
        environment["HOME"] = home
    return environment


def _enter_workdir(path: str) -> None:
    try:
        os.chdir(path)
    except OSError as problem:
        raise CommandError(f"chdir to the working directory {path}: {_reason(problem)}", exit_code=126) from problem


def find_command(command: str, path: str) -> str:
    """The file that execve(2) gets for `command`: itself when it holds a slash, else the first match on `path`.

    Raises:
        CommandError: 127 when there is none, 126 when there are only ones that can't be executed; in Docker's words.
    """
    if "/" in command:
        if not os.path.exists(command):
            raise CommandError(f'exec: "{command}": stat {command}: no such file or directory', exit_code=127)
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


def _reset_signals() -> None:
    """Every signal as a new program expects it: an ignored one stays ignored over execve(2), and Python ignores two."""
    for number in signal.valid_signals():
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _reason(problem: OSError) -> str:
    return (problem.strerror or str(problem)).lower()
