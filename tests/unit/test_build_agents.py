"""What a RUN may say to an SSH agent: two kinds of messages, and none that is no message."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from rootless.build import agents
from rootless.build.secrets import Agent

IDENTITIES, SIGN = b"\x0b", b"\x0d"
LONGEST = agents.LARGEST


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(4) + message


def talk(said: bytes, answers: bytes) -> tuple[bytes, bytes]:
    """What a client that says this gets, and what came to an agent that answers so."""
    client, ours = socket.socketpair()
    theirs, agent = socket.socketpair()
    heard: dict[str, bytes] = {}

    def receive(name: str, connection: socket.socket, data: bytes) -> None:
        got = bytearray()
        with suppress(ConnectionError):  # the other side has ended without reading everything
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while piece := connection.recv(1 << 16):
                got += piece
        heard[name] = bytes(got)

    with client, agent:
        talkers = [
            threading.Thread(target=receive, args=("client", client, said)),
            threading.Thread(target=receive, args=("agent", agent, answers)),
        ]
        for thread in talkers:
            thread.start()
        with ours, theirs:
            agents.relay(ours, theirs)
        for thread in talkers:
            thread.join()
    return heard["client"], heard["agent"]


@pytest.mark.parametrize("message", [IDENTITIES, SIGN + b"key, data, flags", SIGN + bytes(LONGEST - 1)])
def test_what_is_passed_on(message: bytes) -> None:
    answer = framed(b"\x0c" + bytes(70_000))
    assert talk(framed(message), answer) == (answer, framed(message))


@pytest.mark.parametrize("kind", [0, 1, 5, 9, 10, 12, 14, 17, 18, 19, 20, 21, 22, 23, 25, 26, 27, 255])
def test_everything_else_fails_here(kind: int) -> None:
    """Among others to add and to remove keys (17-19, 25), to lock (22), and extensions (27)."""
    asked = framed(bytes([kind]) + b"rest") + framed(IDENTITIES)
    assert talk(asked, framed(b"\x0c")) == (framed(agents.FAILURE) + framed(b"\x0c"), framed(IDENTITIES))


@pytest.mark.parametrize(
    "said",
    [b"", b"\0\0", bytes(4), framed(b""), (LONGEST + 1).to_bytes(4) + IDENTITIES, b"\xff\xff\xff\xff" + IDENTITIES]
    + [framed(SIGN + b"cut off")[:-1]],
    ids=["nothing", "half-a-length", "zero", "empty", "too-long", "longest-length", "cut-off"],
)
def test_what_is_no_message_ends_the_connection(said: bytes) -> None:
    assert talk(said, framed(b"\x0c")) == (b"", b"")


@pytest.mark.parametrize("answer", [b"", b"\0\0\0", bytes(4), b"\xff\xff\xff\xff\x0c", framed(b"cut off")[:-1]])
def test_an_agent_that_answers_nonsense_ends_it_too(answer: bytes) -> None:
    assert talk(framed(IDENTITIES), answer) == (b"", framed(IDENTITIES))


def test_an_agent_itself(tmp_path: Path) -> None:
    """OpenSSH's: its key is seen and signs, and can't be removed from within."""
    for tool in "ssh-agent", "ssh-add", "ssh-keygen":
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    with tempfile.TemporaryDirectory() as short:  # the path of a socket has 108 bytes
        path = Path(short, "a")
        with agents.forwarded(Agent("default", keys=(str(key),)), path):

            def ask(*words: str | Path) -> subprocess.CompletedProcess[bytes]:
                return subprocess.run(words, env={"SSH_AUTH_SOCK": str(path)}, capture_output=True, check=False)

            public = key.with_suffix(".pub").read_bytes()
            assert ask("ssh-add", "-L").stdout.split()[:2] == public.split()[:2]
            key.unlink()  # signing is now the agent's alone
            (tmp_path / "text").write_text("text")
            signed = ask("ssh-keygen", "-Y", "sign", "-f", f"{key}.pub", "-n", "file", tmp_path / "text")
            assert signed.returncode == 0 and (tmp_path / "text.sig").exists(), signed.stderr
            for refused in ("-D",), ("-x",), ("-d", f"{key}.pub"):
                assert ask("ssh-add", *refused).returncode != 0, refused
            assert public.split()[1] in ask("ssh-add", "-L").stdout, "it is there still"
