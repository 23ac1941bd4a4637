"""Seccomp profiles from outside: decoded, selected for a container, compiled."""

from __future__ import annotations

import errno
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rootless.container.capabilities import DEFAULT
from rootless.errors import InvalidError, UnavailableError
from rootless.kernel import seccomp as kernel
from rootless.kernel.seccomp import Compare
from rootless.runtime.seccomp_compile import compile_policy
from rootless.runtime.seccomp_profile import decode, select
from tests.unit.bpf import AUDIT_ARCH_I386, AUDIT_ARCH_X86_64
from tests.unit.filters import ALLOW, AMD64, EPERM, KILL, X32, compiled, native_machine, number, on_x86_64, profile

RULE: dict[str, Any] = {"names": ["read"], "action": "SCMP_ACT_ERRNO"}
CONDITION: dict[str, Any] = {"args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}


def rule_with(**fields: Any) -> bytes:
    return profile(syscalls=[RULE | fields])


BAD = [
    (b"", "truncated"),
    (b"\xff", "utf-8"),
    (b'{"defaultAction": "SCMP_ACT_ALLOW", "other": "\xff"}', "utf-8"),
    (b"[]", "object"),
    (b"{}", "defaultAction"),
    (b'{"x":' + b"[" * 300_000, "recursion"),
    (b'{"defaultAction": "SCMP_ACT_ALLOWW"}', "SCMP_ACT_ALLOWW"),
    (b'{"defaultAction": "SCMP_ACT_NOTIFY"}', "SCMP_ACT_NOTIFY"),
    (profile(defaultErrnoRet=1), "returns no errno"),
    (profile(defaultAction="SCMP_ACT_ERRNO", defaultErrnoRet=4096), "4095"),
    (profile(defaultAction="SCMP_ACT_ERRNO", defaultErrno="EWHAT"), "EWHAT"),
    (profile(architectures=["SCMP_ARCH_X86"], archMap=[{"architecture": "SCMP_ARCH_X86_64"}]), "both"),
    (profile(architectures=["amd64"]), "architectures"),
    (profile(flags=["SECCOMP_FILTER_FLAG_NEW"]), "SECCOMP_FILTER_FLAG_NEW"),
    (profile(listenerPath="/run/listener"), "listenerPath"),
    (rule_with(action="SCMP_ACT_NOTIFY"), "SCMP_ACT_NOTIFY"),
    (rule_with(name="write"), "both 'name' and 'names'"),
    (rule_with(names=[]), "needs the names"),
    (rule_with(names=["read", ""]), "needs the names"),
    (rule_with(names=["read\0x"]), "NUL"),
    (rule_with(names="read"), "array"),
    (rule_with(arg=[]), "unknown field `arg`"),
    (rule_with(action="SCMP_ACT_ALLOW", errnoRet=1), "returns no errno"),
    (rule_with(errno="EPERMM"), "EPERMM"),
    (rule_with(args=[{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]), "index"),
    (rule_with(args=[{"index": 0, "value": -1, "op": "SCMP_CMP_EQ"}]), "value"),
    (rule_with(args=[{"index": 0, "value": 2**64, "op": "SCMP_CMP_EQ"}]), "64 bits"),
    (rule_with(args=[{"index": 0, "value": 0, "op": "SCMP_CMP_XX"}]), "SCMP_CMP_XX"),
    (rule_with(args=[{"index": 0, "op": "SCMP_CMP_EQ"}]), "value"),
    (rule_with(includes={"minKernel": "4"}), "kernel version '4'"),
    (rule_with(excludes={"minKernel": "4.8.1"}), "kernel version"),
    (rule_with(includes={"cap": ["CAP_KILL"]}), "unknown field `cap`"),
]


@pytest.mark.parametrize(("raw", "word"), BAD, ids=[word for _, word in BAD])
def test_bad_profiles(raw: bytes, word: str) -> None:
    """One line that names the trouble, for each way in which a document can be wrong."""
    with pytest.raises(InvalidError) as caught:
        decode(raw)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(database=None)
@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
def test_rubbish_is_refused(raw: bytes) -> None:
    """No document but a profile gets through, and none breaks the decoder."""
    with pytest.raises(InvalidError):
        decode(raw)


def test_what_old_and_foreign_profiles_write() -> None:
    """Docker's older profiles have nulls, empty objects and 'name'; Podman's name the errno; both must do."""
    raw = profile(
        defaultAction="SCMP_ACT_ERRNO",
        defaultErrno="ENOSYS",
        defaultErrnoRet=1,
        archMap=[{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": None}],
        somethingNew={"a": [1]},
        syscalls=[
            {"name": "read", "action": "SCMP_ACT_ALLOW", "args": None, "comment": "", "includes": {}, "excludes": {}},
            {"names": ["write"], "action": "SCMP_ACT_ERRNO", "errno": "EACCES", "includes": {"minKernel": ""}},
        ],
    )
    policy = select(decode(raw), DEFAULT, AMD64)
    assert policy.default == kernel.SCMP_ACT_ERRNO | errno.ENOSYS
    assert policy.architectures == ("SCMP_ARCH_X86_64",)
    assert [(call.name, call.action) for call in policy.calls] == [
        ("read", ALLOW),
        ("write", kernel.SCMP_ACT_ERRNO | errno.EACCES),
    ]


@pytest.mark.parametrize(
    ("condition", "taken"),
    [
        ({}, True),
        ({"includes": {"caps": ["CAP_KILL"]}}, True),
        ({"includes": {"caps": ["CAP_KILL", "CAP_SYS_ADMIN"]}}, False),
        ({"includes": {"caps": ["CAP_OF_THE_FUTURE"]}}, False),
        ({"excludes": {"caps": ["CAP_SYS_ADMIN", "CAP_KILL"]}}, False),
        ({"excludes": {"caps": ["CAP_SYS_ADMIN"]}}, True),
        ({"includes": {"arches": ["arm64", "amd64"]}}, True),
        ({"includes": {"arches": ["arm64"]}}, False),
        ({"excludes": {"arches": ["amd64"]}}, False),
        ({"excludes": {"arches": ["s390x"]}}, True),
        ({"includes": {"minKernel": "6.1"}}, True),
        ({"includes": {"minKernel": "6.2"}}, False),
        ({"includes": {"minKernel": "5.99"}}, True),
        ({"excludes": {"minKernel": "6.1"}}, False),
        ({"excludes": {"minKernel": "6.2"}}, True),
        ({"includes": {"caps": ["CAP_KILL"], "arches": ["arm64"]}}, False),
        ({"includes": {"caps": ["CAP_KILL"]}, "excludes": {"caps": ["CAP_CHOWN"]}}, False),
    ],
)
def test_when_a_rule_is_taken(condition: dict[str, Any], taken: bool) -> None:
    """Of `includes` all must hold, of `excludes` one is enough, and versions are compared as numbers."""
    assert bool(select(decode(rule_with(**condition)), DEFAULT, AMD64).calls) is taken


def test_two_conditions_on_one_argument_are_alternatives() -> None:
    """As runc has it; libseccomp itself could not take both in one rule."""
    args = [{"index": 0, "value": v, "op": "SCMP_CMP_EQ"} for v in (1, 2)]
    calls = select(decode(rule_with(args=args)), DEFAULT, AMD64).calls
    assert [call.conditions for call in calls] == [((0, Compare.SCMP_CMP_EQ, 1, 0),), ((0, Compare.SCMP_CMP_EQ, 2, 0),)]


def holds(op: Compare, argument: int, value: int, value_two: int) -> bool:
    """What the manual page of seccomp_rule_add(3) says of each comparison."""
    return {
        Compare.SCMP_CMP_NE: argument != value,
        Compare.SCMP_CMP_LT: argument < value,
        Compare.SCMP_CMP_LE: argument <= value,
        Compare.SCMP_CMP_EQ: argument == value,
        Compare.SCMP_CMP_GE: argument >= value,
        Compare.SCMP_CMP_GT: argument > value,
        Compare.SCMP_CMP_MASKED_EQ: argument & value == value_two,
    }[op]


words = st.sampled_from([0, 1, 7, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1])
conditions = st.fixed_dictionaries(
    {"index": st.integers(0, 5), "value": words, "op": st.sampled_from([op.name for op in Compare])}
)


@on_x86_64
@settings(max_examples=60, deadline=None, database=None)
@given(
    st.lists(conditions, min_size=1, max_size=3, unique_by=lambda c: c["index"]),
    st.lists(words, min_size=6, max_size=6),
)
def test_comparisons(args: list[dict[str, Any]], arguments: list[int]) -> None:
    """Every operator on 64 bits, several arguments at once: a wrong field in the structure would show as a verdict."""
    for arg in args:
        if arg["op"] == "SCMP_CMP_MASKED_EQ":
            arg["valueTwo"] = arg["value"] & 0xFFFF0000FFFF
    program = compiled({"syscalls": [RULE | {"args": args}]})
    matches = all(holds(Compare[a["op"]], arguments[a["index"]], a["value"], a.get("valueTwo", 0)) for a in args)
    assert program.run(AUDIT_ARCH_X86_64, number("read"), arguments) == (EPERM if matches else ALLOW)


@on_x86_64
def test_errnos_and_other_actions() -> None:
    """The number in the low half of the action is the profile's, EPERM when it says none."""
    actions: list[dict[str, Any]] = [
        {"action": "SCMP_ACT_ERRNO"},
        {"action": "SCMP_ACT_ERRNO", "errnoRet": 13},
        {"action": "SCMP_ACT_TRACE", "errnoRet": 7},
        {"action": "SCMP_ACT_KILL"},
        {"action": "SCMP_ACT_KILL_PROCESS"},
        {"action": "SCMP_ACT_TRAP"},
        {"action": "SCMP_ACT_LOG"},
    ]
    names = ["read", "write", "open", "close", "stat", "fstat", "lstat"]
    rules = [{"names": [name]} | action for name, action in zip(names, actions, strict=True)]
    program = compiled({"syscalls": rules})
    found = [program.run(AUDIT_ARCH_X86_64, number(name)) for name in names]
    assert found == [0x50001, 0x5000D, 0x7FF00007, 0, 0x80000000, 0x30000, 0x7FFC0000]


@on_x86_64
def test_a_profile_that_denies_lets_new_calls_pass() -> None:
    """ENOSYS for the unknown is for profiles that list what is allowed; here it would deny what nobody named."""
    program = compiled({"syscalls": [RULE | {"names": ["read", "getxattrat"]}]})
    assert program.run(AUDIT_ARCH_X86_64, 500) == ALLOW
    assert program.run(AUDIT_ARCH_X86_64, 464) == EPERM
    assert program.run(AUDIT_ARCH_X86_64, 463) == program.run(AUDIT_ARCH_X86_64, 465) == ALLOW


@on_x86_64
def test_without_rules_everything_gets_the_default() -> None:
    """No rule names a highest number, so there is none above which a call would look absent."""
    program = compiled({"defaultAction": "SCMP_ACT_ERRNO"})
    assert {program.run(AUDIT_ARCH_X86_64, n) for n in (0, 1, 59, 500)} == {EPERM}


@on_x86_64
def test_without_other_architectures_their_programs_are_killed() -> None:
    """A profile that names no architecture stands for the native one."""
    program = compiled({"syscalls": [RULE]})
    assert program.run(AUDIT_ARCH_I386, 3) == KILL
    assert program.run(AUDIT_ARCH_X86_64, X32 | 1) == KILL


@on_x86_64
@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"architectures": ["SCMP_ARCH_PDP11"]}, "unknown architecture SCMP_ARCH_PDP11"),
        ({"architectures": ["SCMP_ARCH_S390X"]}, "SCMP_ARCH_S390X can't be added"),
        ({"syscalls": [RULE | CONDITION, RULE | CONDITION | {"errnoRet": 2}]}, "rule for read: File exists"),
    ],
)
def test_policies_that_do_not_compile(fields: dict[str, Any], word: str) -> None:
    """What only the compiler can see is still the profile's fault, and said so."""
    with pytest.raises(InvalidError) as caught:
        compiled(fields)
    assert word in str(caught.value)


