"""The document of a seccomp profile, in Docker's JSON format, and the policy that it comes to for one container.

The format is the runtime specification's `linux.seccomp` with Docker's additions
(https://docs.docker.com/engine/security/seccomp/): `archMap` instead of `architectures`, and `includes`/`excludes` by
capability, machine and kernel. `errno` by name, as Podman's profiles have it, is understood too. A profile comes from
outside: what it says is checked here before anything else sees it.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from typing import Annotated, Literal, NamedTuple

import msgspec

from ..errors import InvalidError
from ..kernel import seccomp as kernel
from ..kernel.caps import Cap
from ..kernel.seccomp import Compare, Condition

_ACTIONS = {
    "SCMP_ACT_KILL": kernel.SCMP_ACT_KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": kernel.SCMP_ACT_KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": kernel.SCMP_ACT_KILL_PROCESS,
    "SCMP_ACT_TRAP": kernel.SCMP_ACT_TRAP,
    "SCMP_ACT_ERRNO": kernel.SCMP_ACT_ERRNO,
    "SCMP_ACT_TRACE": kernel.SCMP_ACT_TRACE,
    "SCMP_ACT_LOG": kernel.SCMP_ACT_LOG,
    "SCMP_ACT_ALLOW": kernel.SCMP_ACT_ALLOW,
}
_CARRIES_NUMBER = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")

_FLAGS = {
    "SECCOMP_FILTER_FLAG_LOG": kernel.SECCOMP_FILTER_FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": kernel.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    # To spread the filter to every thread: the process that loads it, later PID 1, has only one.
    "SECCOMP_FILTER_FLAG_TSYNC": 0,
}

Action = Literal[
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_LOG",
    "SCMP_ACT_ALLOW",
]
Operator = Literal[
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
]
Architecture = Annotated[str, msgspec.Meta(pattern="^SCMP_ARCH_[A-Z0-9_]+$")]
Errno = Annotated[int, msgspec.Meta(ge=0, le=4095)]  # MAX_ERRNO, linux/err.h
Word = Annotated[int, msgspec.Meta(ge=0)]


class Argument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A condition on one argument of a call. For SCMP_CMP_MASKED_EQ `value` is the mask and `value_two` the result."""

    index: Annotated[int, msgspec.Meta(ge=0, le=5)]
    value: Word
    op: Operator
    value_two: Word = 0


