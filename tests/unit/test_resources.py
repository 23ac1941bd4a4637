"""The texts of the limits, and which limits go together: what Docker refuses is refused in its words."""

from __future__ import annotations

import pytest

from rootless.cli.disk_options import read_disks
from rootless.cli.resource_options import take_resources
from rootless.container import resources as module
from rootless.container.record import DeviceLimit, Record, Resources, Spec, decode_record, with_spec
from rootless.container.resources import changed, check, cpus, ranges
from rootless.errors import InvalidError, UsageError

GIB = 1 << 30


@pytest.fixture(autouse=True)
def four_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_online", lambda path: frozenset(range(4)))


@pytest.mark.parametrize(
    ("option", "text", "field", "value"),
    [
        ("memory", "64m", "memory", 64 << 20),
        ("memory_reservation", "1g", "memory_reservation", GIB),
        ("memory_swap", "-1", "memory_swap", -1),
        ("memory_swap", "2g", "memory_swap", 2 * GIB),
        ("cpus", "1.5", "nano_cpus", 1_500_000_000),
        ("cpus", ".25", "nano_cpus", 250_000_000),
        ("cpus", "1/2", "nano_cpus", 500_000_000),
        ("cpus", "1e-9", "nano_cpus", 1),
        ("cpu_shares", "512", "cpu_shares", 512),
        ("cpuset_cpus", "0-2,3", "cpuset_cpus", "0-2,3"),
        ("pids_limit", "-1", "pids_limit", -1),
        ("oom_score_adj", "-500", "oom_score_adj", -500),
        ("cpu_period", "20000", "cpu_period", 20_000),
        ("cpu_quota", "-1", "cpu_quota", -1),
        ("cpuset_mems", "0,1", "cpuset_mems", "0,1"),
        ("blkio_weight", "300", "blkio_weight", 300),
    ],
)
def test_texts(option: str, text: str, field: str, value: int | str) -> None:
    given = {option: text, "name": "kept"}
    assert take_resources(given) == {field: value}
    assert given == {"name": "kept"}


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("memory", "much", 'invalid argument "much" for "-m, --memory" flag: invalid size: \'much\''),
        ("memory", "-1", "invalid size"),
        ("memory_swap", "-2", "invalid size"),
        ("cpus", "two", 'invalid argument "two" for "--cpus" flag: failed to parse two as a rational number'),
        ("cpus", "1/0", "failed to parse 1/0 as a rational number"),
        ("cpus", "0.0000000001", "value is too precise"),
        ("cpus", "１", "failed to parse"),
        ("pids_limit", "many", 'for "--pids-limit" flag: strconv.ParseInt: parsing "many": invalid syntax'),
        ("pids_limit", "9" * 19, "value out of range"),
        ("blkio_weight", "70000", 'strconv.ParseUint: parsing "70000": value out of range'),
        ("cpu_shares", "1.5", 'for "-c, --cpu-shares" flag: strconv.ParseInt: parsing "1.5": invalid syntax'),
    ],
)
def test_bad_texts(option: str, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        take_resources({option: text})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (Resources(memory=6 << 20 - 1), "Minimum memory limit allowed is 6MB"),
        (Resources(memory_swap=GIB), "You should always set the Memory limit when using Memoryswap limit"),
        (Resources(memory=GIB, memory_swap=GIB - 1), "Minimum memoryswap limit should be larger than memory limit"),
        (Resources(memory_reservation=1), "Minimum memory reservation allowed is 6MB"),
        (
            Resources(memory=GIB, memory_reservation=2 * GIB),
            "Minimum memory limit can not be less than memory reservation limit",
        ),
        (Resources(nano_cpus=4_000_000_001), "Range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available"),
        (Resources(nano_cpus=-1), "Range of CPUs is from 0.01 to 4.00"),
        (Resources(cpu_shares=-1), "value must be a positive integer"),
        (Resources(cpuset_cpus="0-4"), "Requested CPUs are not available - requested 0-4, available: 0-3"),
        (Resources(cpuset_cpus="0-"), "Invalid value 0- for cpuset cpus"),
        (Resources(cpuset_cpus="3-1"), "Invalid value 3-1 for cpuset cpus"),
        (Resources(cpuset_cpus="0,,1"), "for cpuset cpus"),
        (Resources(oom_score_adj=1001), "Invalid value 1001, range for oom score adj is [-1000, 1000]"),
        (Resources(pids_limit=-2), "invalid pids limit -2"),
    ],
)
def test_what_can_not_be_meant(resources: Resources, message: str) -> None:
    with pytest.raises(InvalidError) as caught:
        check(resources)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "resources",
    [
        Resources(),
        Resources(memory=6 << 20, memory_swap=6 << 20, memory_reservation=6 << 20),
        Resources(memory=GIB, memory_swap=-1),
        Resources(memory_swap=-1),
        Resources(nano_cpus=4_000_000_000, cpuset_cpus="0-3"),
        Resources(oom_score_adj=-1000, pids_limit=-1),
    ],
)
def test_what_can(resources: Resources) -> None:
    check(resources)


