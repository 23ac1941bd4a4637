"""`network create` and what stands on disk of it, without a namespace."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from rootless.container.network import RESERVED as MODES
from rootless.errors import ConflictError, InvalidError, NotFoundError, RootlessError, StoreError
from rootless.kernel import process
from rootless.network import definition, switch
from rootless.network.definition import Definition, create
from rootless.network.record import Lease
from rootless.network.remove import remove
from rootless.network.store import PREDEFINED, Networks
from rootless.paths import Paths


@pytest.fixture
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Networks:
    (tmp_path / "store/tmp").mkdir(parents=True)
    monkeypatch.setattr(definition, "machine_networks", list)  # what this machine is connected to is not the matter
    return Networks(Paths(store=tmp_path / "store", run=tmp_path / "run"))


def lease(container: str, address: str, **changes: object) -> Lease:
    fields: dict[str, object] = {
        "container": container * 64,
        "endpoint": "e" * 64,
        "interface": "eth0",
        "ipv4": address,
        "monitor": os.getpid(),
        "monitor_started": process.start_time(os.getpid()),
        "boot_id": process.boot_id(),
        "machine_id": process.machine_id(),
    }
    return Lease(**(fields | changes))  # type: ignore[arg-type]


def test_a_network_is_found_by_name_id_and_the_beginning_of_its_id(networks: Networks) -> None:
    made = create(networks, Definition("blue", labels={"a": "b"}, options={"mtu": "1400"}, internal=True))
    for text in "blue", made.id, made.id[:5]:
        assert networks.resolve(text) == made
    assert (made.mtu, made.internal, made.labels) == (1400, True, {"a": "b"})
    for text in "green", "", "..", "../x", "zz":
        with pytest.raises(NotFoundError):
            networks.resolve(text)


def test_each_network_has_a_subnet_of_its_own(networks: Networks) -> None:
    subnets = [create(networks, Definition(name)).subnets[0].network for name in ("a", "b", "c")]
    assert not any(one.overlaps(other) for one in subnets for other in subnets if one is not other)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"subnets": ["10.9.0.0/24"], "gateways": ["10.8.0.1"]}, "no matching subnet for gateway 10.8.0.1"),
        ({"subnets": ["10.9.0.0/24"], "gateways": ["10.9.0.255"]}, "invalid gateway"),
        ({"subnets": ["10.9.0.0/24"], "gateways": ["nine"]}, "invalid gateway address: nine"),
        ({"gateways": ["10.8.0.1"]}, "every ip-range or gateway must have a corresponding subnet"),
        ({"subnets": ["10.9.0.0/24"], "ip_ranges": ["10.9.0.0/16"]}, "no matching subnet for range"),
        ({"subnets": ["10.9.0.0/24", "10.9.0.0/25"]}, "multiple overlapping subnet configuration"),
        ({"subnets": ["10.9.0.0/24"], "aux_addresses": {"x": "10.8.0.1"}}, "no matching subnet for aux-address"),
        ({"subnets": ["fd01::/64"]}, "needs --ipv6"),
        ({"subnets": ["10.7.0.0/16"]}, "Pool overlaps with other one on this address space"),
        ({"driver": "macvlan"}, "could not find a network driver"),
        ({"options": {"mtu": "many"}}, "invalid value for mtu"),
        ({"options": {"com.docker.network.bridge.enable_icc": "perhaps"}}, "invalid value"),
        ({"options": {"speed": "fast"}}, "no option 'speed'"),
    ],
)
def test_what_can_not_be_a_network_leaves_nothing(
    networks: Networks, given: Mapping[str, object], message: str
) -> None:
    create(networks, Definition("other", subnets=["10.7.3.0/24"]))
    with pytest.raises(RootlessError) as caught:
        create(networks, Definition("bad", **given))  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert networks.names() == ["other"]


@pytest.mark.parametrize("name", [*PREDEFINED, *filter(None, MODES)])
def test_names_that_mean_something_else(networks: Networks, name: str) -> None:
    with pytest.raises(ConflictError):
        create(networks, Definition(name))


@pytest.mark.parametrize("name", ["a b", "-a", "", "container:x", "pasta:--mtu=1500", ".x", "a/b", "a" * 129, "é"])
def test_what_is_no_name(networks: Networks, name: str) -> None:
    with pytest.raises(InvalidError, match="invalid network name"):
        create(networks, Definition(name))


def test_a_name_is_given_once(networks: Networks) -> None:
    create(networks, Definition("blue"))
    with pytest.raises(ConflictError, match="network with name blue already exists"):
        create(networks, Definition("blue"))


def test_where_this_machine_is_no_network_can_be(networks: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    here = next(network for network in definition.machine_networks() if network.version == 4)
    with pytest.raises((ConflictError, InvalidError)):
        create(networks, Definition("blue", subnets=[str(here.supernet(new_prefix=min(here.prefixlen, 30)))]))
    made = create(networks, Definition("green")).subnets[0].network
    assert not any(made.overlaps(other) for other in definition.machine_networks() if other.version == 4)


def test_a_network_with_a_living_lease_stays(networks: Networks) -> None:
    blue = create(networks, Definition("blue"))
    with networks.lock():
        networks.put_lease("blue", lease("a", "172.17.0.2"))
        with pytest.raises(ConflictError, match=r"network blue has active endpoints \(name:\"a{12}\" id:\"e{12}\"\)"):
            networks.remove(blue)
        networks.drop_lease("blue", "a" * 64)
        networks.remove(blue)
    assert os.listdir(networks.directory) == [".lock"]


def test_the_lease_of_a_dead_monitor_is_none(networks: Networks) -> None:
    create(networks, Definition("blue"))
    with networks.lock():
        for container, changes in {
            "a": {},
            "b": {"monitor_started": 1},  # the pid is another process's now
            "c": {"boot_id": "another"},
            "d": {"boot_id": "another", "machine_id": "another"},  # on a shared home: not ours to judge
        }.items():
            networks.put_lease("blue", lease(container, "172.17.0.2", **changes))
    assert [found.container[0] for found in networks.leases("blue")] == ["a", "d"]


def test_a_damaged_document_is_told_and_the_others_go_on(networks: Networks) -> None:
    create(networks, Definition("blue"))
    create(networks, Definition("green"))
    for text in "", "{}", '{"id":"x","name":"green","created":"","subnets":[{"subnet":"1","gateway":"2"}]}':
        (networks.directory / "green.json").write_text(text)
        with pytest.raises(StoreError, match=r"green\.json is damaged"):
            networks.resolve("green")
        assert [network.name for network in networks.all()] == ["blue"]


def test_a_network_is_removed_also_where_no_process_is_to_be_had(
    networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(switch, "tidy", full)
    create(networks, Definition("blue"))
    remove(networks, "blue")
    assert networks.names() == []
