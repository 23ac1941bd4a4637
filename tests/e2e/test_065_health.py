"""Health checks: what runs when, and what `ps` and `inspect` say of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rootless.container.health import Check, Health, Result, after
from tests.conftest import Rootless
from tests.waiting import wait_for

IMAGE = "busybox:latest"


def health(rootless: Rootless, name: str) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(rootless.ok("inspect", name))[0]["State"]
    return state["Health"]  # type: ignore[no-any-return]


def test_a_container_gets_ill_and_well_again(rootless: Rootless) -> None:
    check = ("--health-cmd", "test -e /well || { echo not yet; exit 3; }", "--health-interval", "200ms")
    rootless.ok("run", "-d", "--name", "patient", *check, "--health-retries", "2", IMAGE, "sleep", "60")
    assert "(health: starting)" in rootless.ok("ps", "--format", "{{.Status}}")
    wait_for(lambda: health(rootless, "patient")["Status"] == "unhealthy", "illness")
    assert "(unhealthy)" in rootless.ok("ps", "--format", "{{.Status}}")
    last = health(rootless, "patient")["Log"][-1]
    assert (last["ExitCode"], last["Output"]) == (3, "not yet\n")
    rootless.ok("exec", "patient", "touch", "/well")
    wait_for(lambda: health(rootless, "patient")["Status"] == "healthy", "health")
    assert health(rootless, "patient")["FailingStreak"] == 0
    assert len(health(rootless, "patient")["Log"]) <= 5
    assert rootless.ok("ps", "-q", "--filter", "health=healthy") != ""
    rootless.ok("rm", "-f", "patient")


def test_a_check_that_takes_too_long_is_killed(rootless: Rootless) -> None:
    options = (
        "--health-cmd",
        "sleep 4219",
        "--health-interval",
        "200ms",
        "--health-timeout",
        "500ms",
        "--health-retries",
        "1",
    )
    rootless.ok("run", "-d", "--init", "--name", "slow", *options, IMAGE, "sleep", "60")
    wait_for(lambda: health(rootless, "slow")["Status"] == "unhealthy", "illness")
    last = health(rootless, "slow")["Log"][-1]
    assert (last["ExitCode"], last["Output"]) == (-1, "Health check exceeded timeout (0.5s)")
    wait_for(lambda: rootless.ok("exec", "slow", "ps", "-o", "args").count("sleep 4219") <= 1, "the end of old checks")
    rootless.ok("rm", "-f", "slow")


def test_the_images_check_and_how_to_be_without_it(rootless: Rootless, busybox_tar: Path) -> None:
    rootless.ok(
        "import", "-c", "HEALTHCHECK --interval=200ms CMD true", "-c", "CMD sleep 60", str(busybox_tar), "checked"
    )
    rootless.ok("run", "-d", "--name", "with", "checked")
    rootless.ok("run", "-d", "--name", "without", "--no-healthcheck", "checked")
    wait_for(lambda: health(rootless, "with")["Status"] == "healthy", "health")
    assert json.loads(rootless.ok("inspect", "with"))[0]["Config"]["Healthcheck"] == {
        "Test": ["CMD-SHELL", "true"],
        "Interval": 200_000_000,
        "Timeout": 30_000_000_000,
        "StartPeriod": 0,
        "StartInterval": 5_000_000_000,
        "Retries": 3,
    }
    assert "Health" not in json.loads(rootless.ok("inspect", "without"))[0]["State"]
    rootless.ok("rm", "-f", "with", "without")
    rootless.ok("rmi", "checked")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--health-interval", "soon"), 'time: invalid duration "soon"'),
        (("--health-retries", "-1"), "--health-retries cannot be negative"),
        (("--health-cmd", "x", "--no-healthcheck"), "--no-healthcheck conflicts with --health-* options"),
    ],
)
def test_bad_options(rootless: Rootless, options: tuple[str, ...], message: str) -> None:
    done = rootless("run", "--rm", *options, IMAGE, "true")
    assert done.returncode == 125
    assert message in done.stderr.decode()


def result(code: int) -> Result:
    return Result(start="", end="", exit_code=code, output="")


def test_failures_in_the_start_period_do_not_count() -> None:
    check = Check(test=("CMD", "x"), retries=2)
    health = Health()
    for _ in range(5):
        health = after(health, result(1), check, starting=True)
    assert (health.status, health.failing_streak) == ("starting", 0)
    health = after(health, result(1), check, starting=False)
    assert (health.status, health.failing_streak) == ("starting", 1)
    health = after(health, result(1), check, starting=False)
    assert (health.status, health.failing_streak) == ("unhealthy", 2)
    health = after(health, result(0), check, starting=False)
    assert (health.status, health.failing_streak) == ("healthy", 0)


def test_a_success_in_the_start_period_ends_it() -> None:
    check = Check(test=("CMD", "x"), retries=1)
    health = after(Health(), result(0), check, starting=True)
    assert after(health, result(1), check, starting=True).status == "unhealthy"