def test_lists_of_processors() -> None:
    assert cpus("0-2,5, 7") == {0, 1, 2, 5, 7}
    assert cpus("") == {0, 1, 2, 3}
    assert ranges(frozenset({0, 1, 2, 5, 7})) == "0-2,5,7"
    assert ranges(frozenset()) == ""


def test_an_update_is_judged_together_with_what_was_there() -> None:
    old = Resources(memory=GIB, memory_swap=2 * GIB, pids_limit=10)
    assert changed(old, memory=2 * GIB) == Resources(memory=2 * GIB, memory_swap=2 * GIB, pids_limit=10)
    with pytest.raises(InvalidError, match="smaller than already set memoryswap limit"):
        changed(old, memory=3 * GIB)
    assert changed(old, memory=3 * GIB, memory_swap=-1).memory == 3 * GIB


def test_a_changed_spec_keeps_what_this_version_does_not_know() -> None:
    """A newer version's fields survive an `update` by an older one."""
    data = (
        b'{"id":"i","name":"n","created":"c","driver":"d","layers":[],"idmap":"m","new":{"a":1},'
        b'"spec":{"image":"x","image_id":"y","argv":["z"],"newer":[1,2],"resources":{"memory":1}}}'
    )
    record = decode_record(data, "config.json")
    changed_spec = Spec(image="x", image_id="y", argv=("z",), resources=Resources(pids_limit=3))
    written = with_spec(data, changed_spec)
    assert decode_record(written, "config.json") == Record(
        id="i", name="n", created="c", driver="d", layers=(), idmap="m", spec=changed_spec
    )
    assert b'"new":{"a":1}' in written and b'"newer":[1,2]' in written
    assert record.spec.resources.memory == 1


def test_a_field_that_an_update_resets_is_gone() -> None:
    """Fields at their default are left out: an old value must not stay in their place."""
    data = (
        b'{"id":"i","name":"n","created":"c","driver":"d","layers":[],"idmap":"m",'
        b'"spec":{"image":"x","image_id":"y","argv":["z"],"restart":"always"}}'
    )
    assert b"restart" not in with_spec(data, Spec(image="x", image_id="y", argv=("z",)))


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (Resources(nano_cpus=1, cpu_period=2000), "Nano CPUs and CPU Period cannot both be set"),
        (Resources(nano_cpus=1, cpu_quota=2000), "Nano CPUs and CPU Quota cannot both be set"),
        (Resources(cpu_period=999), "CPU cfs period can not be less than 1ms"),
        (Resources(cpu_period=1_000_001), "or larger than 1s"),
        (Resources(cpu_quota=999), "CPU cfs quota can not be less than 1ms"),
        (Resources(cpuset_mems="9"), "Requested memory nodes are not available - requested 9, available: 0-3"),
        (Resources(cpuset_mems="a"), "Invalid value a for cpuset mems"),
        (Resources(blkio_weight=9), "Range of blkio weight is from 10 to 1000"),
        (Resources(devices=(DeviceLimit("rbps", "/dev/null", 1),)), "/dev/null is not a block device"),
        (Resources(devices=(DeviceLimit("rbps", "/dev/nosuch", 1),)), "no such file or directory"),
    ],
)
def test_numbers_that_can_not_be_meant(resources: Resources, message: str) -> None:
    with pytest.raises(InvalidError) as caught:
        check(resources)
    assert message in str(caught.value)


def disks(**given: tuple[str, ...]) -> tuple[DeviceLimit, ...]:
    names = ("blkio_weight_device", *(f"device_{way}_{what}" for way in ("read", "write") for what in ("bps", "iops")))
    return read_disks(dict.fromkeys(names, ()) | given)


def test_texts_of_limits_on_disks() -> None:
    assert disks(blkio_weight_device=("/dev/sda:300",), device_read_bps=("/dev/sda:1mb",)) == (
        DeviceLimit("weight", "/dev/sda", 300),
        DeviceLimit("rbps", "/dev/sda", 1 << 20),
    )
    assert disks(device_write_iops=("/dev/sda:100",)) == (DeviceLimit("wiops", "/dev/sda", 100),)


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("blkio_weight_device", "foo", 'invalid argument "foo" for "--blkio-weight-device" flag: bad format: foo'),
        ("blkio_weight_device", "/dev/x:5", "invalid weight for device: /dev/x:5"),
        ("device_read_bps", "x:1m", "bad format for device path: x:1m"),
        ("device_read_bps", "/dev/x:1q", "Unit is optional and can be kb, mb, or gb"),
        ("device_read_iops", "/dev/x:1m", "The correct format is <device-path>:<number>. Number must be"),
    ],
)
def test_bad_texts_of_limits_on_disks(option: str, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        disks(**{option: (text,)})
    assert message in str(caught.value)
