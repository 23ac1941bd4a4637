"""Limits as files of a cgroup, and what stands in for them; on a directory that only looks like a cgroup."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rootless.container.record import DeviceLimit, Resources, Ulimit
from rootless.errors import RootlessError
from rootless.idmap import Extent, IdMap
from rootless.kernel.caps import Cap
from rootless.runtime import limits
from rootless.runtime.cgroup import INNER
from rootless.runtime.limits import (
    all_limits,
    apply,
    complaint,
    disks_weigh,
    io_weight,
    lacking,
    weighs,
    weight,
    with_stand_ins,
)
from rootless.runtime.program import Program

MIB = 1 << 20
EVERYTHING = Resources(
    memory=64 * MIB,
    memory_swap=96 * MIB,
    memory_reservation=32 * MIB,
    nano_cpus=1_500_000_000,
    cpu_shares=512,
    cpuset_cpus="0-1",
    pids_limit=20,
)
FILES = (
    "memory.max",
    "memory.swap.max",
    "memory.low",
    "cpu.max",
    "cpu.weight",
    "cpuset.cpus",
    "cpuset.mems",
    "pids.max",
    "io.weight",
    "io.bfq.weight",
)


def texts(resources: Resources) -> dict[str, str]:
    return {limit.file: limit.value for limit in limits.limits(resources)}


def test_every_limit_has_its_file() -> None:
    assert texts(EVERYTHING) == {
        "memory.max": "67108864",
        "memory.swap.max": "33554432",
        "memory.low": "33554432",
        "cpu.max": "150000 100000",
        "cpu.weight": "59",
        "cpuset.cpus": "0-1",
        "pids.max": "20",
    }
    assert limits.wanted(EVERYTHING) == {"memory", "cpu", "cpuset", "pids"}


def test_nothing_is_written_for_what_was_not_said() -> None:
    assert texts(Resources()) == {}
    assert limits.wanted(Resources()) == frozenset()
    assert texts(Resources(pids_limit=-1, memory_swap=-1)) == {}


@pytest.mark.parametrize(
    ("swap", "expected"),
    [(0, {"memory.swap.max": str(64 * MIB)}), (64 * MIB, {"memory.swap.max": "0"}), (-1, {})],
)
def test_swap_is_told_apart_from_memory(swap: int, expected: dict[str, str]) -> None:
    """Docker's number is of both together, and without one there is as much swap as memory."""
    found = texts(Resources(memory=64 * MIB, memory_swap=swap))
    assert found.pop("memory.max") == str(64 * MIB)
    assert found == expected


def test_the_least_share_of_a_processor() -> None:
    """The kernel refuses less than a millisecond (EINVAL); Docker takes 0.001 CPUs."""
    assert texts(Resources(nano_cpus=1_000_000)) == {"cpu.max": "1000 100000"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (Resources(cpu_quota=50_000), "50000 100000"),
        (Resources(cpu_quota=50_000, cpu_period=20_000), "50000 20000"),
        (Resources(cpu_quota=-1, cpu_period=20_000), "max 20000"),
        (Resources(cpu_period=20_000), "max 20000"),
    ],
)
def test_time_in_the_kernels_own_numbers(given: Resources, expected: str) -> None:
    assert texts(given) == {"cpu.max": expected}


def test_weights_on_disks() -> None:
    assert [io_weight(w) for w in (0, 10, 500, 1000)] == [100, 1, 4950, 10000]
    assert texts(Resources(blkio_weight=300)) == {"io.weight": "default 2930", "io.bfq.weight": "default 300"}
    assert weighs(Resources(blkio_weight=300)) == {"--blkio-weight"}
    assert weighs(Resources(memory=64 * MIB)) == frozenset()


