"""SSH agents for RUN --mount=type=ssh: the caller's own behind a socket of the container's user, or one with keys."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from ..errors import RootlessError, UnavailableError
from ..kernel import process
from .secrets import Agent

_CHUNK = 1 << 16
_START = 5.0
"""Seconds that an agent has to open its socket."""


@contextmanager
def forwarded(agent: Agent, path: Path) -> Iterator[None]:
    """A socket at `path` that leads to an agent, for the block.

    It is one of our own: that of the caller belongs to the caller, and nobody else in the container might use it.

    Raises:
        UnavailableError: no agent can be started for its keys.
        RootlessError: a key can't be used.
    """
    with ExitStack() as held:
        behind = agent.socket or held.enter_context(_with_keys(agent, path.with_name(f"{path.name}.own")))
        listener = held.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        listener.listen()
        pid = os.fork()
        if pid == 0:
            _serve(listener, behind)
        held.callback(_end, pid)
        yield


def _die_along() -> None:
    process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)


def _end(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@contextmanager
def _with_keys(agent: Agent, path: Path) -> Iterator[str]:
    """An agent of the build's own that has the keys, by its socket."""
    try:
        running = subprocess.Popen(
            ["ssh-agent", "-D", "-a", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            preexec_fn=_die_along,  # noqa: PLW1509 - this process has one thread
        )
    except OSError as problem:
        raise UnavailableError(f"ssh-agent: {problem.strerror}", hint="install openssh-client") from problem
    try:
        _wait_for(path, running)
        for key in agent.keys:
            added = subprocess.run(
                ["ssh-add", "-q", key], env={**os.environ, "SSH_AUTH_SOCK": str(path)}, capture_output=True, check=False
            )
            if added.returncode:
                reason = " ".join(added.stderr.decode(errors="replace").split())
                raise RootlessError(f"--ssh: the key {key} can't be used: {reason}")
        yield str(path)
    finally:
        running.kill()
        running.wait()


def _wait_for(path: Path, running: subprocess.Popen[bytes]) -> None:
    import time

    deadline = time.monotonic() + _START
    while not path.exists():
        if running.poll() is not None or time.monotonic() > deadline:
            raise UnavailableError("ssh-agent did not start", hint="try it by hand: ssh-agent -D")
        time.sleep(0.01)


def _serve(listener: socket.socket, behind: str) -> NoReturn:
    """The process that passes everything on, one connection a child."""
    try:
        process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            client, _ = listener.accept()
            if os.fork() == 0:
                process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
                with socket.socket(socket.AF_UNIX) as agent:
                    agent.connect(behind)
                    _relay(client, agent)
                break
            client.close()
    finally:
        os._exit(0)


def _relay(one: socket.socket, other: socket.socket) -> None:
    """Bytes both ways, until both sides have ended."""
    ways = {one: other, other: one}
    while ways:
        for ready in select.select(list(ways), [], [])[0]:
            data = ready.recv(_CHUNK)
            if data:
                ways[ready].sendall(data)
            else:
                with suppress(OSError):
                    ways[ready].shutdown(socket.SHUT_WR)
                del ways[ready]
                break
