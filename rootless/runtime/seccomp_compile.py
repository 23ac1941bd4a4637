"""From a seccomp policy to the program that the kernel runs: libseccomp's, with a few instructions of ours in front.

What is put in front, for each architecture of the filter:

1. Calls that the policy names and the library is too old to know. All new calls have the same number on every
   architecture, so the filter does not depend on which libseccomp the machine happens to have.
2. ENOSYS for every number above the highest that the policy names. C libraries try a new call first and fall back on
   ENOSYS only; the EPERM of a profile that is older than the call would break programs that run well on an old kernel.
   (runc does the same.) Not where the default action lets calls pass.

The program is read from the kernel's point of view: struct seccomp_data in, an action out (seccomp(2)).
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping

from ..errors import InvalidError, UnavailableError
from ..kernel import seccomp as kernel
from .seccomp_profile import Call, Policy

# Calls since Linux 5.9, which the oldest libseccomp in use (2.5.0) does not know: asm/unistd.h.
_UNIFIED = {"close_range": 436} | {
    name: 440 + offset
    for offset, name in enumerate(
        """
        process_madvise epoll_pwait2 mount_setattr quotactl_fd landlock_create_ruleset landlock_add_rule
        landlock_restrict_self memfd_secret process_mrelease futex_waitv set_mempolicy_home_node cachestat fchmodat2
        map_shadow_stack futex_wake futex_wait futex_requeue statmount listmount lsm_get_self_attr lsm_set_self_attr
        lsm_list_modules mseal setxattrat getxattrat listxattrat removexattrat open_tree_attr file_getattr file_setattr
        listns rseq_slice_yield
        """.split()
    )
}
_NUMBERS: dict[str, dict[str, int]] = {
    "SCMP_ARCH_X86_64": _UNIFIED | {"uretprobe": 335, "uprobe": 336},
    "SCMP_ARCH_X32": _UNIFIED | {"uretprobe": 335, "uprobe": 336},
    "SCMP_ARCH_X86": _UNIFIED,
    "SCMP_ARCH_AARCH64": _UNIFIED,
    "SCMP_ARCH_ARM": {name: number for name, number in _UNIFIED.items() if name != "memfd_secret"},
}

_X32_BIT = 0x40000000
_AUDIT_ARCH_X86_64 = 0xC000003E

# Classic BPF (linux/bpf_common.h), and where struct seccomp_data has the two fields that are looked at.
_LD, _JEQ, _JGT, _JGE, _JSET, _RET = 0x20, 0x15, 0x25, 0x35, 0x45, 0x06
_NR, _ARCH = 0, 4

Instruction = tuple[int, int, int, int]
"""struct sock_filter: code, how many instructions to skip when true, when false, and the operand."""


def compile_policy(policy: Policy) -> bytes:
    """The filter of `policy`, ready for `kernel.seccomp.load`.

    Raises:
        InvalidError: rules that contradict one another, an unknown architecture, too long a program for the kernel.
        UnavailableError: libseccomp is not installed, or too old for a rule of this policy.
    """
    try:
        kernel.version()
    except OSError as error:
        raise UnavailableError(
            f"no seccomp filter can be made: {error}",
            hint="install libseccomp2, or run with --security-opt seccomp=unconfined",
        ) from error
    tokens = {name: _token(name) for name in policy.architectures}
    front = [struct.pack("=HBBI", *instruction) for instruction in _front(policy, tokens)]
    program = b"".join(front) + _body(policy, tokens)
    count = len(program) // kernel.INSTRUCTION
    if count > kernel.BPF_MAXINSNS:
        raise InvalidError(f"seccomp profile: {count} instructions", hint=f"the kernel takes {kernel.BPF_MAXINSNS}")
    return program


def _token(name: str) -> int:
    token = kernel.arch(name.removeprefix("SCMP_ARCH_").lower())
    if token is None:
        raise InvalidError(f"seccomp profile: unknown architecture {name}")
    return token


def _body(policy: Policy, tokens: Mapping[str, int]) -> bytes:
    """libseccomp's part. A name that it can't resolve is a call of another kernel or machine, and is passed over."""
    native = policy.architectures[0]
    with kernel.Context(policy.default) as context:
        for name, token in tokens.items():
            if name != native:
                _add_arch(context, name, token)
        if len(policy.calls) > 32:
            context.set_attribute(kernel.SCMP_FLTATR_CTL_OPTIMIZE, 2)  # a tree by number instead of a chain
        for call in policy.calls:
            number = kernel.resolve(call.name, kernel.SCMP_ARCH_NATIVE)
            # The library refuses a rule that says what holds anyway.
            if number is not None and call.action != policy.default:
                _add_rule(context, call, number)
        return context.export()


def _add_arch(context: kernel.Context, name: str, token: int) -> None:
    try:
        context.add_arch(token)
    except OSError as error:
        raise InvalidError(f"seccomp profile: {name} can't be added on this machine: {error.strerror}") from error


def _add_rule(context: kernel.Context, call: Call, number: int) -> None:
    try:
        context.add_rule(call.action, number, call.conditions)
    except OSError as error:
        raise InvalidError(
            f"seccomp profile: rule for {call.name}: {error.strerror}", hint="look for another rule that contradicts it"
        ) from error


def _front(policy: Policy, tokens: Mapping[str, int]) -> list[Instruction]:
    """The part before libseccomp's. What matches nothing in it falls through."""
    program: list[Instruction] = []
    for name, token in tokens.items():
        tests = _runs(_unknown(policy, name, token))
        last = max((_number(call.name, name, token) for call in policy.calls), default=0)
        if last > 0 and not _lets_pass(policy.default):
            tests += [(_JGT, 0, 1, last), (_RET, 0, 0, kernel.SCMP_ACT_ERRNO | errno.ENOSYS)]
        if tests:
            program += _section(name, token, tests)
    return program


