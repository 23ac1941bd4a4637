"""Capabilities: the kernel's numbers and sets, and Docker's rules for the options."""

from __future__ import annotations

import os
import pickle
import resource
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from rootless.container import capabilities
from rootless.container.capabilities import DEFAULT
from rootless.errors import UsageError
from rootless.idmap import detect
from rootless.kernel import caps, process
from rootless.kernel.caps import Cap
from rootless.kernel.namespaces import CLONE_NEWUSER, unshare
from rootless.paths import Paths
from rootless.room import call, open_room

T = TypeVar("T")
NONE: frozenset[Cap] = frozenset()
ALL = frozenset(Cap)


def in_user_namespace(work: Callable[[], T]) -> T:
    """Run `work` in a child that has every capability, in a user namespace of its own without an id map."""
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            unshare(CLONE_NEWUSER)
            answer = pickle.dumps((work(), ""))
        except BaseException:
            answer = pickle.dumps((None, traceback.format_exc()))
        os.write(write, answer)
        os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        value, trouble = pickle.loads(file.read())
    os.waitpid(pid, 0)
    assert not trouble, trouble
    result: T = value
    return result


def status() -> dict[str, int]:
    """The kernel's own account of the calling process's sets, CapInh to CapAmb."""
    with open("/proc/self/status") as file:
        return {line[:6]: int(line.split()[1], 16) for line in file if line.startswith("Cap")}


# --- The kernel's side ---------------------------------------------------------------------------------------------


def test_numbers_are_the_kernels() -> None:
    """A slip in the table would give or take the wrong power. The kernel's header, when there is one, is the judge."""
    header = "/usr/include/linux/capability.h"
    if not os.path.exists(header):
        pytest.skip("needs the kernel's headers (linux-libc-dev)")
    with open(header) as file:
        words = [line.split() for line in file if line.startswith("#define CAP_")]
    defined = {w[1]: int(w[2]) for w in words if len(w) > 2 and w[2].isdigit()}
    assert {cap.name: cap.value for cap in Cap} == {n: v for n, v in defined.items() if n in Cap.__members__}
    assert set(defined) - set(Cap.__members__) == set()
    assert len(Cap) == 41


def test_last_cap_and_supported() -> None:
    """The container's full set is this kernel's, not this module's."""
    assert {cap.value for cap in caps.supported()} == set(range(min(caps.last_cap(), 40) + 1))


def test_last_cap_is_the_kernels_and_needs_no_file() -> None:
    """It is asked for where /proc is the container's and the limit of open files may be reached."""

    def work() -> int:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
        return caps.last_cap()

    assert in_user_namespace(work) == int(Path("/proc/sys/kernel/cap_last_cap").read_text())


def test_set_caps_sets_what_proc_shows() -> None:
    """capset's halves of 32 bits are easily crossed; /proc prints the same sets in one number."""

    def work() -> dict[str, int]:
        keep = frozenset({Cap.CAP_CHOWN, Cap.CAP_SETPCAP, Cap.CAP_CHECKPOINT_RESTORE})
        caps.set_caps(effective=keep - {Cap.CAP_CHOWN}, permitted=keep, inheritable={Cap.CAP_CHECKPOINT_RESTORE})
        return status()

    kernel = in_user_namespace(work)
    assert kernel["CapEff"] == 1 << Cap.CAP_SETPCAP | 1 << Cap.CAP_CHECKPOINT_RESTORE
    assert kernel["CapPrm"] == kernel["CapEff"] | 1 << Cap.CAP_CHOWN
    assert kernel["CapInh"] == 1 << Cap.CAP_CHECKPOINT_RESTORE


def test_permitted_does_not_grow_back() -> None:
    """What was given up stays given up: capset reports the kernel's refusal instead of losing it."""

    def work() -> str:
        caps.set_caps(NONE, NONE)
        with pytest.raises(PermissionError):
            caps.set_caps({Cap.CAP_KILL}, {Cap.CAP_KILL})
        return "refused"

    assert in_user_namespace(work) == "refused"


def test_drop_bounding_keeps_exactly_what_is_asked() -> None:
    """The bounding set is what no set-user-id program gets past, so a bit more or less matters."""

    def work() -> tuple[frozenset[Cap], int]:
        caps.drop_bounding(DEFAULT)
        return caps.bounding(), status()["CapBnd"]

    assert in_user_namespace(work) == (DEFAULT, caps.mask(DEFAULT))


def test_drop_bounding_needs_setpcap_only_when_there_is_something_to_drop() -> None:
    """A container may start in a process whose bounding set is already right."""

    def work() -> str:
        caps.drop_bounding(DEFAULT)
        caps.set_caps(NONE, NONE)
        caps.drop_bounding(DEFAULT)
        with pytest.raises(PermissionError):
            caps.drop_bounding(DEFAULT - {Cap.CAP_KILL})
        return "ok"

    assert in_user_namespace(work) == "ok"


def test_ambient_capabilities_are_cleared_wholly() -> None:
    """They would survive execve for any user."""

    def work() -> list[int]:
        some = frozenset({Cap.CAP_NET_RAW, Cap.CAP_BPF})
        caps.set_caps(ALL & caps.supported(), ALL & caps.supported(), some)
        for cap in some:
            process.prctl(process.PR_CAP_AMBIENT, 2, cap, 0, 0)  # PR_CAP_AMBIENT_RAISE
        raised = status()["CapAmb"]
        caps.clear_ambient()
        return [raised, status()["CapAmb"]]

    assert in_user_namespace(work) == [caps.mask({Cap.CAP_NET_RAW, Cap.CAP_BPF}), 0]


