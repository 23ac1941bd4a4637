"""The built-in seccomp profile: what a container may call, told by an interpreter and met by real processes."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from rootless.container.capabilities import DEFAULT
from rootless.kernel import caps, process
from rootless.kernel import seccomp as kernel
from rootless.kernel.caps import Cap
from rootless.kernel.namespaces import CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWUTS, unshare
from rootless.paths import Paths
from rootless.runtime import seccomp
from rootless.runtime.seccomp_compile import compile_policy
from rootless.runtime.seccomp_profile import decode, select
from tests.unit.bpf import AUDIT_ARCH_AARCH64, AUDIT_ARCH_I386, AUDIT_ARCH_X86_64
from tests.unit.filters import (
    ALLOW,
    AMD64,
    ARM64,
    ENOSYS,
    EPERM,
    KILL,
    X32,
    builtin_filter,
    native_machine,
    number,
    on_x86_64,
    profile,
)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = Paths(store=tmp_path / "store", run=tmp_path / "run")
    found.tmp.mkdir(parents=True)
    return found


DENIED = {
    # What no container may call with the default capabilities, by x86_64's table (asm/unistd_64.h).
    "for want of a capability": """
        acct bpf delete_module fanotify_init finit_module fsconfig fsmount fsopen fspick init_module ioperm iopl kcmp
        lookup_dcookie mount mount_setattr move_mount open_by_handle_at open_tree perf_event_open pidfd_getfd
        process_madvise quotactl quotactl_fd reboot setdomainname sethostname setns settimeofday clock_settime syslog
        umount2 unshare vhangup get_mempolicy mbind set_mempolicy set_mempolicy_home_node""",
    "never": """
        _sysctl add_key afs_syscall create_module get_kernel_syms getpmsg io_uring_enter io_uring_register
        io_uring_setup kexec_file_load kexec_load keyctl migrate_pages move_pages nfsservctl pivot_root putpmsg
        query_module request_key security swapoff swapon sysfs tuxcall uselib userfaultfd ustat vserver""",
}


@on_x86_64
def test_every_number_of_x86_64() -> None:
    """The whole table at once: what the default container can't call is this list, and nothing else is refused."""
    names = " ".join(DENIED.values()).split()
    conditional = {number(name) for name in ("clone", "clone3", "personality", "socket")}
    # Denied by name, of which libseccomp may know nothing: lsm_get_self_attr and its kin, uprobe; and a table's holes.
    unnamed = {336, 459, 460, 461} | set(range(337, 424))
    program = builtin_filter()
    refused = {n for n in range(467) if n not in conditional and program.run(AUDIT_ARCH_X86_64, n) != ALLOW}
    assert {program.run(AUDIT_ARCH_X86_64, n) for n in refused} == {EPERM}
    assert refused - unnamed == {number(name) for name in names}
    assert unnamed <= refused


@on_x86_64
@pytest.mark.parametrize("arch", [AUDIT_ARCH_X86_64, AUDIT_ARCH_I386])
def test_calls_newer_than_the_profile_do_not_exist(arch: int) -> None:
    """C libraries fall back to an older call only on ENOSYS; EPERM would break programs in images newer than us."""
    program = builtin_filter()
    assert program.run(arch, 466) == ALLOW
    assert {program.run(arch, n) for n in (467, 470, 500, 1000, 0x3FFFFFFF)} == {ENOSYS}


@on_x86_64
def test_calls_that_an_old_libseccomp_does_not_know() -> None:
    """The filter must not depend on the age of the library: getxattrat and others are newer than Debian 12's."""
    program = builtin_filter()
    for call in (436, 441, 451, 452, 453, 454, 455, 456, 457, 458, 462, 463, 464, 465, 466):
        assert program.run(AUDIT_ARCH_X86_64, call) == ALLOW
        assert program.run(AUDIT_ARCH_I386, call) == ALLOW
        assert program.run(AUDIT_ARCH_X86_64, X32 | call) == ALLOW
    assert program.run(AUDIT_ARCH_X86_64, 335) == ALLOW  # uretprobe: refused, it would kill the probed process