@pytest.mark.parametrize(
    ("scheduler", "costs", "expected"),
    [
        ("mq-deadline [bfq] none", "", True),
        ("[mq-deadline] bfq none", "", False),
        ("[none]", "8:0 enable=1 ctrl=auto\n", True),
        ("[none]", "8:0 enable=0 ctrl=auto\n", False),
    ],
)
def test_whether_a_disk_regards_weights(tmp_path: Path, scheduler: str, costs: str, expected: bool) -> None:
    (tmp_path / "sda/queue").mkdir(parents=True)
    (tmp_path / "sda/queue/scheduler").write_text(scheduler)
    (tmp_path / "costs").write_text(costs)
    assert disks_weigh(tmp_path, tmp_path / "costs") is expected


def test_limits_on_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line for each: the kernel keeps what a line of io.max does not name."""
    monkeypatch.setattr(limits, "disk_number", lambda limit: "8:16")
    asked = Resources(devices=(DeviceLimit("rbps", "/dev/sdb", 1 << 20), DeviceLimit("wiops", "/dev/sdb", 0),
                               DeviceLimit("weight", "/dev/sdb", 10)))  # fmt: skip
    assert [(one.option, one.file, one.value) for one in limits.limits(asked)] == [
        ("--device-read-bps", "io.max", "8:16 rbps=1048576"),
        ("--device-write-iops", "io.max", "8:16 wiops=max"),
        ("--blkio-weight-device", "io.weight", "8:16 1"),
    ]
    assert limits.wanted(asked) == {"io"}


def test_weights_go_through_the_three_points_and_never_fall() -> None:
    assert [weight(shares) for shares in (0, 1, 2, 1024, 262144, 1 << 40)] == [100, 1, 1, 100, 10000, 10000]
    curve = [weight(shares) for shares in range(2, 5000)]
    assert curve == sorted(curve)


@pytest.fixture
def group(tmp_path: Path) -> Path:
    """What a cgroup with all controllers looks like."""
    for directory in tmp_path / "c", tmp_path / "c" / INNER:
        directory.mkdir()
        for name in FILES:
            (directory / name).write_text("")
    return tmp_path / "c"


def test_both_levels_are_written(group: Path) -> None:
    assert apply(group, limits.limits(EVERYTHING)) == []
    for level in group, group / INNER:
        assert (level / "memory.max").read_text() == "67108864"
        assert (level / "pids.max").read_text() == "20"


def test_an_update_writes_what_was_taken_back_as_well(group: Path) -> None:
    apply(group, limits.limits(EVERYTHING))
    for name in FILES:
        (group / name).write_text("")  # a real file of a cgroup does not keep the end of a longer value
    apply(group, all_limits(Resources(memory=128 * MIB)))
    assert {name: (group / name).read_text() for name in FILES} == {
        "memory.max": str(128 * MIB),
        "memory.swap.max": str(128 * MIB),
        "memory.low": "0",
        "cpu.max": "max 100000",
        "cpu.weight": "100",
        "cpuset.cpus": "\n",
        "cpuset.mems": "\n",
        "pids.max": "max",
        "io.weight": "default 100",
        "io.bfq.weight": "default 100",
    }


def test_what_has_no_file_is_told_by_its_option(group: Path) -> None:
    for name in "memory.max", "memory.swap.max", "pids.max":
        (group / name).unlink()
    assert apply(group, limits.limits(EVERYTHING)) == ["--memory", "--memory-swap", "--pids-limit"]
    assert lacking(group, EVERYTHING) == {"--memory", "--memory-swap", "--pids-limit"}
    assert lacking(None, Resources(nano_cpus=1)) == {"--cpus"}
    assert lacking(None, Resources()) == frozenset()


def test_a_kernel_without_swap_accounting_is_no_complaint_where_nobody_spoke_of_swap(group: Path) -> None:
    (group / "memory.swap.max").unlink()
    assert apply(group, limits.limits(Resources(memory=64 * MIB))) == []


def test_a_refused_value_is_an_error_that_names_the_option(group: Path) -> None:
    """A directory in the file's place refuses the write as the kernel would refuse the value: by an errno."""
    (group / "cpu.max").unlink()
    (group / "cpu.max").mkdir()
    with pytest.raises(RootlessError, match="--cpus: cpu.max can't be 150000 100000"):
        apply(group, limits.limits(EVERYTHING))


