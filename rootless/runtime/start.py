"""The start of a container as its monitor sees it: from the fork of the stage until execve(2) has succeeded.

Everything here comes before trio: the stage is forked, and a process with trio's threads must not fork.
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from dataclasses import dataclass

from ..container.record import Spec
from ..errors import RootlessError
from . import stage
from .bundle import Bundle, Stdio
from .channel import Channel, Cloned, Console, Failed, Mapped, Prepared, Proceed
from .stream import STDERR, STDOUT, Connection


class StartError(RootlessError):
    """The stage or PID 1 could not do its part; `exit_code` is Docker's for it."""

    def __init__(self, failure: Failed) -> None:
        super().__init__(failure.message, hint=failure.hint)
        self.exit_code = failure.exit_code
        self.traceback = failure.traceback


class ClientGoneError(Exception):
    """The command that asked for the start died before the container was started: nothing of it shall stay."""


@dataclass(frozen=True)
class Running:
    """A started container, by what its monitor holds of it.

    Attributes:
        pid, pidfd: PID 1, a child of the monitor.
        server, server_pidfd: the file system's process, likewise; 0 and -1 when there is none.
        stdin: where input goes, -1 when the container has none.
        outputs: what can be read from the container, by stream; the terminal is its stdout.
        console: the controlling side of the terminal, -1 without one.
    """

    pid: int
    pidfd: int
    server: int
    server_pidfd: int
    stdin: int
    outputs: dict[int, int]
    console: int


def begin(bundle: Bundle, room_fd: int, client: Connection) -> Running:
    """Start the container that `bundle` describes, for `client`.

    Raises:
        StartError: what the stage or PID 1 reported; both are gone.
        ClientGoneError: see there; likewise.
    """
    pipes, stdio = _make_pipes(bundle.record.spec)
    channel, far = Channel.pair()
    stage_pid = os.fork()
    if stage_pid == 0:
        channel.close()  # PID 1 must see the end of the channel when the monitor dies, not its own copy of this side
        stage.run(bundle, stdio, room_fd, far)
    far.close()
    _close(stdio.stdin, stdio.stdout, stdio.stderr)
    handshake = _Handshake(channel, client)
    try:
        handshake.run()
    except BaseException:
        handshake.kill()
        _close(pipes.stdin, *pipes.outputs.values(), handshake.console)
        raise
    finally:
        os.waitpid(stage_pid, 0)
        channel.close()
    return handshake.running(pipes)


@dataclass(frozen=True)
class _Pipes:
    """The monitor's ends: none when the container has a terminal."""

    stdin: int
    outputs: dict[int, int]


def _make_pipes(spec: Spec) -> tuple[_Pipes, Stdio]:
    if spec.tty:
        return _Pipes(-1, {}), Stdio(-1, -1, -1)
    if spec.stdin_open:
        in_read, in_write = os.pipe2(os.O_CLOEXEC)
    else:
        in_read, in_write = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), -1
    out_read, out_write = os.pipe2(os.O_CLOEXEC)
    err_read, err_write = os.pipe2(os.O_CLOEXEC)
    return _Pipes(in_write, {STDOUT: out_read, STDERR: err_read}), Stdio(in_read, out_write, err_write)


def end(pid: int, pidfd: int) -> int:
    """SIGKILL a child that may have ended by itself, reap it, close its descriptor; its wait status."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(pidfd)
    return status


def _close(*fds: int) -> None:
    for fd in fds:
        if fd >= 0:
            os.close(fd)


class _Handshake:
    """The monitor's half of the talk that channel.py draws."""

    def __init__(self, channel: Channel, client: Connection) -> None:
        self.channel, self.client = channel, client
        self.cloned = Cloned(0)
        self.pidfd = self.server_pidfd = self.console = -1
        self.proceeded = False

    def run(self) -> None:
        """Until the command runs."""
        poll = select.poll()
        poll.register(self.channel.fileno(), select.POLLIN)
        poll.register(self.client.messages.fileno(), select.POLLRDHUP)
        while True:
            events = dict(poll.poll())
            if self.client.messages.fileno() in events:
                raise ClientGoneError
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
                self.channel.send(Mapped())
            case Console():
                (self.console,) = fds
            case Prepared():
                self.proceeded = True
                self.channel.send(Proceed())
            case Failed():
                raise StartError(message)
            case _:
                raise StartError(Failed(f"an unexpected message: {message!r}"))

    def kill(self) -> None:
        """End and reap whatever exists already."""
        for pid, pidfd in (self.cloned.pid, self.pidfd), (self.cloned.server, self.server_pidfd):
            if pidfd >= 0:
                end(pid, pidfd)

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
        )