@pytest.mark.parametrize(("uid", "expected"), [(0, DEFAULT), (1000, NONE)])
def test_what_a_program_starts_with(tmp_path: Path, uid: int, expected: frozenset[Cap]) -> None:
    """Docker's state after execve: root has the container's set, anybody else nothing; nobody inherits anything."""
    if detect().single and uid:
        pytest.skip("needs subordinate ids (/etc/subuid, newuidmap)")
    paths = Paths(store=tmp_path / "store", run=tmp_path / "run")
    room = open_room(paths, detect())

    def work() -> str:
        read, write = os.pipe()
        if (pid := os.fork()) == 0:
            caps.drop_bounding(DEFAULT)
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            caps.clear_ambient()
            held = DEFAULT if uid == 0 else NONE
            caps.set_caps(held, held)
            os.dup2(write, 1)
            os.execv("/bin/grep", ["grep", "^Cap", "/proc/self/status"])
        os.close(write)
        with open(read) as file:
            text = file.read()
        os.waitpid(pid, 0)
        return text

    lines = call(room, work).splitlines()
    os.close(room)
    sets = {line.split()[0]: int(line.split()[1], 16) for line in lines}
    held, bound = caps.mask(expected), caps.mask(DEFAULT)
    assert sets == {"CapInh:": 0, "CapPrm:": held, "CapEff:": held, "CapBnd:": bound, "CapAmb:": 0}


def test_prctl_wrapper_reports_errors() -> None:
    """PR_CAPBSET_READ of a number that no kernel has: EINVAL, not a silent zero."""
    with pytest.raises(OSError, match="Invalid argument"):
        process.prctl(caps.PR_CAPBSET_READ, 63)


# --- The options ---------------------------------------------------------------------------------------------------


def test_default_set_is_dockers() -> None:
    """Images rely on exactly these fourteen; Docker's documentation lists them."""
    assert capabilities.names(DEFAULT) == [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETPCAP",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_RAW",
        "CAP_SYS_CHROOT",
        "CAP_MKNOD",
        "CAP_AUDIT_WRITE",
        "CAP_SETFCAP",
    ]


SUPPORTED = caps.supported()


@pytest.mark.parametrize(
    ("add", "drop", "privileged", "expected"),
    [
        ((), (), False, DEFAULT),
        ((), (), True, SUPPORTED),
        (("NET_ADMIN",), ("ALL",), True, SUPPORTED),
        (("NET_ADMIN",), (), False, DEFAULT | {Cap.CAP_NET_ADMIN}),
        (("cap_net_admin", "Sys_Time"), (), False, DEFAULT | {Cap.CAP_NET_ADMIN, Cap.CAP_SYS_TIME}),
        ((" NET_ADMIN ",), (), False, DEFAULT | {Cap.CAP_NET_ADMIN}),
        ((), ("MKNOD", "CAP_KILL"), False, DEFAULT - {Cap.CAP_MKNOD, Cap.CAP_KILL}),
        ((), ("NET_ADMIN",), False, DEFAULT),
        (("KILL",), ("KILL",), False, DEFAULT),
        (("ALL",), (), False, SUPPORTED),
        (("all",), ("mknod",), False, SUPPORTED - {Cap.CAP_MKNOD}),
        (("ALL", "MKNOD"), ("MKNOD",), False, SUPPORTED - {Cap.CAP_MKNOD}),
        ((), ("ALL",), False, NONE),
        (("CHOWN",), ("ALL",), False, {Cap.CAP_CHOWN}),
        (("CHOWN",), ("ALL", "CHOWN"), False, {Cap.CAP_CHOWN}),
        (("ALL",), ("ALL",), False, SUPPORTED),
        (("ALL",), ("ALL", "MKNOD"), False, SUPPORTED),
    ],
)
def test_resolve(add: tuple[str, ...], drop: tuple[str, ...], privileged: bool, expected: frozenset[Cap]) -> None:
    """Each of Docker's cases, with the corners where add and drop meet."""
    assert capabilities.resolve(add, drop, privileged) == expected


@pytest.mark.parametrize("word", ["NET_ADMINN", "", "CAP_", "CAP_ALL", "CAP_CAP_CHOWN", "0", "NET ADMIN", "CHOWN,KILL"])
@pytest.mark.parametrize("option", ["add", "drop", "privileged"])
def test_resolve_refuses_unknown_names(word: str, option: str) -> None:
    """A misspelt name must not be passed over: with --cap-drop the container would keep the capability."""
    add, drop = ((), (word,)) if option == "drop" else ((word,), ())
    with pytest.raises(UsageError, match="unknown capability") as caught:
        capabilities.resolve(add, drop, option == "privileged")
    assert repr(word) in str(caught.value)


def test_resolve_on_an_older_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux before 5.9 has no CAP_CHECKPOINT_RESTORE: asked for by name it is refused, ALL does without it."""
    older = frozenset(cap for cap in Cap if cap < Cap.CAP_CHECKPOINT_RESTORE)
    monkeypatch.setattr(capabilities, "supported", lambda: older)
    assert capabilities.resolve((), (), True) == older
    with pytest.raises(UsageError, match="kernel does not know"):
        capabilities.resolve(("checkpoint_restore",), (), False)
