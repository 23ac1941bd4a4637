"""Challenges and tokens: what is read out of headers and answers that anybody may have made."""

from __future__ import annotations

import pytest

from rootless.errors import InvalidError
from rootless.registry import url
from rootless.registry.auth import Challenge, challenges, read_token, token_request
from rootless.registry.credentials import Credentials
from rootless.registry.failures import retry_after

HERE = url.parse("https://r.example/v2/")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Basic", [Challenge("basic")]),
        ('Basic realm="x"', [Challenge("basic", {"realm": "x"})]),
        (
            'Bearer realm="https://a.example/t",service="s, with comma",scope="repository:x:pull,push"',
            [
                Challenge(
                    "bearer",
                    {"realm": "https://a.example/t", "service": "s, with comma", "scope": "repository:x:pull,push"},
                )
            ],
        ),
        ('BEARER Realm = a , error="say \\"no\\""', [Challenge("bearer", {"realm": "a", "error": 'say "no"'})]),
        ('Negotiate, Basic realm="x"', [Challenge("negotiate"), Challenge("basic", {"realm": "x"})]),
        ("", []),
        ('="', []),
    ],
)
def test_challenges(text: str, expected: list[Challenge]) -> None:
    assert challenges([text]) == expected


def test_a_token_is_asked_for_with_the_credentials() -> None:
    challenge = Challenge(
        "bearer", {"realm": "https://a.example/t?x=1", "service": "s s", "scope": "repository:x:pull"}
    )
    request = token_request(challenge, HERE, ["repository:x:pull,push"], Credentials("me", "p"))
    assert str(request.url) == (
        "https://a.example/t?x=1&service=s%20s&scope=repository%3Ax%3Apull%2Cpush&scope=repository%3Ax%3Apull&account=me"
    )
    assert (request.form, request.basic) == (None, "Basic bWU6cA==")


def test_an_identity_token_is_posted_and_in_no_url() -> None:
    challenge = Challenge("bearer", {"realm": "https://a.example/t", "service": "s"})
    request = token_request(challenge, HERE, ["repository:x:pull"], Credentials("me", identity_token="t0k"))
    assert str(request.url) == "https://a.example/t"
    assert request.form is not None
    assert b"refresh_token=t0k" in request.form
    assert request.basic == ""


@pytest.mark.parametrize("realm", ["http://a.example/t", "file:///etc/passwd", "http://[", "ftp://x/"])
def test_a_realm_that_is_not_followed(realm: str) -> None:
    """No encryption where the registry had some; nothing that is no URL."""
    with pytest.raises(InvalidError):
        token_request(Challenge("bearer", {"realm": realm}), HERE, [], Credentials("me", "p"))


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"token": ""}', b'{"token": "a\\nb"}', b'{"token": 1}'])
def test_an_answer_without_a_token(data: bytes) -> None:
    with pytest.raises(InvalidError, match="token"):
        read_token(data, HERE)


def test_tokens_age() -> None:
    assert read_token(b'{"token": "t"}', HERE).fresh
    assert read_token(b'{"access_token": "t", "expires_in": 3600}', HERE).value == "t"
    assert "secret" not in repr(read_token(b'{"token": "secret"}', HERE))


@pytest.mark.parametrize(
    ("text", "seconds"), [("7", 7), ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("soon", None), ("", None), ("-1", None)]
)
def test_retry_after(text: str, seconds: float | None) -> None:
    assert retry_after(text) == seconds
