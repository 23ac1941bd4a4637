"""SSH agents for RUN --mount=type=ssh: the caller's own behind a socket of the container's user, or one with keys.

A RUN may ask an agent for its keys' names and for signatures, and for nothing else: it shall not add keys, remove
them or lock the caller's agent (draft-ietf-sshm-ssh-agent, section 5; BuildKit's sshprovider lets the same two pass).
"""

from __future__ import annotations

import os
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

PASSED = (11, 13)
"""SSH_AGENTC_REQUEST_IDENTITIES and SSH_AGENTC_SIGN_REQUEST."""
FAILURE = b"\x05"
"""SSH_AGENT_FAILURE."""
LARGEST = 256 << 10
"""Bytes of a message, as in OpenSSH's agent (AGENT_MAX_LEN)."""
MOST = 32
"""Connections at once, each of which takes a process outside of the container's limits; further ones wait."""
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
    """The process that takes connections, with a child for each."""
    try:
        process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        running = 0
        while True:
            client, _ = listener.accept()
            if os.fork() == 0:
                process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
                with socket.socket(socket.AF_UNIX) as agent:
                    agent.connect(behind)
                    relay(client, agent)
                break
            client.close()
            running = _reaped(running + 1)
    finally:
        os._exit(0)


def _reaped(running: int) -> int:
    """How many children run still; waits until there is room for another one."""
    while running and os.waitpid(-1, os.WNOHANG if running < MOST else 0)[0]:
        running -= 1
    return running


def relay(client: socket.socket, agent: socket.socket) -> None:
    """Answer a client's messages, one after the other, until either side ends or sends what is no message."""
    while (request := _message(client)) is not None:
        reply: bytes | None = FAILURE
        if request[0] in PASSED:
            _send(agent, request)
            reply = _message(agent)
        if reply is None:
            return
        _send(client, reply)


def _message(connection: socket.socket) -> bytes | None:
    """The next one, without its length; None at the end, and where its length is none that a message has."""
    length = int.from_bytes(_exactly(connection, 4))
    if not 1 <= length <= LARGEST:
        return None
    data = _exactly(connection, length)
    return data if len(data) == length else None


def _exactly(connection: socket.socket, count: int) -> bytes:
    """So many bytes, or fewer at the end."""
    data = bytearray()
    while len(data) < count and (piece := connection.recv(count - len(data))):
        data += piece
    return bytes(data)


def _send(connection: socket.socket, message: bytes) -> None:
    connection.sendall(len(message).to_bytes(4) + message)
