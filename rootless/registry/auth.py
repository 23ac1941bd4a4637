"""What a registry wants to see before it answers: the challenge of a 401, and the answer to it. No network here.

RFC 9110, 11.6.1 (WWW-Authenticate), RFC 7617 (Basic); for Bearer the distribution project's "Token Authentication
Specification" and "OAuth2 Token Authentication".
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

import msgspec

from ..errors import InvalidError
from .credentials import Credentials
from .url import Url, parse, redirected

_PARAMETER = re.compile(r'\s*,?\s*([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_SCHEME = re.compile(r"\s*,?\s*([A-Za-z][A-Za-z0-9-]*)(?=\s|,|$)(?!\s*=)")
_DEFAULT_LIFE = 60
"""Seconds that a token lives when its giver does not say; the specification's own number."""

TOKEN_LIMIT = 1 << 20
"""Bytes of a token server's answer."""


@dataclass(frozen=True)
class Challenge:
    """One way in which a server wants us to prove who we are; the scheme is in lower case."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)


def challenges(headers: Iterable[str]) -> list[Challenge]:
    """What the WWW-Authenticate headers of an answer say; what can't be read is left out."""
    found: list[Challenge] = []
    for text in headers:
        at = 0
        while match := _SCHEME.match(text, at):
            at = match.end()
            challenge = Challenge(match[1].lower())
            while parameter := _PARAMETER.match(text, at):
                at = parameter.end()
                quoted = re.sub(r"\\(.)", r"\1", parameter[2]) if parameter[2] is not None else parameter[3]
                challenge.parameters[parameter[1].lower()] = quoted
            found.append(challenge)
    return found


@dataclass(frozen=True)
class TokenRequest:
    """How a token is to be asked for. With a `form` it is POSTed, else it is a GET; the credentials go along."""

    url: Url
    form: bytes | None
    basic: str


def token_request(
    challenge: Challenge, asked: Url, scopes: Iterable[str], credentials: Credentials | None
) -> TokenRequest:
    """The request for a token that answers a Bearer challenge.

    Args:
        asked: where the challenge came from.
        scopes: what is wanted, as `repository:NAME:pull`; what the challenge names comes on top.

    Raises:
        InvalidError: the challenge names no token server, or one that would be told secrets without encryption.
    """
    realm = challenge.parameters.get("realm", "")
    url = parse(realm) if "://" in realm else redirected(asked, realm)
    if asked.scheme == "https" and url.scheme == "http":
        raise InvalidError(f"{asked} sends us to {url} for a token: secrets are not sent without encryption")
    wanted = dict.fromkeys(scope for scope in (*scopes, challenge.parameters.get("scope", "")) if scope)
    service = challenge.parameters.get("service", "")
    if credentials is not None and credentials.identity_token:
        form = {
            "grant_type": "refresh_token",
            "service": service,
            "client_id": "rootless",
            "scope": " ".join(wanted),
            "refresh_token": credentials.identity_token,
        }
        return TokenRequest(url, urlencode(form).encode(), "")
    query = [("service", service)] if service else []
    query += [("scope", scope) for scope in wanted]
    if credentials is not None:
        query.append(("account", credentials.username))
    joined = urlencode(query, quote_via=quote)
    target = url.target + (("&" if "?" in url.target else "?") + joined if joined else "")
    there = Url(url.scheme, url.host, url.port, target)
    return TokenRequest(there, None, credentials.basic if credentials is not None else "")


class _TokenAnswer(msgspec.Struct):
    token: str | None = None
    access_token: str | None = None
    expires_in: float | None = None


@dataclass(frozen=True)
class Token:
    """A token, and until when (time.monotonic) it is good."""

    value: str = field(repr=False)
    until: float

    @property
    def fresh(self) -> bool:
        return time.monotonic() < self.until


def read_token(data: bytes, url: Url) -> Token:
    """What a token server answered.

    Raises:
        InvalidError: there is no token in it, or one that can't stand in a header.
    """
    try:
        answer = msgspec.json.decode(data, type=_TokenAnswer)
    except (msgspec.MsgspecError, RecursionError) as problem:
        raise InvalidError(f"{url}: the token server's answer is not valid: {problem}") from None
    value = answer.token or answer.access_token or ""
    if not re.fullmatch(r"[\x21-\x7e]+", value):
        raise InvalidError(f"{url}: the token server gives no token")
    life = answer.expires_in or _DEFAULT_LIFE
    # A little is kept back: the token has to live until it arrives.
    return Token(value, time.monotonic() + max(life * 0.9, 10))