@on_x86_64
def test_a_program_too_long_for_the_kernel() -> None:
    """Found when it is compiled, not by a start that fails with EINVAL."""
    rules = [
        RULE | {"names": [name], "args": [{"index": i, "value": n << 32 | n, "op": "SCMP_CMP_EQ"} for i in range(6)]}
        for name in ("read", "write")
        for n in range(300)
    ]
    with pytest.raises(InvalidError, match="the kernel takes 4096"):
        compiled({"syscalls": rules})


@on_x86_64
@pytest.mark.parametrize("name", ["read", "listns"])
def test_of_two_rules_the_first_holds(name: str) -> None:
    """For a call the library knows, and for one that only the part in front of its program handles."""
    rules = [RULE | {"names": [name], "errnoRet": n} for n in (3, 4)]
    program = compiled({"syscalls": rules})
    assert program.run(AUDIT_ARCH_X86_64, 0 if name == "read" else 470) == kernel.SCMP_ACT_ERRNO | 3


@on_x86_64
def test_conditions_that_an_old_library_can_not_express(monkeypatch: pytest.MonkeyPatch) -> None:
    """To pass over a rule that denies would allow: better no container than one without its rule."""
    known = kernel.resolve
    monkeypatch.setattr(kernel, "resolve", lambda name, arch: None if name == "mseal" else known(name, arch))
    rule = RULE | {"names": ["mseal"], "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}
    with pytest.raises(UnavailableError, match="mseal"):
        compiled({"syscalls": [rule]})


@on_x86_64
def test_unknown_names_are_passed_over() -> None:
    """Profiles name the calls of every kernel and machine; Docker passes over what this one lacks."""
    rules = [RULE, RULE | {"names": ["no_such_call", "s390_runtime_instr", "arm_fadvise64_64"]}]
    assert compiled({"syscalls": rules}).run(AUDIT_ARCH_X86_64, 0) == EPERM


def test_default_action_as_rule() -> None:
    """A rule that says what holds anyway is no error, though libseccomp refuses it."""
    policy = select(decode(rule_with(action="SCMP_ACT_ALLOW")), DEFAULT, native_machine())
    assert [call.action for call in policy.calls] == [policy.default]
    assert compile_policy(policy)
