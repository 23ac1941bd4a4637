"""The start of a container as its monitor sees it: from the fork of the stage until execve(2) has succeeded.

Everything here comes before trio: the stage is forked, and a process with trio's threads must not fork.
"""

from __future__ import annotations

import errno
import os
import select
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NoReturn, Protocol

import msgspec

from ..errors import RootlessError
from ..kernel import namespaces
from .channel import Channel, Cloned, Console, ExecFailed, Failed, Mapped, Prepared, Proceed
from .program import Program, Stdio
from .stream import STDERR, STDOUT, Connection


class StartError(RootlessError):
    """The stage or PID 1 could not do its part; `exit_code` is Docker's for it."""

    def __init__(self, failure: Failed) -> None:
        super().__init__(failure.message, hint=failure.hint)
        self.exit_code = failure.exit_code
        self.traceback = failure.traceback


class ClientGoneError(Exception):
    """The command that asked for the start died, or was told to end, before the container was started: nothing of it
    shall stay."""


class Running(msgspec.Struct, frozen=True):
    """A started container, by what its monitor holds of it.

    Attributes:
        pid, pidfd: PID 1, a child of the monitor.
        server, server_pidfd: the file system's process, likewise; 0 and -1 when there is none.
        stdin: where input goes, -1 when the container has none.
        outputs: what can be read from the container, by stream; the terminal is its stdout.
        console: the controlling side of the terminal, -1 without one.
        namespaces: a descriptor on each namespace of the process, by its name under /proc/PID/ns. Whoever enters the
            container takes them from here: PID 1 itself may be undumpable, and then even its owner may not look.
    """

    pid: int
    pidfd: int
    server: int
    server_pidfd: int
    stdin: int
    outputs: dict[int, int]
    console: int
    namespaces: dict[str, int]


class Company(Protocol):
    """What is to be done for a container while it starts. Whatever is raised ends the start."""

    def cloned(self, pid: int, namespaces: Mapping[str, int]) -> None:
        """Its namespaces are there, and nothing in them. It waits while this runs."""

    def prepared(self) -> None:
        """It only waits for this to execute its command."""


Stage = Callable[[Stdio, Channel], NoReturn]
"""What runs in the forked stage: makes the process that becomes the command, as a child of the caller."""


def begin(
    stage: Stage,
    program: Program,
    client: Connection | None,
    *,
    keep_namespaces: bool,
    fork: Callable[[], int] = os.fork,
    company: Sequence[Company] = (),
) -> Running:
    """Have `stage` start `program`.

    Args:
        client: on whose behalf; its death before the start ends the start, as does a signal to it. None for a restart,
            which is nobody's.
        keep_namespaces: hold descriptors on the new process's namespaces.
        fork: makes the stage's process, in the cgroup that the new process shall be in.
        company: are told of the steps, in this order.

    Raises:
        StartError: what the stage or the new process reported; both are gone.
        ClientGoneError: see there; likewise.
    """
    if program.debug:
        import traceback  # noqa: F401 - the new process may need it when it can't import any more
    pipes, stdio = _make_pipes(program)
    channel, far = Channel.pair()
    stage_pid = fork()
    if stage_pid == 0:
        channel.close()  # PID 1 must see the end of the channel when the monitor dies, not its own copy of this side
        stage(stdio, far)
    far.close()
    close(stdio.stdin, stdio.stdout, stdio.stderr)
    handshake = _Handshake(channel, client, keep_namespaces, program.argv[0], company)
    stage_pidfd = os.pidfd_open(stage_pid)
    try:
        handshake.run(stage_pidfd)
    except BaseException:
        handshake.kill()
        close(pipes.stdin, *pipes.outputs.values(), handshake.console)
        raise
    finally:
        os.waitpid(stage_pid, 0)
        close(stage_pidfd)
        channel.close()
    return handshake.running(pipes)


class _Pipes(msgspec.Struct, frozen=True):
    """The monitor's ends: none when the container has a terminal."""

    stdin: int
    outputs: dict[int, int]


