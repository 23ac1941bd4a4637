"""seccomp(2): loading a filter, which needs nothing but the kernel, and making one, which libseccomp does.

The library is opened by the first call that needs it; OSError when it is not there. Its functions are described in
seccomp_init(3), seccomp_rule_add(3) and the pages they name. What it returns as a negative errno is raised as OSError.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Sequence
from enum import IntEnum
from types import TracebackType
from typing import NamedTuple

from .libc import syscall

SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_LOG = 1 << 1
SECCOMP_FILTER_FLAG_SPEC_ALLOW = 1 << 2

BPF_MAXINSNS = 4096
INSTRUCTION = 8  # bytes: struct sock_filter of linux/filter.h

SCMP_ACT_KILL_PROCESS = 0x80000000
SCMP_ACT_KILL_THREAD = 0x00000000
SCMP_ACT_TRAP = 0x00030000
SCMP_ACT_ERRNO = 0x00050000  # the errno in the low half
SCMP_ACT_TRACE = 0x7FF00000  # the tracer's message in the low half
SCMP_ACT_LOG = 0x7FFC0000
SCMP_ACT_ALLOW = 0x7FFF0000

SCMP_FLTATR_CTL_OPTIMIZE = 8

SCMP_ARCH_NATIVE = 0

_NR_SCMP_ERROR = -1


class Compare(IntEnum):
    """How a condition compares a system call's argument (enum scmp_compare)."""

    SCMP_CMP_NE = 1
    SCMP_CMP_LT = 2
    SCMP_CMP_LE = 3
    SCMP_CMP_EQ = 4
    SCMP_CMP_GE = 5
    SCMP_CMP_GT = 6
    SCMP_CMP_MASKED_EQ = 7
    """argument & value == value_two"""


class Condition(NamedTuple):
    """One comparison of a rule (struct scmp_arg_cmp). Arguments count from 0; values are unsigned 64 bits."""

    argument: int
    op: Compare
    value: int
    value_two: int = 0


class _Condition(ctypes.Structure):
    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


class _Program(ctypes.Structure):
    """struct sock_fprog of linux/filter.h."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def load(program: bytes, flags: int = 0) -> None:
    """Install a compiled filter on the calling thread, for ever, above the filters that it has (seccomp(2)).

    no_new_privs is left as it is: without it the caller needs CAP_SYS_ADMIN in its own user namespace.

    Args:
        program: instructions of classic BPF in the machine's byte order, struct sock_filter one after the other.
        flags: SECCOMP_FILTER_FLAG_LOG, SECCOMP_FILTER_FLAG_SPEC_ALLOW.

    Raises:
        OSError: EACCES without no_new_privs and without CAP_SYS_ADMIN, EINVAL for a program the kernel does not take.
        ValueError: what is given can't be a program at all.
    """
    count, rest = divmod(len(program), INSTRUCTION)
    if rest or not 0 < count <= BPF_MAXINSNS:
        raise ValueError(f"a seccomp filter of {len(program)} bytes")
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = _Program(count, ctypes.addressof(buffer))
    syscall("seccomp", SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(fprog))


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL("libseccomp.so.2")
    # Without these a pointer would be cut to the 32 bits of ctypes' int.
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = (ctypes.c_uint32,)
    library.seccomp_release.restype = None
    library.seccomp_release.argtypes = (ctypes.c_void_p,)
    library.seccomp_attr_set.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32)
    library.seccomp_arch_add.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
    library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    library.seccomp_syscall_resolve_name_arch.argtypes = (ctypes.c_uint32, ctypes.c_char_p)
    library.seccomp_rule_add_array.argtypes = (
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(_Condition),
    )
    library.seccomp_export_bpf.argtypes = (ctypes.c_void_p, ctypes.c_int)
    library.seccomp_version.restype = ctypes.POINTER(ctypes.c_uint * 3)
    return library


def version() -> tuple[int, int, int]:
    """libseccomp's version."""
    major, minor, micro = _library().seccomp_version().contents
    return major, minor, micro


def arch(name: str) -> int | None:
    """The token of an architecture (`x86_64`, `aarch64`: seccomp_arch_add(3)); None when the library has none."""
    return _library().seccomp_arch_resolve_name(name.encode()) or None


def resolve(name: str, arch: int) -> int | None:
    """A system call's number on an architecture; None for a name the library never heard.

    Negative for a call that this architecture lacks and others have; a rule may be added by such a number.
    """
    number: int = _library().seccomp_syscall_resolve_name_arch(arch, name.encode())
    return None if number == _NR_SCMP_ERROR else number


class Context:
    """A filter in the making (seccomp_init(3)). Use it in a with statement, which releases it."""

    def __init__(self, default: int) -> None:
        """Start with one architecture, the native one, and no rule: every call gets the action `default`."""
        self._library = _library()
        self._context = self._library.seccomp_init(default)
        if not self._context:
            raise OSError(f"seccomp_init({default:#x}) failed")

    def __enter__(self) -> Context:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._library.seccomp_release(self._context)
        self._context = None

    def set_attribute(self, attribute: int, value: int) -> None:
        """seccomp_attr_set(3), an SCMP_FLTATR number."""
        _check(self._library.seccomp_attr_set(self._context, attribute, value))

    def add_arch(self, token: int) -> None:
        """Add an architecture; rules added before don't hold for it (seccomp_arch_add(3)). EEXIST when it is there."""
        _check(self._library.seccomp_arch_add(self._context, token))

    def add_rule(self, action: int, number: int, conditions: Sequence[Condition] = ()) -> None:
        """The call of this native number gets `action` when every condition holds (seccomp_rule_add_array(3)).

        It is translated for the other architectures, and left out where the call does not exist.
        """
        array = (_Condition * len(conditions))(*(_Condition(*c) for c in conditions))
        _check(self._library.seccomp_rule_add_array(self._context, action, number, len(conditions), array))

    def export(self) -> bytes:
        """The program, as `load` takes it (seccomp_export_bpf(3))."""
        fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
        with open(fd, "rb") as file:
            _check(self._library.seccomp_export_bpf(self._context, fd))
            file.seek(0)
            return file.read()


def _check(result: int) -> None:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
