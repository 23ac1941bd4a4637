"""Which containers a listing shows: the filters of `ps`, as Docker's users write them.

Where a filter is given several times, one of its values has to fit; of labels, every one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from ..errors import InvalidError, NotFoundError
from .container import Container
from .network import Connected
from .record import Spec, State
from .state import ALIVE, Status
from .store import Containers

if TYPE_CHECKING:
    from ..image.store import ImageStore

M = TypeVar("M", bound=StrEnum)

FILTERS = ("ancestor", "before", "exited", "expose", "health", "id", "label", "name", "network", "publish", "since",
           "status", "volume")  # fmt: skip


class Health(StrEnum):
    """The values of the filter `health`."""

    NONE = "none"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True)
class Query:
    """Conditions on a container; empty or None where nothing was said.

    Attributes:
        everything: containers that don't run are shown, too.
        names: searched for in the name, with and without a leading slash.
        ids: beginnings of ids.
        labels: `name` or `name=value`, all of which it must have.
        exit_codes: of its last run, when that is over.
        before, since: (creation time, id) of containers that it must be older or younger than.
        volumes: names of volumes, or paths inside or outside at which one of its mounts is.
        published, exposed: `PORT/PROTOCOL`: of the host's, of the container's; one of either has to be there.
        images: ids.
    """

    everything: bool = False
    names: tuple[re.Pattern[str], ...] = ()
    ids: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    statuses: tuple[Status, ...] = ()
    exit_codes: tuple[int, ...] = ()
    health: tuple[Health, ...] = ()
    networks: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    before: tuple[tuple[str, str], ...] = ()
    since: tuple[tuple[str, str], ...] = ()
    published: frozenset[str] = frozenset()
    exposed: frozenset[str] = frozenset()
    images: frozenset[str] | None = None

    def __call__(self, container: Container, state: State) -> bool:
        """Whether a container is shown."""
        return self._fits_state(state) and self._fits_record(container)

    def _fits_state(self, state: State) -> bool:
        alive = state.status in ALIVE
        if not (alive or self.everything):
            return False
        if self.statuses and state.status not in self.statuses:
            return False
        if self.exit_codes and (alive or not state.started_at or state.exit_code not in self.exit_codes):
            return False
        if (self.published or self.exposed) and not (alive and self._fits_ports(state.network)):
            return False
        return not self.health or (state.health_status or Health.NONE) in self.health

    def _fits_ports(self, connected: Connected | None) -> bool:
        ports = connected.ports if connected is not None else ()
        return any(
            f"{port.host}/{port.protocol}" in self.published or f"{port.container}/{port.protocol}" in self.exposed
            for port in ports
        )

    def _fits_record(self, container: Container) -> bool:
        spec, age = container.spec, (container.record.created, container.id)
        return (
            (not self.ids or container.id.startswith(self.ids))
            and (not self.names or any(n.search(f"/{container.name}") or n.search(container.name) for n in self.names))
            and all(has_label(spec.labels, label) for label in self.labels)
            and (not self.volumes or any(m.source in self.volumes or m.target in self.volumes for m in spec.mounts))
            and (not self.networks or any(name in self.networks for name in joined(spec)))
            and all(age < other for other in self.before)
            and all(age > other for other in self.since)
            and (self.images is None or spec.image_id in self.images)
        )


def joined(spec: Spec) -> tuple[str, ...]:
    """The networks that a container is on, by the names that `ps` shows: those of its own, else its mode."""
    return tuple(wish.name for wish in spec.net.networks) or (spec.network,)


def has_label(labels: Mapping[str, str], wanted: str) -> bool:
    """Whether there is a label `name`, or one with the value of `name=value`."""
    name, equals, value = wanted.partition("=")
    return name in labels and (not equals or labels[name] == value)


def parse(
    filters: Mapping[str, Sequence[str]], containers: Containers, images: Callable[[], ImageStore], *, everything: bool
) -> Query:
    """The query that `filters` (name to values, the names being in FILTERS) describe.

    Args:
        images: opens the images; only called where one is asked for.

    Raises:
        InvalidError: a value that can't be one; in Docker's words.
        NotFoundError, ConflictError: a container to compare with that isn't there, or could be several.
    """
    query = Query(
        everything=everything or "status" in filters,  # who asks for the dead ones wants to see them
        names=tuple(_pattern(value) for value in filters.get("name", ())),
        ids=tuple(filters.get("id", ())),
        labels=tuple(filters.get("label", ())),
        statuses=tuple(_member(Status, "status", "state", value) for value in filters.get("status", ())),
        exit_codes=tuple(_exit_code(value) for value in filters.get("exited", ())),
        health=tuple(_member(Health, "health", "health", value) for value in filters.get("health", ())),
        networks=tuple(filters.get("network", ())),
        volumes=tuple(filters.get("volume", ())),
        before=tuple(_age(containers, value) for value in filters.get("before", ())),
        since=tuple(_age(containers, value) for value in filters.get("since", ())),
        published=_ports("publish", filters.get("publish", ())),
        exposed=_ports("expose", filters.get("expose", ())),
    )
    if "ancestor" in filters:
        query = replace(query, images=descendants(images(), filters["ancestor"]))
    return query


def _pattern(value: str) -> re.Pattern[str]:
    try:
        return re.compile(value)
    except re.error as problem:
        raise InvalidError(f"invalid filter 'name={value}': {problem}") from problem


def _member(kind: type[M], name: str, what: str, value: str) -> M:
    try:
        return kind(value)
    except ValueError:
        choice = ", ".join(kind)
        message = f"invalid filter '{name}={value}': invalid value for {what} ({value}): must be one of {choice}"
        raise InvalidError(message) from None


def _exit_code(value: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", value, re.ASCII):
        raise InvalidError(f"invalid filter 'exited={value}': not a number")
    return int(value)


def _ports(name: str, values: Sequence[str]) -> frozenset[str]:
    """`PORT[-PORT][/PROTOCOL]`, each port by itself."""
    found: set[str] = set()
    for value in values:
        match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", value, re.ASCII)
        if match is None or not 0 < int(match[1]) <= int(match[2] or match[1]) <= 65535:
            raise InvalidError(f"invalid filter '{name}={value}': invalid port: {value}")
        found.update(f"{port}/{match[3] or 'tcp'}" for port in range(int(match[1]), int(match[2] or match[1]) + 1))
    return frozenset(found)


def _age(containers: Containers, value: str) -> tuple[str, str]:
    record = containers.resolve(value).record
    return record.created, record.id


def descendants(store: ImageStore, names: Sequence[str]) -> frozenset[str]:
    """The ids of these images and of all that are built upon one of them. A name that means no image has none."""
    everything = store.all()
    found = set()
    for name in names:
        try:
            ancestor = store.resolve(name)
        except (NotFoundError, InvalidError):
            continue
        found.add(ancestor.id)
        if depth := len(ancestor.diff_ids):
            found.update(image.id for image in everything if image.diff_ids[:depth] == ancestor.diff_ids)
    return frozenset(found)