CONDITIONAL = [
    ("clone", (0,), ALLOW),
    ("clone", (0x003D0F00,), ALLOW),  # a thread
    ("clone", (0x01200011,), ALLOW),  # fork
    ("clone", (0x00020000,), EPERM),
    ("clone", (0x02000000,), EPERM),
    ("clone", (0x04000000,), EPERM),
    ("clone", (0x08000000,), EPERM),
    ("clone", (0x10000000,), EPERM),
    ("clone", (0x20000000,), EPERM),
    ("clone", (0x40000000,), EPERM),
    ("clone", (0x10000000 | 0x003D0F00,), EPERM),
    ("clone3", (), ENOSYS),
    ("personality", (0,), ALLOW),
    ("personality", (8,), ALLOW),
    ("personality", (0x20000,), ALLOW),
    ("personality", (0x20008,), ALLOW),
    ("personality", (0xFFFFFFFF,), ALLOW),
    ("personality", (0x0040000,), EPERM),  # ADDR_NO_RANDOMIZE
    ("personality", (1,), EPERM),
    ("socket", (0,), ALLOW),
    ("socket", (2, 1, 0), ALLOW),
    ("socket", (37,), ALLOW),
    ("socket", (38,), EPERM),  # AF_ALG
    ("socket", (39,), ALLOW),
    ("socket", (40,), EPERM),  # AF_VSOCK
    ("socket", (41,), ALLOW),
    ("ptrace", (), ALLOW),
]


@on_x86_64
@pytest.mark.parametrize(("name", "arguments", "verdict"), CONDITIONAL)
def test_conditions_on_arguments(name: str, arguments: tuple[int, ...], verdict: int) -> None:
    """The calls that are looked at more closely, at the values where the verdict turns."""
    assert builtin_filter().run(AUDIT_ARCH_X86_64, number(name), arguments) == verdict


BY_CAPABILITY = [
    (Cap.CAP_SYS_ADMIN, "mount umount2 unshare setns sethostname bpf perf_event_open syslog clone3 fsopen quotactl"),
    (Cap.CAP_DAC_READ_SEARCH, "open_by_handle_at"),
    (Cap.CAP_SYS_PTRACE, "kcmp pidfd_getfd process_madvise"),
    (Cap.CAP_SYS_NICE, "mbind get_mempolicy set_mempolicy"),
    (Cap.CAP_SYS_TIME, "settimeofday clock_settime"),
    (Cap.CAP_SYS_MODULE, "init_module finit_module delete_module"),
    (Cap.CAP_SYS_RAWIO, "iopl ioperm"),
    (Cap.CAP_SYS_BOOT, "reboot"),
    (Cap.CAP_SYS_PACCT, "acct"),
    (Cap.CAP_SYS_TTY_CONFIG, "vhangup"),
    (Cap.CAP_SYSLOG, "syslog"),
    (Cap.CAP_BPF, "bpf"),
    (Cap.CAP_PERFMON, "perf_event_open"),
]


@on_x86_64
@pytest.mark.parametrize(("cap", "names"), BY_CAPABILITY, ids=lambda value: getattr(value, "name", ""))
def test_a_capability_brings_its_calls(cap: Cap, names: str) -> None:
    """--cap-add is of no use when the filter still refuses what the capability is for; nothing else comes with it."""
    without, program = builtin_filter(), builtin_filter(DEFAULT | {cap})
    for name in names.split():
        assert without.run(AUDIT_ARCH_X86_64, number(name)) != ALLOW
        assert program.run(AUDIT_ARCH_X86_64, number(name)) == ALLOW
    for name in ("keyctl", "add_key", "kexec_load", "swapon", "io_uring_setup", "userfaultfd", "pivot_root"):
        assert program.run(AUDIT_ARCH_X86_64, number(name)) == EPERM


@on_x86_64
def test_chroot_goes_with_its_capability() -> None:
    """The one call of the default set that a dropped capability takes away again."""
    assert builtin_filter().run(AUDIT_ARCH_X86_64, number("chroot")) == ALLOW
    assert builtin_filter(DEFAULT - {Cap.CAP_SYS_CHROOT}).run(AUDIT_ARCH_X86_64, number("chroot")) == EPERM


@on_x86_64
def test_admin_may_make_namespaces_with_clone() -> None:
    """With CAP_SYS_ADMIN the conditions on clone are gone, not merely added to."""
    program = builtin_filter(DEFAULT | {Cap.CAP_SYS_ADMIN})
    assert program.run(AUDIT_ARCH_X86_64, number("clone"), (0x7E020000,)) == ALLOW


