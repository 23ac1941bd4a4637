"""When a container's health is checked, by a clock that only waits for what is due."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
import trio.testing

from rootless.container.health import SECOND, Check, Health, Result, after
from rootless.runtime import healthcheck

CHECK = Check(
    test=("CMD", "x"), interval=60 * SECOND, start_period=600 * SECOND, start_interval=SECOND, timeout=SECOND, retries=2
)


def moments(monkeypatch: pytest.MonkeyPatch, code: Callable[[int], int], until: float) -> list[float]:
    """The seconds after the start at which checks begin; the first ends with `code(0)`, the next with `code(1)` ..."""
    seen: list[float] = []
    health = Health()

    async def run(_check: Check, _probe: object) -> Result:
        seen.append(trio.current_time())
        return Result(start="", end="", exit_code=code(len(seen) - 1), output="")

    def note(result: Result, starting: bool) -> str:
        nonlocal health
        health = after(health, result, CHECK, starting=starting)
        return health.status

    async def check_for_a_while() -> None:
        began = trio.current_time()
        with trio.move_on_after(until):
            await healthcheck.keep_checking(CHECK, [], note, lambda: False)
        seen[:] = [round(moment - began, 3) for moment in seen]

    monkeypatch.setattr(healthcheck, "_run", run)
    trio.run(check_for_a_while, clock=trio.testing.MockClock(autojump_threshold=0))
    return seen


def test_the_start_interval_ends_with_the_first_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """--health-start-period 10m, start interval 1s: who is well is not asked every second."""
    assert moments(monkeypatch, lambda number: int(number < 2), 200) == [1, 2, 3, 63, 123, 183]


def test_the_start_interval_ends_with_the_start_period(monkeypatch: pytest.MonkeyPatch) -> None:
    assert moments(monkeypatch, lambda _: 1, 730) == [*range(1, 601), 660, 720]
