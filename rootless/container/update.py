"""`update`: another restart policy, other limits; at once where the container runs, and for every start to come."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from ..errors import ConflictError
from ..idmap import IdMap
from ..kernel.process import machine_id
from ..runtime import cgroup, limits
from ..runtime.delegation import explain
from .container import Container
from .processes import pids
from .record import Resources, Spec, State
from .resources import changed
from .state import ALIVE, Status
from .store import Containers


def update(
    containers: Containers,
    container: Container,
    given: Mapping[str, int | str],
    restart: tuple[str, int] | None,
    idmap: IdMap,
) -> tuple[str, ...]:
    """Change what a container may use, and its restart policy.

    Args:
        given: the fields of `Resources` that change.
        restart: (policy, retries); None for the one it has.

    Returns: what does not hold for the container that runs now, each a line.

    Raises:
        InvalidError: limits that do not go together; in Docker's words, and nothing is changed.
        ConflictError: the container is --rm and shall be restarted, or runs on another machine.
        RootlessError: the kernel refuses a limit; then, too, nothing is changed.
    """
    state = container.state()
    if restart is not None and restart[0] != "no" and container.spec.auto_remove:
        raise ConflictError("Restart policy cannot be updated because AutoRemove is enabled for the container")
    if state.status in ALIVE and state.machine_id != machine_id():
        raise ConflictError(f"container {container.name} is running on {state.host}", hint="update it there")

    warnings: tuple[str, ...] = ()

    def change(spec: Spec) -> Spec:
        nonlocal warnings
        resources = changed(spec.resources, **given)
        if state.status in (Status.RUNNING, Status.PAUSED) and resources != spec.resources:
            warnings = _apply(state, resources, idmap)
        policy, retries = restart or (spec.restart, spec.restart_retries)
        return msgspec.structs.replace(spec, resources=resources, restart=policy, restart_retries=retries)

    containers.change_spec(container, change)
    container.emit("update")
    return warnings


def _apply(state: State, resources: Resources, idmap: IdMap) -> tuple[str, ...]:
    """Give limits to a container that runs. One between two runs has them from its next start."""
    directory = Path(state.cgroup) if state.cgroup else None
    if directory is not None:
        cgroup.extend(directory, limits.wanted(resources))
        present = [limit for limit in limits.all_limits(resources) if (directory / limit.file).exists()]
        limits.apply(directory, present)
    missing = limits.lacking(directory, resources)
    warnings = [f"{option} holds from the next start" for option in limits.stand_in(pids(state), resources, missing)]
    if what := limits.complaint(missing, idmap):
        warnings.append(f"{what}: {explain(limits.controllers_of(missing, resources))}")
    return tuple(warnings)
