"""What a registry says when it does not do what was asked (distribution-spec, "Error Codes")."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from ..errors import RootlessError
from .http import Response

TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Status codes of what may be better in a while."""

_ERROR_LIMIT = 1 << 16


class _Error(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Errors(msgspec.Struct):
    errors: list[_Error] = []


async def said(answer: Response) -> str:
    """What a failing answer tells, in the registry's own words where it has some."""
    try:
        data = await answer.read(_ERROR_LIMIT)
        found = msgspec.json.decode(data, type=_Errors).errors
    except (msgspec.MsgspecError, RootlessError, RecursionError):
        found = []
    words = [f"{e.code.lower().replace('_', ' ')}: {e.message}"[:300].strip(": ") for e in found if e.code or e.message]
    return "; ".join(words[:3]) or answer.reason


def retry_after(text: str) -> float | None:
    """Seconds, of a Retry-After header (RFC 9110, 10.2.3): a number, or a date."""
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
