"""What an image may say of its containers and a container can't be: refused when it is made, in Docker's words."""

from __future__ import annotations

import pytest

from rootless.container.health import SECOND, Check, merge
from rootless.container.spec import Options, build
from rootless.errors import InvalidError
from rootless.image.spec import Healthcheck, RunConfig


class Image:
    """An image that says this of its containers."""

    id = "sha256:" + "0" * 64

    def __init__(self, run: RunConfig) -> None:
        self.run = run


def test_a_stop_signal_that_is_none() -> None:
    """Its container could be started, but neither stopped nor killed."""
    image = Image(RunConfig(cmd=["true"], stop_signal="BOGUS"))
    with pytest.raises(InvalidError, match="invalid signal: BOGUS"):
        build(Options(), image, "image", "0" * 64)
    assert build(Options(stop_signal="USR1"), image, "image", "0" * 64).stop_signal == "USR1"


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (Healthcheck(test=["CMD", "true"], interval=-SECOND), "Interval in Healthcheck cannot be less than 1ms"),
        (Healthcheck(test=["CMD", "true"], interval=1), "Interval in Healthcheck cannot be less than 1ms"),
        (Healthcheck(test=["CMD", "true"], timeout=-5), "Timeout in Healthcheck cannot be less than 1ms"),
        (Healthcheck(test=["CMD", "true"], start_period=-5), "StartPeriod in Healthcheck cannot be less than 1ms"),
        (Healthcheck(test=["CMD", "true"], start_interval=9), "StartInterval in Healthcheck cannot be less than 1ms"),
        (Healthcheck(test=["CMD", "true"], retries=-1), "Retries in Healthcheck cannot be negative"),
        (Healthcheck(test=["PING", "true"]), "Unknown healthcheck type 'PING'"),
    ],
)
def test_a_health_check_that_cannot_be_kept(found: Healthcheck, message: str) -> None:
    """Its monitor died of a negative time, and the container with it; of a nanosecond it never rested."""
    run = RunConfig(cmd=["true"], healthcheck=found)
    with pytest.raises(InvalidError, match=message):
        build(Options(), Image(run), "image", "0" * 64)
    assert merge(None, run, none=True, options=()) is None


def test_an_option_of_a_check_that_never_rests() -> None:
    given = Check(test=("CMD", "true"), interval=10)
    with pytest.raises(InvalidError, match="Interval in Healthcheck cannot be less than 1ms"):
        merge(given, RunConfig(), none=False, options=("test", "interval"))


def test_the_shortest_times_that_are_taken() -> None:
    found = Healthcheck(test=["CMD-SHELL", "true"], interval=10**6, timeout=10**6, start_period=10**6)
    check = merge(None, RunConfig(healthcheck=found), none=False, options=())
    assert check is not None
    assert (check.interval, check.timeout, check.start_period) == (10**6,) * 3