# --- stand-ins ------------------------------------------------------------------------------------------------------

ONE_ID = IdMap((Extent(0, 1000, 1),), (Extent(0, 1000, 1),), "")
MANY_IDS = IdMap((Extent(0, 1000, 1), Extent(1, 100000, 65536)), (Extent(0, 1000, 1), Extent(1, 100000, 65536)), "")


def program(*ulimits: Ulimit) -> Program:
    return Program(
        argv=("true",),
        env=(),
        workdir="/",
        user="",
        group_add=(),
        tty=False,
        stdin_open=False,
        init=False,
        ulimits=ulimits,
        no_new_privileges=False,
        capabilities=frozenset[Cap](),
        filter=None,
        idmap=ONE_ID,
        window=(24, 80),
        debug=False,
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), Ulimit("nproc", 20, 20)),
        ((Ulimit("nproc", 5, 30),), Ulimit("nproc", 5, 20)),
        ((Ulimit("nproc", -1, -1),), Ulimit("nproc", 20, 20)),
    ],
)
def test_a_limit_on_processes_becomes_an_rlimit(given: tuple[Ulimit, ...], expected: Ulimit) -> None:
    made = with_stand_ins(program(*given, Ulimit("core", 0, 0)), EVERYTHING, frozenset({"--pids-limit"}))
    assert set(made.ulimits) == {expected, Ulimit("core", 0, 0)}
    assert made.affinity == frozenset()


def test_processors_become_an_affinity() -> None:
    made = with_stand_ins(program(), EVERYTHING, frozenset({"--cpuset-cpus", "--memory"}))
    assert made.affinity == {0, 1}
    assert made.ulimits == ()


def test_with_a_cgroup_nothing_stands_in() -> None:
    assert with_stand_ins(program(), EVERYTHING, frozenset()) == program()


def test_before_5_14_rlimit_nproc_counted_the_whole_machine() -> None:
    assert [limits.counts_by_namespace(release) for release in ("5.13.0-1", "5.14", "6.1.0-9-amd64", "odd")] == [
        False,
        True,
        True,
        False,
    ]


def test_complaints_say_what_does_not_hold_and_what_holds_in_part() -> None:
    everything = frozenset({"--memory", "--cpus", "--pids-limit", "--cpuset-cpus"})
    text = complaint(everything, MANY_IDS)
    assert text.startswith("--cpus and --memory do not hold, ")
    assert "--cpuset-cpus holds until a process in the container asks for other CPUs" in text
    assert "--pids-limit holds for each user in the container by itself" in text
    assert complaint(frozenset({"--memory"}), MANY_IDS) == "--memory does not hold"


def test_with_one_id_there_is_one_user_and_the_rlimit_is_the_same() -> None:
    assert complaint(frozenset({"--pids-limit"}), ONE_ID) == ""


def test_processes_that_run_are_bound_and_limited() -> None:
    """On a process of our own, for real: prlimit(2) and sched_setaffinity(2) of another one."""
    first = min(os.sched_getaffinity(0))
    child = os.fork()
    if child == 0:
        os.execv("/bin/sleep", ["sleep", "60"])
    try:
        resources = Resources(cpuset_cpus=str(first), pids_limit=7)
        missing = frozenset({"--cpuset-cpus", "--pids-limit"})
        assert limits.stand_in([child], resources, missing) == []
        assert os.sched_getaffinity(child) == {first}
        line = next(line for line in Path(f"/proc/{child}/limits").read_text().splitlines() if "processes" in line)
        assert line.split()[2:4] == ["7", "7"]
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert limits.stand_in([child], resources, missing) == [], "a process that has ended needs no limit"