@on_x86_64
def test_thirty_two_bits() -> None:
    """i386 and x32 programs run under the same rules, by their own numbers; a foreign architecture is killed."""
    program = builtin_filter()
    assert program.run(AUDIT_ARCH_I386, 3) == ALLOW  # read
    assert program.run(AUDIT_ARCH_I386, 21) == EPERM  # mount
    assert program.run(AUDIT_ARCH_I386, 359, (40,)) == EPERM  # socket(AF_VSOCK)
    assert program.run(AUDIT_ARCH_I386, 359, (2,)) == ALLOW
    assert program.run(AUDIT_ARCH_X86_64, X32 | 0) == ALLOW
    assert program.run(AUDIT_ARCH_X86_64, X32 | 165) == EPERM  # mount
    assert program.run(AUDIT_ARCH_X86_64, X32 | 600) == ENOSYS
    assert program.run(AUDIT_ARCH_AARCH64, 63) == KILL


def test_before_4_8_no_tracing() -> None:
    """There a tracer could change a call after the filter had passed it: ptrace needs CAP_SYS_PTRACE."""
    old = select(decode(seccomp.builtin()), DEFAULT, AMD64._replace(kernel=(4, 7)))
    new = select(decode(seccomp.builtin()), DEFAULT, AMD64._replace(kernel=(4, 8)))
    assert {call.name for call in new.calls} - {call.name for call in old.calls} == {
        "ptrace",
        "process_vm_readv",
        "process_vm_writev",
    }


def test_aarch64_has_its_own_calls() -> None:
    """The same document serves both machines."""
    arm = select(decode(seccomp.builtin()), DEFAULT, ARM64)
    names = {call.name for call in arm.calls}
    assert arm.architectures == ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM")
    assert "set_tls" in names
    assert "arch_prctl" not in names


def test_by_default_a_filter_costs_no_speculation_mitigation() -> None:
    """Without SPEC_ALLOW every container would run with speculative store bypass disabled on older kernels."""
    assert select(decode(seccomp.builtin()), DEFAULT, AMD64).flags == kernel.SECCOMP_FILTER_FLAG_SPEC_ALLOW


# Real processes: each of them is a child that never comes back.


def errors_of(probes: Mapping[str, tuple[str, tuple[int, ...]]], program: seccomp.Filter | None) -> dict[str, int]:
    """Make each call in a child in its own user and mount namespaces, under the filter; errno, or 0 for success."""
    numbers = {key: (number(name), arguments) for key, (name, arguments) in probes.items()}

    def work() -> dict[str, int]:
        unshare(CLONE_NEWUSER | CLONE_NEWNS)
        if program:
            program.load()
        libc = ctypes.CDLL(None, use_errno=True)
        found = {}
        for key, (call, arguments) in numbers.items():
            ctypes.set_errno(0)
            result = libc.syscall(ctypes.c_long(call), *(ctypes.c_long(a) for a in arguments))
            found[key] = ctypes.get_errno() if result == -1 else 0
        return found

    found: dict[str, int] = in_child(work)
    return found


def in_child(work: Callable[[], Any]) -> Any:
    """What `work` returns in a forked child, by JSON; the child's death or exception fails the test."""
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            answer: Any = {"value": work()}
        except BaseException as problem:
            answer = {"problem": repr(problem)}
        os.write(write, json.dumps(answer).encode())
        os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        raw = file.read()
    _, status = os.waitpid(pid, 0)
    assert raw, f"the child died: {status}"
    answer = json.loads(raw)
    assert "problem" not in answer, answer["problem"]
    return answer["value"]


# Calls that in a user namespace fail with another errno than EPERM, or succeed, unless the filter stops them.
STOPPED = {
    "unshare": ("unshare", (CLONE_NEWUTS,)),
    "setns": ("setns", (-1, 0)),
    "mount": ("mount", (0, 0, 0, 0, 0)),
    "umount2": ("umount2", (0, 0)),
    "keyctl": ("keyctl", (0, -3, 0)),
    "add_key": ("add_key", (0, 0, 0, 0, 0)),
    "request_key": ("request_key", (0, 0, 0, 0)),
    "clone(CLONE_NEWUSER|CLONE_FS)": ("clone", (0x10000200, 0, 0, 0, 0)),
    "personality(ADDR_NO_RANDOMIZE)": ("personality", (0x0040000,)),
    "socket(AF_VSOCK)": ("socket", (40, 5, 0)),
    "socket(AF_ALG)": ("socket", (38, 5, 0)),
    "fsopen": ("fsopen", (0, 0)),
    "move_mount": ("move_mount", (-1, 0, -1, 0, 0)),
    "pidfd_getfd": ("pidfd_getfd", (-1, 0, 0)),
    "kcmp": ("kcmp", (2**22, 2**22, 0, 0, 0)),
}
PASSED = {
    "ptrace": ("ptrace", (0x4206, 2**22, 0, 0)),
    "personality(ask)": ("personality", (0xFFFFFFFF,)),
    "socket(AF_UNIX)": ("socket", (1, 1, 0)),
    "chroot": ("chroot", (0,)),
    "futex_waitv": ("futex_waitv", (0, 0, 0, 0, 0)),
}


