"""URLs that may be fetched, where a redirect may lead, and which proxy is asked."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rootless.errors import InvalidError
from rootless.registry.url import parse, proxy_for, redirected


@pytest.mark.parametrize(
    ("text", "shown", "target", "port"),
    [
        ("http://host", "http://host/", "/", 80),
        ("https://Host.Example/a%20b?c=d&e#f", "https://host.example/a%20b?c=d&e", "/a%20b?c=d&e", 443),
        ("http://host:8080/a b", "", "", 0),
        ("http://host/ä?ö", "http://host/%C3%A4?%C3%B6", "/%C3%A4?%C3%B6", 80),
        ("https://[2001:db8::1]:8443/x", "https://[2001:db8::1]:8443/x", "/x", 8443),
        ("https://[::1]/x", "https://[::1]/x", "/x", 443),
        ("https://bücher.example/", "https://xn--bcher-kva.example/", "/", 443),
        ("https://u:p%40ss@host/", "https://host/", "/", 443),
    ],
)
def test_urls(text: str, shown: str, target: str, port: int) -> None:
    if not shown:
        with pytest.raises(InvalidError):
            parse(text)
        return
    url = parse(text)
    assert (str(url), url.target, url.port) == (shown, target, port)


def test_credentials_are_decoded_and_never_shown() -> None:
    url = parse("https://user:p%40ss@host/x")
    assert url.authorization == "Basic dXNlcjpwQHNz"
    assert "p@ss" not in str(url)
    for text in ("https://user:secret@ho st/x", "https://user:secret@host:x/"):
        with pytest.raises(InvalidError) as caught:
            parse(text)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "host/x", "ftp://host/x", "file:///etc/passwd", "http://", "http:///x", "http://h:99999/"]
)
def test_what_is_not_fetched(text: str) -> None:
    with pytest.raises(InvalidError):
        parse(text)


@pytest.mark.parametrize("text", ["http://h/\r\nX: y", "http://h/\x00", "http://h/a\tb", "http://h\n/"])
def test_nothing_can_be_smuggled_into_the_request(text: str) -> None:
    with pytest.raises(InvalidError):
        parse(text)


@pytest.mark.parametrize(
    ("location", "where", "keeps_credentials"),
    [
        ("/other", "https://host/other", True),
        ("other", "https://host/dir/other", True),
        ("?q", "https://host/dir/file?q", True),
        ("https://host:443/x", "https://host/x", True),
        ("https://host:444/x", "https://host:444/x", False),
        ("https://elsewhere/x", "https://elsewhere/x", False),
        ("//elsewhere/x", "https://elsewhere/x", False),
    ],
)
def test_credentials_stay_within_the_origin(location: str, where: str, keeps_credentials: bool) -> None:
    there = redirected(parse("https://user:secret@host/dir/file"), location)
    assert str(there) == where
    assert bool(there.authorization) is keeps_credentials


def test_encryption_is_not_given_up() -> None:
    with pytest.raises(InvalidError, match="an encrypted connection is not given up for a plain one"):
        redirected(parse("https://host/x"), "http://host/x")
    assert redirected(parse("http://host/x"), "https://host/x").scheme == "https"


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "http://host/", None),
        ({"http_proxy": "http://p:3128"}, "http://host/", "http://p:3128/"),
        ({"HTTP_PROXY": "p:3128"}, "http://host/", "http://p:3128/"),
        ({"http_proxy": "http://a", "HTTP_PROXY": "http://b"}, "http://host/", "http://a/"),
        ({"HTTP_PROXY": "http://a", "REQUEST_METHOD": "GET"}, "http://host/", None),
        ({"http_proxy": "http://p"}, "https://host/", None),
        ({"HTTPS_PROXY": "https://p"}, "https://host/", "https://p/"),
        ({"ALL_PROXY": "http://p"}, "https://host/", "http://p/"),
        ({"http_proxy": "http://p"}, "http://localhost/", None),
        ({"http_proxy": "http://p"}, "http://127.0.0.9/", None),
        ({"http_proxy": "http://p"}, "http://[::1]/", None),
    ],
)
def test_the_proxy_that_the_environment_names(environment: dict[str, str], url: str, proxy: str | None) -> None:
    found = proxy_for(parse(url), environment)
    assert (None if found is None else str(found)) == proxy


@pytest.mark.parametrize(
    ("exceptions", "url", "bypassed"),
    [
        ("*", "http://host/", True),
        ("host", "http://host/", True),
        ("HOST", "http://host/", True),
        ("example.com", "http://a.example.com/", True),
        ("example.com", "http://notexample.com/", False),
        (".example.com", "http://example.com/", False),
        (".example.com", "http://a.example.com/", True),
        ("*.example.com", "http://a.example.com/", True),
        ("*.example.com", "http://example.com/", False),
        ("a, b ,host", "http://host/", True),
        ("host:81", "http://host/", False),
        ("host:81", "http://host:81/", True),
        ("10.0.0.0/8", "http://10.1.2.3/", True),
        ("10.0.0.0/8", "http://11.1.2.3/", False),
        ("10.1.2.3", "http://10.1.2.3/", True),
        ("10.1.2.3:81", "http://10.1.2.3:81/", True),
        ("2001:db8::/32", "http://[2001:db8::5]/", True),
        ("2001:db8::5", "http://[2001:db8::5]/", True),
        ("[2001:db8::5]:81", "http://[2001:db8::5]:81/", True),
        ("[2001:db8::5]:81", "http://[2001:db8::5]/", False),
        ("10.0.0.0/99", "http://10.1.2.3/", False),
        ("", "http://host/", False),
        (",", "http://host/", False),
    ],
)
def test_whom_no_proxy_means(exceptions: str, url: str, bypassed: bool) -> None:
    environment = {"http_proxy": "http://p", "no_proxy": exceptions}
    assert (proxy_for(parse(url), environment) is None) is bypassed


def test_a_proxy_that_speaks_something_else_is_refused() -> None:
    with pytest.raises(InvalidError, match="socks5://p"):
        proxy_for(parse("http://host/"), {"ALL_PROXY": "socks5://p"})


@settings(database=None, deadline=None)
@given(st.text(max_size=30) | st.text(alphabet=":/?#[]@.ah0%", max_size=30))
def test_any_text_is_refused_or_makes_a_request_of_printable_characters(text: str) -> None:
    try:
        url = parse(f"http://{text}")
    except InvalidError:
        return
    assert all(0x21 <= ord(c) < 0x7F for c in url.target + url.authority)
    assert parse(str(url)).target == url.target
