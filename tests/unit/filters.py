"""What the tests of seccomp share: filters compiled for the interpreter, numbers by name, a store for the cache."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from typing import Any

import pytest

from rootless.container.capabilities import DEFAULT
from rootless.kernel import seccomp as kernel
from rootless.kernel.caps import Cap
from rootless.runtime import seccomp
from rootless.runtime.seccomp_compile import compile_policy
from rootless.runtime.seccomp_profile import Machine, decode, select
from tests.unit.bpf import Program

EPERM = kernel.SCMP_ACT_ERRNO | errno.EPERM
ENOSYS = kernel.SCMP_ACT_ERRNO | errno.ENOSYS
ALLOW = kernel.SCMP_ACT_ALLOW
KILL = kernel.SCMP_ACT_KILL_THREAD
X32 = 0x40000000

AMD64 = Machine("amd64", "SCMP_ARCH_X86_64", (6, 1))
ARM64 = Machine("arm64", "SCMP_ARCH_AARCH64", (6, 1))
on_x86_64 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="libseccomp compiles for this machine only")

# Numbers that an old libseccomp does not know; the same on every machine.
_NEWER = {
    "process_madvise": 440,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "futex_waitv": 449,
    "set_mempolicy_home_node": 450,
    "getxattrat": 464,
    "listns": 470,
}


def number(name: str) -> int:
    """A call's number on this machine."""
    found = kernel.resolve(name, kernel.SCMP_ARCH_NATIVE)
    return _NEWER[name] if found is None else found


def native_machine() -> Machine:
    return AMD64 if os.uname().machine == "x86_64" else ARM64


def builtin_filter(held: frozenset[Cap] = DEFAULT) -> Program:
    """The built-in profile on x86_64."""
    return Program(compile_policy(select(decode(seccomp.builtin()), held, AMD64)))


def profile(**fields: Any) -> bytes:
    """A profile that allows everything, but for `fields`."""
    return json.dumps({"defaultAction": "SCMP_ACT_ALLOW"} | fields).encode()


def compiled(fields: Mapping[str, Any]) -> Program:
    """The filter of `profile(**fields)` on x86_64."""
    return Program(compile_policy(select(decode(profile(**fields)), DEFAULT, AMD64)))
