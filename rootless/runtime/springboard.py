"""The last program before the container's own: a few instructions in a sealed memfd, executed between Python and the
command.

A command may be called /proc/self/exe, by its name, by a symbolic link or in a script's first line. execve(2) follows
that link to the program that executes it: were that the host's Python, the image's own dynamic linker would run with
the host's file as /proc/self/exe, and could open and change it, if it belongs to the caller (CVE-2019-5736). No check
of the path closes this, because the file can change until the kernel opens it. So Python executes these instructions
first, and they execute the command: /proc/self/exe is then an anonymous file that goes with the process.

They know two things: descriptor 3 is the channel to the monitor, which is to be closed by a successful execve(2); and
their own argv is the command's path followed by the command's argv. After a failure they write errno to the channel,
as a 32-bit number, and exit.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Mapping, Sequence
from typing import NoReturn

from ..errors import UnavailableError

CHANNEL = 3

# Assembled from, for x86_64 (fcntl 72, execve 59, write 1, exit 60; syscalls(2)):
#     if (fcntl(3, F_SETFD, FD_CLOEXEC) >= 0) {
#         execve(argv[0], argv + 1, argv + argc + 1); errno = -result; write(3, &errno, 4);
#     }
#     exit(1)
# Without a descriptor 3 they end: a script whose interpreter is /proc/self/exe has executed them once more.
_CODE = {
    "x86_64": (
        62,  # EM_X86_64 of elf(5)
        (
            "b848000000bf03000000be02000000ba010000000f0585c07831488b7c2408488d742410488b0c24488d54cc10b83b00"
            "00000f05f7d850b801000000bf030000004889e6ba040000000f05b83c000000bf010000000f05"
        ),
    ),
    # The same for aarch64 (fcntl 25, execve 221, write 64, exit 93).
    "aarch64": (
        183,  # EM_AARCH64
        (
            "280380d2600080d2410080d2220080d2010000d4c001f837e30340f9e00740f9e1430091220c038ba81b80d2010000d4"
            "e00300cbe00f1ff8080880d2600080d2e1030091820080d2010000d4a80b80d2200080d2010000d4"
        ),
    ),
}

_BASE = 0x400000
_MFD_EXEC = 0x10  # linux/memfd.h, Linux 6.3: says that it is to be executed, which vm.memfd_noexec=1 asks for


def program(machine: str) -> bytes:
    """The instructions as a static ELF file with one loadable segment (elf(5)).

    Raises:
        UnavailableError: they are not known for this architecture.
    """
    if machine not in _CODE:
        raise UnavailableError(f"containers can't be started on {machine} yet", hint="x86_64 and aarch64 are known")
    number, text = _CODE[machine]
    code = bytes.fromhex(text)
    start = 64 + 56
    identity = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = struct.pack("<16sHHIQQQIHHHHHH", identity, 2, number, 1, _BASE + start, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    size = start + len(code)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return header + segment + code


def prepare() -> int:
    """A descriptor on the sealed program, close-on-exec.

    Raises:
        UnavailableError: see `program`.
        OSError: memfd_create(2) was refused.
    """
    content = program(os.uname().machine)
    try:
        fd = os.memfd_create("rootless", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | _MFD_EXEC)
    except OSError:
        fd = os.memfd_create("rootless", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)  # before Linux 6.3
    os.write(fd, content)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
    return fd


def jump(board: int, path: str, argv: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Execute `path` by way of the program in `board`. Descriptor 3 must be the channel.

    Raises:
        OSError: the program itself could not be executed.
    """
    os.set_inheritable(CHANNEL, True)
    # By its name under /proc and not by execveat(2), which a filter of the user's may forbid.
    os.execve(f"/proc/self/fd/{board}", [path, *argv], environment)
