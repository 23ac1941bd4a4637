"""The filters of `ps`: what is said and what then is shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rootless.container import query
from rootless.container.health import Health
from rootless.container.network import Connected, Port
from rootless.container.record import Record, Spec, State
from rootless.container.state import Status
from rootless.container.store import Containers
from rootless.errors import InvalidError, NotFoundError
from rootless.image.store import ImageStore
from rootless.paths import Paths


@pytest.fixture
def containers(tmp_path: Path) -> Containers:
    paths = Paths(tmp_path / "store", tmp_path / "run")
    for directory in (paths.containers, paths.names, paths.tmp):
        directory.mkdir(parents=True)
    found = Containers(paths)
    make(found, 1, "web", State(status=Status.RUNNING, started_at="x"), labels={"tier": "front", "a.b": ""})
    make(found, 2, "web-db", State(status=Status.EXITED, started_at="x", exit_code=3), labels={"tier": "back"})
    make(found, 3, "cache", State(status=Status.EXITED, started_at="x"), network="blue")
    make(found, 4, "idle", State())
    make(found, 5, "stuck", State(status=Status.PAUSED, started_at="x", health=Health(status="unhealthy")))
    return found


def make(
    containers: Containers,
    number: int,
    name: str,
    state: State,
    labels: dict[str, str] | None = None,
    network: str = "none",
) -> None:
    container_id = f"{number:x}" * 12 + "0" * 52
    draft = containers.paths.tmp / container_id
    draft.mkdir()
    image_id = "sha256:" + f"{number:x}" * 64
    spec = Spec(image=f"image{number}", image_id=image_id, argv=("sh",), labels=labels or {}, network=network)
    record = Record(
        id=container_id,
        name=name,
        created=f"2026-01-02T03:04:05.{number:09}Z",
        spec=spec,
        driver="overlay",
        layers=(),
        idmap="01234567",
    )
    containers.publish(record, draft, state)[1].release()


def no_images() -> ImageStore:
    pytest.fail("the images were opened although no filter asks for one")


def shown(containers: Containers, *filters: str, everything: bool = True) -> list[str]:
    """The names that `ps [-a] --filter ...` lists, the oldest first."""
    wanted: dict[str, list[str]] = {}
    for text in filters:
        name, _, value = text.partition("=")
        wanted.setdefault(name, []).append(value)
    fits = query.parse(wanted, containers, no_images, everything=everything)
    # The stored state, because the real one would be repaired: no monitor lives behind these.
    return [c.name for c in reversed(containers.all()) if fits(c, c.stored_state())]


def test_only_the_living_without_all(containers: Containers) -> None:
    assert shown(containers, everything=False) == ["web", "stuck"]
    assert shown(containers) == ["web", "web-db", "cache", "idle", "stuck"]


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (["name=web"], ["web", "web-db"]),
        (["name=^web$"], ["web"]),
        (["name=^/web$"], ["web"]),
        (["name=^web$", "name=dl"], ["web", "idle"]),
        (["id=1"], ["web"]),
        (["id=" + "2" * 12, "id=3"], ["web-db", "cache"]),
        (["id=22220"], []),
        (["label=tier"], ["web", "web-db"]),
        (["label=tier=back"], ["web-db"]),
        (["label=tier", "label=a.b"], ["web"]),
        (["label=a.b="], ["web"]),
        (["label=tie"], []),
        (["status=exited"], ["web-db", "cache"]),
        (["status=created", "status=paused"], ["idle", "stuck"]),
        (["exited=0"], ["cache"]),
        (["exited=0", "exited=3"], ["web-db", "cache"]),
        (["before=cache"], ["web", "web-db"]),
        (["since=cache"], ["idle", "stuck"]),
        (["since=web", "before=idle"], ["web-db", "cache"]),
        (["since=" + "3" * 12], ["idle", "stuck"]),
        (["network=blue"], ["cache"]),
        (["health=unhealthy"], ["stuck"]),
        (["health=none", "name=c"], ["cache"]),
        (["name=web", "status=exited"], ["web-db"]),
    ],
)
def test_filters(containers: Containers, filters: list[str], names: list[str]) -> None:
    assert shown(containers, *filters) == names


def test_who_names_a_status_sees_those_that_do_not_run(containers: Containers) -> None:
    """As in Docker; an exit code, however, does not bring the dead ones out."""
    assert shown(containers, "status=created", everything=False) == ["idle"]
    assert shown(containers, "exited=0", everything=False) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("status=gone", "invalid filter 'status=gone': invalid value for state (gone): must be one of created, run"),
        ("health=ill", "invalid value for health (ill): must be one of none, starting, healthy, unhealthy"),
        ("exited=none", "invalid filter 'exited=none'"),
        ("name=(", "invalid filter 'name=('"),
    ],
)  # fmt: skip
def test_values_that_mean_nothing(containers: Containers, text: str, message: str) -> None:
    with pytest.raises(InvalidError) as problem:
        shown(containers, text)
    assert message in str(problem.value)


def test_the_container_to_compare_with_must_be_there(containers: Containers) -> None:
    with pytest.raises(NotFoundError, match="No such container: nobody"):
        shown(containers, "before=nobody")


def test_ages_differ_by_nanoseconds(containers: Containers) -> None:
    assert len(os.listdir(containers.paths.containers)) == 6  # five, and the names' lock
    assert shown(containers, "before=web") == []


def test_ports_of_the_host_and_of_the_container() -> None:
    """As in Docker, only what is published counts, and that only while the container runs."""
    ports = Connected(ports=(Port(container=80, host=8080), Port(container=53, protocol="udp", host=5353)))
    for filters, expected in [
        ({"publish": ["8080"]}, True),
        ({"publish": ["8000-8100/tcp"]}, True),
        ({"publish": ["8080/udp"]}, False),
        ({"publish": ["80"]}, False),
        ({"expose": ["80"]}, True),
        ({"expose": ["53/udp"]}, True),
        ({"expose": ["81"], "publish": ["5353/udp"]}, True),
        ({}, True),
    ]:
        fits = query.parse(filters, None, no_images, everything=True)  # type: ignore[arg-type]
        assert fits._fits_state(State(status=Status.RUNNING, network=ports)) is expected, filters
        assert fits._fits_state(State(status=Status.EXITED, network=ports)) is (not filters)
    for text in ("http", "0", "90-80", "80/icmp", "70000"):
        with pytest.raises(InvalidError, match="invalid port"):
            query.parse({"publish": [text]}, None, no_images, everything=True)  # type: ignore[arg-type]
