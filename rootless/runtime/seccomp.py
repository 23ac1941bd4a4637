"""The seccomp filter of a container: the built-in profile or the caller's own, compiled once, then read from the store.

A filter is a function of the profile, the container's capabilities, the kernel's version, the machine and the library
that compiles it: a hash of all these names it in the cache. On a hit nothing is decoded, and libseccomp not opened. The
built-in profile, seccomp-default.json, is equal in effect to Docker's: see docs/decisions/0005-seccomp.md.

    <store>/cache/seccomp/<40 hex of the hash>      magic, flags, program; may be deleted at any time
"""

from __future__ import annotations

import os
import re
import stat
import struct
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from .. import atomic
from ..errors import InvalidError, NotFoundError, UnavailableError
from ..hashes import sha256
from ..kernel import seccomp as kernel
from ..kernel.caps import Cap, mask
from ..paths import Paths

_BUILTIN = Path(__file__).with_name("seccomp-default.json")
_MAX_PROFILE = 1 << 20

_HEADER = struct.Struct("<8sI")
# To be changed whenever the same profile may compile to something else.
_MAGIC = b"seccomp1"
_KEEP = 64

_MACHINES = {"x86_64": ("amd64", "SCMP_ARCH_X86_64"), "aarch64": ("arm64", "SCMP_ARCH_AARCH64")}


class Filter(NamedTuple):
    """A compiled filter."""

    program: bytes
    flags: int

    def load(self) -> None:
        """Install it on the calling thread (`kernel.seccomp.load`, with its errors)."""
        kernel.load(self.program, self.flags)


def builtin() -> bytes:
    """The built-in profile's document; also a starting point for one's own."""
    return _BUILTIN.read_bytes()


def read_profile(path: str | os.PathLike[str]) -> bytes:
    """Read a caller's profile and check it, so that a bad one fails when the container is created.

    The container is to keep what is returned, as in Docker: the file may be gone at the next start.

    Raises:
        NotFoundError: there is no such file.
        InvalidError: it can't be read, or is not a profile.
    """
    from .seccomp_profile import decode

    try:
        # Opening a named pipe would wait for a writer.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            raw = file.read(_MAX_PROFILE + 1) if regular else b""
    except FileNotFoundError:
        raise NotFoundError(f"seccomp profile {os.fspath(path)}: no such file") from None
    except OSError as error:
        raise InvalidError(f"seccomp profile {os.fspath(path)}: {error.strerror}") from error
    if not regular or len(raw) > _MAX_PROFILE:
        raise InvalidError(f"seccomp profile {os.fspath(path)} is not a file of at most {_MAX_PROFILE} bytes")
    decode(raw)
    return raw


def prepare(profile: bytes | None, caps: frozenset[Cap], paths: Paths) -> Filter:
    """The filter for a container with these capabilities; from the cache, or compiled and put there.

    Args:
        profile: a document that `read_profile` gave; None for the built-in one.
        caps: the container's bounding set: a profile allows more calls to those who hold more.

    Raises:
        InvalidError: the profile is bad.
        UnavailableError: it has to be compiled and libseccomp is not installed or too old, or this machine is unknown.
    """
    document = builtin() if profile is None else profile
    path = paths.cache / "seccomp" / _key(document, caps)
    if (cached := _read(path)) is not None:
        return cached
    made = _compile(document, caps)
    # A cache that can't be written costs time, no more.
    with suppress(OSError):
        _publish(path, made, paths.tmp)
    return made


def _key(document: bytes, caps: frozenset[Cap]) -> str:
    major, minor = _kernel_version()
    conditions = f"{os.uname().machine} {major}.{minor} {mask(caps):x} {_library_identity()}\n"
    return sha256(_MAGIC + conditions.encode() + document).hexdigest()[:40]


def _kernel_version() -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if match is None:
        raise UnavailableError(f"the kernel's release is {os.uname().release!r}: no version can be read from it")
    return int(match[1]), int(match[2])


def _library_identity() -> str:
    """What tells one libseccomp from another without loading it; empty where it lies in an unusual place."""
    for directory in (f"/usr/lib/{os.uname().machine}-linux-gnu", "/usr/lib64", "/usr/lib", "/lib64", "/lib"):
        path = f"{directory}/libseccomp.so.2"
        try:
            status = os.stat(path)
        except OSError:
            continue
        return f"{os.path.realpath(path)} {status.st_size} {status.st_mtime_ns}"
    return ""


def _read(path: Path) -> Filter | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if len(data) < _HEADER.size + kernel.INSTRUCTION or (len(data) - _HEADER.size) % kernel.INSTRUCTION:
        return None
    magic, flags = _HEADER.unpack_from(data)
    return Filter(data[_HEADER.size :], flags) if magic == _MAGIC else None


def _compile(document: bytes, caps: frozenset[Cap]) -> Filter:
    from .seccomp_compile import compile_policy
    from .seccomp_profile import Machine, decode, select

    machine = os.uname().machine
    if machine not in _MACHINES:
        raise UnavailableError(
            f"no seccomp filter can be made for {machine}", hint="run with --security-opt seccomp=unconfined"
        )
    policy = select(decode(document), caps, Machine(*_MACHINES[machine], _kernel_version()))
    return Filter(compile_policy(policy), policy.flags)


def _publish(path: Path, made: Filter, tmp: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    atomic.write(path, _HEADER.pack(_MAGIC, made.flags) + made.program, tmp=tmp)
    # Each new kernel, library and set of capabilities leaves one behind.
    entries = sorted(path.parent.iterdir(), key=lambda entry: entry.stat().st_mtime_ns)
    for entry in entries[:-_KEEP]:
        entry.unlink(missing_ok=True)