def _lets_pass(action: int) -> bool:
    return action in (kernel.SCMP_ACT_ALLOW, kernel.SCMP_ACT_LOG) or action & 0xFFFF0000 == kernel.SCMP_ACT_TRACE


def _unknown(policy: Policy, arch: str, token: int) -> dict[int, int]:
    """What the calls get, by number, that this architecture has and the library does not know of."""
    actions: dict[int, int] = {}
    for call in policy.calls:
        number = _number(call.name, arch, token)
        if call.action == policy.default or number <= 0 or kernel.resolve(call.name, token) == number:
            continue
        if call.conditions:
            # To leave the rule out, as for a name that nobody knows, could let the call pass.
            raise UnavailableError(
                f"seccomp profile: this machine's libseccomp can't look at the arguments of {call.name}",
                hint="install a newer libseccomp2",
            )
        actions.setdefault(number, call.action)  # of two rules the library takes the first
    return actions


def _number(call: str, arch: str, token: int) -> int:
    """The call's number on that architecture; 0 or less when it has none there."""
    number = kernel.resolve(call, token)
    if (number is None or number < 0) and call in _NUMBERS.get(arch, {}):
        return _NUMBERS[arch][call] | (_X32_BIT if arch == "SCMP_ARCH_X32" else 0)
    return number or 0


def _runs(actions: Mapping[int, int]) -> list[Instruction]:
    """Return the action of a number, tested run by run of neighbours with the same one."""
    runs: list[list[int]] = []
    for number, action in sorted(actions.items()):
        if runs and runs[-1][1:] == [number - 1, action]:
            runs[-1][1] = number
        else:
            runs.append([number, number, action])
    return [
        step for low, high, action in runs for step in ((_JGE, 0, 2, low), (_JGT, 1, 0, high), (_RET, 0, 0, action))
    ]


def _section(name: str, token: int, tests: list[Instruction]) -> list[Instruction]:
    """`tests` on the call's number, passed over on any other architecture.

    To the kernel x32 is x86_64 with bit 30 in its numbers; only libseccomp has a token for it.
    """
    audit = _AUDIT_ARCH_X86_64 if name == "SCMP_ARCH_X32" else token
    to_x32 = [(_JSET, len(tests), 0, _X32_BIT)] if name == "SCMP_ARCH_X86_64" else []
    body = [(_LD, 0, 0, _NR), *to_x32, *tests]
    return [(_LD, 0, 0, _ARCH), (_JEQ, 0, len(body), audit), *body]