class Where(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """When a rule is taken (`includes`, every part must hold) or left out (`excludes`, any part is enough)."""

    caps: tuple[str, ...] | None = None
    arches: tuple[str, ...] | None = None
    """Machines by Go's names (amd64, arm64)."""
    min_kernel: str | None = None


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Calls, what they get, and under which circumstances. A misspelt field is refused: it would widen the rule."""

    action: Action
    names: tuple[str, ...] | None = None
    name: str = ""
    errno_ret: Errno | None = None
    errno: str = ""
    args: tuple[Argument, ...] | None = None
    comment: str = ""
    includes: Where | None = None
    excludes: Where | None = None


class ArchMap(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """An architecture, and the others whose programs its kernel runs as well."""

    architecture: Architecture
    sub_architectures: tuple[Architecture, ...] | None = None


class Profile(msgspec.Struct, frozen=True, rename="camel"):
    """The whole document. Fields that are not known here mean nothing to the filter and are passed over."""

    default_action: Action
    default_errno_ret: Errno | None = None
    default_errno: str = ""
    architectures: tuple[Architecture, ...] | None = None
    arch_map: tuple[ArchMap, ...] | None = None
    flags: tuple[str, ...] | None = None
    syscalls: tuple[Rule, ...] | None = None
    listener_path: str = ""


class Machine(NamedTuple):
    """What the conditions of a profile are held against."""

    arch: str
    """Go's name."""
    native: str
    """libseccomp's token, as profiles spell it."""
    kernel: tuple[int, int]


class Call(NamedTuple):
    """One rule for one call: `action` with its number, when all the conditions hold."""

    name: str
    action: int
    conditions: tuple[Condition, ...]


class Policy(NamedTuple):
    """What a profile comes to for one container on one machine."""

    default: int
    architectures: tuple[str, ...]
    """The native one first."""
    flags: int
    calls: tuple[Call, ...]


def decode(raw: bytes) -> Profile:
    """Read and check a profile.

    Raises:
        InvalidError: it is not JSON in UTF-8, not a profile, or asks for what can't be given; says where.
    """
    try:
        # The decoder passes over bad UTF-8 in fields that it does not know.
        profile = msgspec.json.decode(raw.decode(), type=Profile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidError(f"seccomp profile: {error}") from None
    if profile.architectures and profile.arch_map:
        raise InvalidError("seccomp profile: both 'architectures' and 'archMap' are given", hint="keep one of them")
    if profile.listener_path:
        raise InvalidError("seccomp profile: 'listenerPath' is not supported: no call is handed to another process")
    for flag in profile.flags or ():
        if flag not in _FLAGS:
            raise InvalidError(f"seccomp profile: unknown flag {flag!r}", hint=f"known are {', '.join(_FLAGS)}")
    _number(profile.default_action, profile.default_errno_ret, profile.default_errno)
    for rule in profile.syscalls or ():
        _check(rule)
    return profile


def select(profile: Profile, caps: Iterable[Cap], machine: Machine) -> Policy:
    """Take the rules that hold for these capabilities on this machine."""
    held = frozenset(cap.name for cap in caps)
    calls = [
        Call(name, _number(rule.action, rule.errno_ret, rule.errno), conditions)
        for rule in profile.syscalls or ()
        if _holds(rule, held, machine)
        for name in _names(rule)
        for conditions in _conditions(rule)
    ]
    flags = 0
    # An absent list is not an empty one: on kernels before 5.16 a filter alone turns on the mitigation of speculative
    # store bypass (PR_SET_SPECULATION_CTL), which slows everything down; runc turns it off in the same way.
    for flag in ("SECCOMP_FILTER_FLAG_SPEC_ALLOW",) if profile.flags is None else profile.flags:
        flags |= _FLAGS[flag]
    default = _number(profile.default_action, profile.default_errno_ret, profile.default_errno)
    return Policy(default, _architectures(profile, machine.native), flags, tuple(calls))


def _check(rule: Rule) -> None:
    names = _names(rule)
    where = f"seccomp profile: rule for {names[0] if names else '?'}"
    if rule.name and rule.names:
        raise InvalidError(f"{where}: both 'name' and 'names' are given", hint="use 'names'")
    if not names or "" in names:
        raise InvalidError(f"{where}: a rule needs the names of its calls")
    if any("\0" in name for name in names):
        raise InvalidError(f"{where}: a call's name holds a NUL")
    if any(word >> 64 for argument in rule.args or () for word in (argument.value, argument.value_two)):
        raise InvalidError(f"{where}: a value does not fit into 64 bits")
    _number(rule.action, rule.errno_ret, rule.errno)
    for condition in (rule.includes, rule.excludes):
        if condition and condition.min_kernel:
            _kernel(condition.min_kernel)


def _number(action: str, errno_ret: int | None, errno_name: str) -> int:
    """The action as the kernel's return value, with its number: EPERM when there is none."""
    if action not in _CARRIES_NUMBER:
        if errno_ret is not None or errno_name:
            raise InvalidError(f"seccomp profile: {action} returns no errno", hint="only ERRNO and TRACE do")
        return _ACTIONS[action]
    if not errno_name:
        return _ACTIONS[action] | (errno.EPERM if errno_ret is None else errno_ret)
    if errno_name not in errno.errorcode.values():
        raise InvalidError(f"seccomp profile: unknown errno {errno_name!r}")
    number: int = getattr(errno, errno_name)
    return _ACTIONS[action] | number


def _names(rule: Rule) -> tuple[str, ...]:
    return rule.names or ((rule.name,) if rule.name else ())


def _conditions(rule: Rule) -> list[tuple[Condition, ...]]:
    """The rule's conditions, one tuple for each filter rule. Two on the same argument are alternatives, as in runc."""
    conditions = tuple(Condition(a.index, Compare[a.op], a.value, a.value_two) for a in rule.args or ())
    if len({c.argument for c in conditions}) < len(conditions):
        return [(c,) for c in conditions]
    return [conditions]


def _holds(rule: Rule, held: frozenset[str], machine: Machine) -> bool:
    if without := rule.excludes:
        if machine.arch in (without.arches or ()) or held.intersection(without.caps or ()):
            return False
        if without.min_kernel is not None and machine.kernel >= _kernel(without.min_kernel):
            return False
    if within := rule.includes:
        if within.arches and machine.arch not in within.arches:
            return False
        if within.min_kernel is not None and machine.kernel < _kernel(within.min_kernel):
            return False
        return held.issuperset(within.caps or ())
    return True


def _kernel(version: str) -> tuple[int, int]:
    """`4.8` as a pair; an empty string is any kernel."""
    if not version:
        return (0, 0)
    if not re.fullmatch(r"\d{1,3}\.\d{1,3}", version, re.ASCII):
        raise InvalidError(f"seccomp profile: kernel version {version!r}", hint="write it like 4.8")
    major, minor = version.split(".")
    return int(major), int(minor)


def _architectures(profile: Profile, native: str) -> tuple[str, ...]:
    """The native architecture, always, and those the profile adds to it."""
    added = list(profile.architectures or ())
    for entry in profile.arch_map or ():
        if entry.architecture == native:
            added += entry.sub_architectures or ()
            break
    return tuple(dict.fromkeys([native, *added]))
