"""The state machine: every cell of its table, the legal ones and the illegal ones."""

from __future__ import annotations

import itertools

import pytest

from rootless.container.state import ALIVE, TABLE, Event, IllegalTransitionError, Status, step

LEGAL = {
    ("created", "START", "running"),
    ("created", "START_FAILED", "created"),
    ("created", "REMOVE", "removing"),
    ("running", "EXIT", "exited"),
    ("running", "EXIT_TO_RESTART", "restarting"),
    ("running", "PAUSE", "paused"),
    ("running", "LOST", "exited"),
    ("paused", "UNPAUSE", "running"),
    ("paused", "EXIT", "exited"),
    ("paused", "EXIT_TO_RESTART", "restarting"),
    ("paused", "LOST", "exited"),
    ("restarting", "START", "running"),
    ("restarting", "START_FAILED", "exited"),
    ("restarting", "EXIT", "exited"),
    ("restarting", "LOST", "exited"),
    ("removing", "REMOVE", "removing"),
    ("removing", "REMOVE_FAILED", "dead"),
    ("exited", "START", "running"),
    ("exited", "START_FAILED", "exited"),
    ("exited", "REMOVE", "removing"),
    ("dead", "REMOVE", "removing"),
}
"""Written down a second time, in another form: a slip in the table must not go by unseen."""


@pytest.mark.parametrize(("status", "event"), list(itertools.product(Status, Event)))
def test_every_cell(status: Status, event: Event) -> None:
    after = {s for (before, name, s) in LEGAL if before == status and name == event.name}
    if after:
        assert step(status, event) == after.pop()
    else:
        with pytest.raises(IllegalTransitionError, match=f"a container that is {status}"):
            step(status, event)


def test_every_living_state_can_be_lost() -> None:
    """A monitor can be killed in each of them, and then the container must have a way to its end."""
    assert {s for s in Status if Event.LOST in TABLE[s]} == ALIVE


def test_every_state_but_removing_ends_somewhere() -> None:
    """From each state removal can be reached, or a container could never be got rid of."""
    for status in Status:
        reached, todo = set(), [status]
        while todo:
            current = todo.pop()
            if current not in reached:
                reached.add(current)
                todo += TABLE[current].values()
        assert Status.REMOVING in reached