def _make_pipes(program: Program) -> tuple[_Pipes, Stdio]:
    if program.tty:
        return _Pipes(-1, {}), Stdio(-1, -1, -1)
    if program.stdin_open:
        in_read, in_write = os.pipe2(os.O_CLOEXEC)
    else:
        in_read, in_write = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), -1
    out_read, out_write = os.pipe2(os.O_CLOEXEC)
    err_read, err_write = os.pipe2(os.O_CLOEXEC)
    return _Pipes(in_write, {STDOUT: out_read, STDERR: err_read}), Stdio(in_read, out_write, err_write)


def end(pid: int, pidfd: int) -> int:
    """SIGKILL a child that may have ended by itself, and reap it; its wait status."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def close(*fds: int) -> None:
    for fd in fds:
        if fd >= 0:
            os.close(fd)


class _Handshake:
    """The monitor's half of the talk that channel.py draws."""

    def __init__(
        self,
        channel: Channel,
        client: Connection | None,
        keep_namespaces: bool,
        command: str,
        company: Sequence[Company],
    ) -> None:
        self.channel, self.client, self.keep_namespaces, self.command = channel, client, keep_namespaces, command
        self.company = company
        self.cloned = Cloned(0)
        self.pidfd = self.server_pidfd = self.console = -1
        self.proceeded = False
        self.namespaces: dict[str, int] = {}

    def run(self, stage: int) -> None:
        """Until the command runs. `stage` is a descriptor on the stage's process."""
        poll = select.poll()
        poll.register(self.channel.fileno(), select.POLLIN)
        client = self.client.messages.fileno() if self.client is not None else -1
        if client >= 0:
            poll.register(
                client, select.POLLRDHUP | select.POLLIN
            )  # all that it says so early is a signal (forwarding.py)
        poll.register(stage, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if client in ready:
                raise ClientGoneError
            if stage in ready:
                self._stage_ended(poll, stage)
            if self.channel.fileno() not in ready:
                continue
            message, fds = self.channel.receive()
            if message is None:
                break
            self._answer(message, fds)
        if not self.proceeded:
            raise StartError(Failed("PID 1 was killed before it could execute the command"))

    def _answer(self, message: object, fds: list[int]) -> None:
        match message:
            case Cloned(pid, server):
                self.cloned = message
                self.pidfd = os.pidfd_open(pid)
                self.server_pidfd = os.pidfd_open(server) if server else -1
                if self.keep_namespaces:
                    flags = namespaces.FILES.items()
                    self.namespaces = {name: namespaces.open_namespace(pid, flag) for flag, name in flags}
                self.channel.send(Mapped())
                for member in self.company:
                    member.cloned(pid, self.namespaces)
            case Console():
                (self.console,) = fds
            case Prepared():
                for member in self.company:
                    member.prepared()
                self.proceeded = True
                self.channel.send(Proceed())
            case ExecFailed(number):
                code = 127 if number == errno.ENOENT else 126
                reason = os.strerror(number).lower()
                raise StartError(Failed(f'exec: "{self.command}": {reason}', exit_code=code))
            case Failed():
                raise StartError(message)
            case _:
                raise StartError(Failed(f"an unexpected message: {message!r}"))

    def _stage_ended(self, poll: select.poll, stage: int) -> None:
        """It has said its last word: `Cloned` or `Failed` waits in the channel, or it was killed before."""
        poll.unregister(stage)
        if not self.cloned.pid and not select.select([self.channel], [], [], 0)[0]:
            # A PID 1 that it had cloned already sees the end of the channel, and ends.
            raise StartError(Failed("the stage was killed before PID 1 was there"))

    def kill(self) -> None:
        """End and reap whatever exists already."""
        for pid, pidfd in (self.cloned.pid, self.pidfd), (self.cloned.server, self.server_pidfd):
            if pidfd >= 0:
                end(pid, pidfd)
        close(self.pidfd, self.server_pidfd, *self.namespaces.values())

    def running(self, pipes: _Pipes) -> Running:
        terminal = self.console >= 0
        return Running(
            pid=self.cloned.pid,
            pidfd=self.pidfd,
            server=self.cloned.server,
            server_pidfd=self.server_pidfd,
            stdin=self.console if terminal else pipes.stdin,
            outputs={STDOUT: self.console} if terminal else pipes.outputs,
            console=self.console,
            namespaces=self.namespaces,
        )
