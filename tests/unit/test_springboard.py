"""The instructions that stand between Python and the command, executed: natively, and aarch64's under emulation."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from rootless.errors import UnavailableError
from rootless.runtime import springboard

EMULATORS = {"x86_64": "qemu-x86_64-static", "aarch64": "qemu-aarch64-static"}


def execute(machine: str, tmp_path: Path, *argv: str) -> tuple[subprocess.CompletedProcess[bytes], bytes]:
    """Run the program with its argv and descriptor 3 on a pipe; what it printed, and what came through the pipe."""
    program = tmp_path / "springboard"
    program.write_bytes(springboard.program(machine))
    program.chmod(0o755)
    command = [str(program), *argv[1:]]
    if machine != os.uname().machine:
        emulator = shutil.which(EMULATORS[machine])
        if emulator is None:
            pytest.skip(f"{EMULATORS[machine]} is not installed")
        command = [emulator, "-0", argv[0], *command]
        executable = emulator
    else:
        command[0] = argv[0]
        executable = str(program)
    read, write = os.pipe()

    def give_channel() -> None:
        os.dup2(write, 3)

    done = subprocess.run(
        command,
        executable=executable,
        capture_output=True,
        preexec_fn=give_channel,
        close_fds=False,
        env={"WORD": "from the environment"},
        timeout=60,
        check=False,
    )
    os.close(write)
    with open(read, "rb") as file:
        return done, file.read()


@pytest.mark.parametrize("machine", EMULATORS)
def test_it_executes_the_command_with_its_arguments_and_environment(machine: str, tmp_path: Path) -> None:
    script = 'echo "$0 $1 $WORD"; ls /proc/self/fd'
    done, told = execute(machine, tmp_path, "/bin/sh", "sh", "-c", script, "zero", "one")
    assert done.stdout.split(b"\n")[0] == b"zero one from the environment"
    assert told == b"", "the channel was closed by the successful execve"


@pytest.mark.parametrize("machine", EMULATORS)
@pytest.mark.parametrize(("path", "number"), [("/no/such", 2), ("/etc/passwd", 13), ("/", 13)])
def test_it_tells_why_it_could_not(machine: str, path: str, number: int, tmp_path: Path) -> None:
    done, told = execute(machine, tmp_path, path, "x")
    assert struct.unpack("<i", told) == (number,)
    assert done.returncode == 1


def test_an_unknown_architecture_is_told() -> None:
    with pytest.raises(UnavailableError, match="riscv64"):
        springboard.program("riscv64")


def test_the_program_is_sealed() -> None:
    board = springboard.prepare()
    try:
        with pytest.raises(PermissionError):
            os.write(board, b"x")
        with pytest.raises(PermissionError):
            os.ftruncate(board, 0)
    finally:
        os.close(board)