def test_real_calls_are_stopped(paths: Paths) -> None:
    """The kernel takes the program and acts on it; the same calls without it show that nothing else stopped them."""
    bare = errors_of(STOPPED, None)
    assert errno.EPERM not in bare.values(), bare
    assert set(errors_of(STOPPED, seccomp.prepare(None, DEFAULT, paths)).values()) == {errno.EPERM}


def test_real_calls_pass(paths: Paths) -> None:
    """What containers live on goes through to the kernel, with the kernel's own answer."""
    assert errors_of(PASSED, seccomp.prepare(None, DEFAULT, paths)) == errors_of(PASSED, None)


def test_clone3_looks_absent(paths: Paths) -> None:
    """glibc takes clone3 for threads and goes back to clone on ENOSYS only."""
    probe = {"clone3": ("clone3", (0, 0))}
    assert errors_of(probe, None) == {"clone3": errno.EINVAL}
    assert errors_of(probe, seccomp.prepare(None, DEFAULT, paths)) == {"clone3": errno.ENOSYS}


def test_with_sys_admin_they_pass(paths: Paths) -> None:
    """The same real calls as above, for a container with --cap-add SYS_ADMIN."""
    probes = {name: STOPPED[name] for name in ("unshare", "setns", "mount", "fsopen")}
    program = seccomp.prepare(None, DEFAULT | {Cap.CAP_SYS_ADMIN}, paths)
    assert errors_of(probes, program) == errors_of(probes, None)


def test_a_program_with_threads_runs_under_the_filter(paths: Paths) -> None:
    """A whole interpreter starts, makes a thread and a child, and opens a socket: the profile is not too narrow."""
    program = seccomp.prepare(None, DEFAULT, paths)
    code = "import threading, subprocess, socket; t = threading.Thread(target=print, args=('thread',)); t.start();"
    code += "t.join(); socket.socketpair(); subprocess.run(['echo', 'child'], check=True)"

    def confine() -> None:
        unshare(CLONE_NEWUSER)
        program.load()

    done = subprocess.run([sys.executable, "-u", "-c", code], preexec_fn=confine, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "thread\nchild\n", "")


def test_load_needs_a_privilege_or_no_new_privs(paths: Paths) -> None:
    """Who calls this in the wrong order (capabilities dropped first) must hear of it, never run without a filter."""
    program = seccomp.prepare(None, DEFAULT, paths)

    def work() -> list[int]:
        unshare(CLONE_NEWUSER)
        caps.set_caps((), ())
        try:
            program.load()
            first = 0
        except OSError as error:
            first = error.errno or -1
        process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)
        program.load()
        with open("/proc/self/status") as file:
            mode = next(line for line in file if line.startswith("Seccomp:"))
        return [first, int(mode.split()[1])]

    assert in_child(work) == [errno.EACCES, 2]


@pytest.mark.parametrize("program", [b"", b"\0" * 7, b"\0" * 8 * 4097])
def test_load_refuses_what_is_no_program(program: bytes) -> None:
    """A torn cache file must not become an empty filter."""
    with pytest.raises(ValueError, match="bytes"):
        kernel.load(program)


def test_the_kernel_checks_the_program() -> None:
    """A jump out of the program: the kernel's EINVAL arrives as OSError."""

    def work() -> int:
        process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)
        with pytest.raises(OSError) as caught:
            kernel.load(bytes.fromhex("0500000000100000"))
        return caught.value.errno or 0

    assert in_child(work) == errno.EINVAL


def test_kill_process_kills() -> None:
    """Another action than errno, end to end."""
    document = profile(syscalls=[{"names": ["uname"], "action": "SCMP_ACT_KILL_PROCESS"}])
    program = compile_policy(select(decode(document), DEFAULT, native_machine()))
    if (pid := os.fork()) == 0:
        process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)
        kernel.load(program)
        os.uname()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGSYS
