"""`--since` and `--until`: every form that Docker takes."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from rootless.cli.moments import moment
from rootless.errors import InvalidError

SECOND = 10**9
NOON = 1_136_203_200 * SECOND
"""2006-01-02T12:00:00Z."""


@pytest.fixture(autouse=True)
def _east_of_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "TEST-02:00")  # POSIX turns the sign round: two hours ahead
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2006-01-02T12:00:00Z", NOON),
        ("2006-01-02T12:00:00z", NOON),
        ("2006-01-02T12:00:05.5Z", NOON + 5 * SECOND + SECOND // 2),
        ("2006-01-02T12:00:00.000000001Z", NOON + 1),
        ("2006-01-02T13:30:00+01:30", NOON),
        ("2006-01-02T11:00-01:00", NOON),
        ("2006-01-02T12Z", NOON),
        ("2006-01-02T07-05:00", NOON),
        ("2006-01-02Z", NOON - 12 * 3600 * SECOND),
        ("2006-01-02+01:00", NOON - 13 * 3600 * SECOND),
        ("2006-01-02T14:00:00", NOON),
        ("2006-01-02T14:00:00.25", NOON + SECOND // 4),
        ("2006-01-02T14:00", NOON),
        ("2006-01-02T14", NOON),
        ("2006-01-02", NOON - 14 * 3600 * SECOND),
        ("2006-01-02T9", NOON - 5 * 3600 * SECOND),
        ("1136203200", NOON),
        ("1136203200.000000001", NOON + 1),
        ("1136203200.5", NOON + SECOND // 2),
        ("1136203200.0000000019", NOON + 1),
        ("0", 0),
        ("-1.5", -SECOND - SECOND // 2),
    ],
)
def test_moments(text: str, expected: int) -> None:
    assert moment(text, "--since") == expected


@pytest.mark.parametrize(("text", "ago"), [("10m", 600), ("1h30m", 5400), ("1.5h", 5400), ("-10m", -600), ("0s", 0)])
def test_durations_count_back_from_now(text: str, ago: float) -> None:
    before = time.time_ns()
    found = moment(text, "--since")
    assert before - ago * SECOND <= found <= time.time_ns() - ago * SECOND


@pytest.mark.parametrize(
    "text",
    ["", "x", "tomorrow", "2006-01-02T12:0", "2006-01-02T12:00:0Z", "2006-01-02T", "2006-01-02TZ", "2006-13-02", "10 m",
     "2006-01-02T24:00:00", "2006-01-02T12:60", "2006-02-30Z", "1136203200.x", "99999999999999999999", "٣"],
)  # fmt: skip
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(InvalidError) as problem:
        moment(text, "--until")
    assert str(problem.value).startswith('invalid value for "until": ')


def test_the_ends_of_the_calendar() -> None:
    """An hour west of the year 1 is nowhere; no traceback comes of it."""
    for text in "0001-01-01", "9999-12-31T23:59:59-12:00":
        try:
            moment(text, "--since")
        except InvalidError:
            continue
