"""Completion in real shells: a key is pressed, and the word is there."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.conftest import Rootless

IMAGE = "busybox:latest"


@pytest.fixture
def environment(rootless: Rootless, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Where `rootless` is a command, with two containers."""
    script = tmp_path / "bin/rootless"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {shlex.join(rootless.argv())} "$@"\n')
    script.chmod(0o755)
    for name in "webserver", "webcache":
        rootless.ok("create", "--name", name, IMAGE)
    (tmp_path / "home").mkdir()
    yield rootless.environment | {
        "PATH": f"{script.parent}:/usr/bin:/bin",
        "HOME": str(tmp_path / "home"),
        "TERM": "dumb",
        "INPUTRC": "/dev/null",
        "LC_ALL": "C.UTF-8",
    }
    rootless.ok("rm", "webserver", "webcache")


def shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


TYPED = [
    ("rootless rm webs", "rootless rm webserver "),
    ("rootless rm web", "rootless rm web"),
    ("rootless container ren", "rootless container rename "),
    ("rootless run -it busybox:la", "rootless run -it busybox:latest "),
    ("rootless run --rm bus", "rootless run --rm busybox:latest "),
    ("rootless inspect --ty", "rootless inspect --type "),
    ("rootless inspect --type=im", "rootless inspect --type=image "),
    ("rootless run --restart unl", "rootless run --restart unless-stopped "),
]
"""What is typed before the key, and what then stands there."""


@pytest.mark.parametrize(("typed", "expected"), TYPED)
def test_bash(environment: dict[str, str], typed: str, expected: str) -> None:
    child = pexpect.spawn(shell("bash"), ["--norc", "--noprofile"], env=environment, encoding="utf-8", timeout=60)
    child.setwinsize(24, 200)
    child.sendline("PS1='R''EADY '; bind 'set bell-style none'; source <(rootless completion bash)")
    child.expect("READY ")
    # The line is printed by a command in front of it, instead of being executed.
    child.send(f"{typed}\t\x01printf 'GOT<%s>' '\x05'\r")
    child.expect(r"\nGOT<([^>]*)>")
    assert child.match[1] == expected
    child.close(force=True)


@pytest.mark.parametrize(("typed", "expected"), TYPED)
def test_zsh(environment: dict[str, str], typed: str, expected: str) -> None:
    child = pexpect.spawn(shell("zsh"), ["-f"], env=environment, encoding="utf-8", timeout=60)
    child.setwinsize(24, 200)
    child.sendline("PS1='R''EADY '; unsetopt beep prompt_sp zle_bracketed_paste; autoload -U compinit; compinit -D")
    child.sendline("bindkey -e; setopt no_auto_menu no_list_ambiguous; source <(rootless completion zsh)")
    child.expect("READY .*READY ")
    child.send(f"{typed}\t\x01printf 'GOT<%s>' '\x05'\r")
    child.expect(r"\nGOT<([^>]*)>")
    assert child.match[1] == expected.rstrip(), "zsh takes the blank after a word away when the cursor is moved"
    child.close(force=True)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("rootless rm web", ["webcache", "webserver"]),
        ("rootless container ren", ["rename"]),
        ("rootless run -it busybox:la", ["busybox:latest"]),
        ("rootless inspect --type=im", ["--type=image"]),
        ("rootless stop ", []),
    ],
)
def test_fish(environment: dict[str, str], typed: str, expected: list[str]) -> None:
    script = f"rootless completion fish | source; complete -C {shlex.quote(typed)}"
    done = subprocess.run(
        [shell("fish"), "--no-config", "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert [line.partition("\t")[0] for line in done.stdout.splitlines()] == expected


def test_files_in_bash(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "variables.env").touch()
    child = pexpect.spawn(shell("bash"), ["--norc", "--noprofile"], env=environment, encoding="utf-8", timeout=60)
    child.setwinsize(24, 300)
    child.sendline("PS1='R''EADY '; bind 'set bell-style none'; source <(rootless completion bash)")
    child.expect("READY ")
    child.send(f"rootless run --env-file {tmp_path}/var\t\x01printf 'GOT<%s>' '\x05'\r")
    child.expect(r"\nGOT<([^>]*)>")
    assert child.match[1] == f"rootless run --env-file {tmp_path}/variables.env "
    child.close(force=True)


def test_an_unknown_shell(rootless: Rootless) -> None:
    done = rootless("completion", "tcsh")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"rootless: unknown shell: tcsh; there are: bash, zsh, fish\n"
