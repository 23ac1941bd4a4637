"""The state machine of a container, as Docker's users know it, in one table.

    created ──start──▶ running ──exit──▶ exited ──start──▶ running
                        │    ▲
                  pause ▼    │ unpause          running ──exit, restart policy──▶ restarting ──start──▶ running
                        paused, which can end like a running one
    created, exited, dead ──remove──▶ removing ──▶ (gone), or dead when something could not be removed

Only a container's monitor writes the state of a running one. `LOST` is what everybody else may conclude when that
monitor is gone: killed, or the machine was started anew.
"""

from __future__ import annotations

from enum import StrEnum

from ..errors import ConflictError


class Status(StrEnum):
    """The states, by the words that `ps` and `inspect` print."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


class Event(StrEnum):
    """What happens to a container; each word completes "can't ... a container that is <status>"."""

    START = "start"
    START_FAILED = "fail to start"
    EXIT = "exit"
    EXIT_TO_RESTART = "restart"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    REMOVE = "remove"
    REMOVE_FAILED = "fail to remove"
    LOST = "lose"


S, E = Status, Event

TABLE: dict[Status, dict[Event, Status]] = {
    S.CREATED: {E.START: S.RUNNING, E.START_FAILED: S.CREATED, E.REMOVE: S.REMOVING},
    S.RUNNING: {E.EXIT: S.EXITED, E.EXIT_TO_RESTART: S.RESTARTING, E.PAUSE: S.PAUSED, E.LOST: S.EXITED},
    S.PAUSED: {E.UNPAUSE: S.RUNNING, E.EXIT: S.EXITED, E.EXIT_TO_RESTART: S.RESTARTING, E.LOST: S.EXITED},
    S.RESTARTING: {E.START: S.RUNNING, E.START_FAILED: S.EXITED, E.EXIT: S.EXITED, E.LOST: S.EXITED},
    S.REMOVING: {E.REMOVE: S.REMOVING, E.REMOVE_FAILED: S.DEAD},
    S.EXITED: {E.START: S.RUNNING, E.START_FAILED: S.EXITED, E.REMOVE: S.REMOVING},
    S.DEAD: {E.REMOVE: S.REMOVING},
}

ALIVE = frozenset({Status.RUNNING, Status.PAUSED, Status.RESTARTING})
"""The states in which a monitor exists."""


class IllegalTransitionError(ConflictError):
    """The event can't happen in this state; nothing was changed."""


def restarting(container_id: str) -> ConflictError:
    """Docker's refusal of what needs processes, while there are none."""
    return ConflictError(f"Container {container_id} is restarting, wait until the container is running")


def step(status: Status, event: Event) -> Status:
    """The state after `event`.

    Raises:
        IllegalTransitionError: the table has no such cell.
    """
    try:
        return TABLE[status][event]
    except KeyError:
        raise IllegalTransitionError(f"can't {event} a container that is {status}") from None
