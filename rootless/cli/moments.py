"""Moments as `--since` and `--until` take them, with Docker's rules."""

from __future__ import annotations

import re
import time
from datetime import UTC, date, datetime, timedelta, timezone
from datetime import time as clock

from ..errors import InvalidError

NANOSECONDS = 10**9

_DATE = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:T(?P<hour>[0-9]{1,2})(?::(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,9}))?)?)?)?"
    r"(?P<zone>Z|z|[+-][0-9]{2}:[0-9]{2})?",
    re.ASCII,
)
_UNIX = re.compile(r"(?P<seconds>-?[0-9]{1,11})(?:\.(?P<fraction>[0-9]+))?", re.ASCII)


def moment(text: str, flag: str) -> int:
    """Nanoseconds since 1970 of a duration before now (`10m`, `1h30m`), an RFC 3339 date as far as it was written, in
    local time unless it names its zone, or a number of seconds since 1970.

    Raises:
        InvalidError: none of these, naming the flag; in Docker's words, whose client reads it only when it asks.
    """
    if match := _UNIX.fullmatch(text):
        sign = -1 if text.startswith("-") else 1
        return int(match["seconds"]) * NANOSECONDS + sign * _fraction(match["fraction"])
    if match := _DATE.fullmatch(text):
        try:
            return _date(match)
        except (ValueError, OverflowError) as problem:
            raise _invalid(flag, str(problem)) from None
    from ..image.healthcheck import duration

    try:
        return time.time_ns() - duration(text)
    except InvalidError:
        raise _invalid(flag, f'failed to parse value as time or duration: "{text}"') from None


def _invalid(flag: str, reason: str) -> InvalidError:
    return InvalidError(f'invalid value for "{flag.removeprefix("--")}": {reason}')


def _date(match: re.Match[str]) -> int:
    hour, minute, second = (int(match[name] or 0) for name in ("hour", "minute", "second"))
    there = datetime.combine(date.fromisoformat(match["date"]), clock(hour, minute, second))
    there = there.replace(tzinfo=_zone(match["zone"])) if match["zone"] else there.astimezone()
    since = there - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86400 + since.seconds) * NANOSECONDS + _fraction(match["fraction"])


def _zone(text: str) -> timezone:
    if text in "Zz":
        return UTC
    sign = -1 if text.startswith("-") else 1
    return timezone(sign * timedelta(hours=int(text[1:3]), minutes=int(text[4:6])))


def _fraction(digits: str | None) -> int:
    """Nanoseconds of the digits after a point."""
    return int((digits or "0")[:9].ljust(9, "0"))
