"""References follow Docker's grammar: what is accepted, what it stands for, and the words of the refusals."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rootless.errors import InvalidError
from rootless.image.reference import Reference, digest_in, id_prefix, parse

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("alpine", "docker.io/library/alpine", "alpine"),
        ("alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20"),
        ("library/alpine", "docker.io/library/alpine", "alpine"),
        ("docker.io/alpine", "docker.io/library/alpine", "alpine"),
        ("docker.io/library/alpine:latest", "docker.io/library/alpine:latest", "alpine:latest"),
        ("index.docker.io/library/alpine", "docker.io/library/alpine", "alpine"),
        ("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b"),
        ("someone/tool", "docker.io/someone/tool", "someone/tool"),
        ("a/b/c/d:v1", "docker.io/a/b/c/d:v1", "a/b/c/d:v1"),
        ("quay.io/someone/tool", "quay.io/someone/tool", "quay.io/someone/tool"),
        ("localhost/x", "localhost/x", "localhost/x"),
        ("localhost:5000/x:y", "localhost:5000/x:y", "localhost:5000/x:y"),
        ("host:5000/x", "host:5000/x", "host:5000/x"),
        ("HOST/x", "HOST/x", "HOST/x"),
        ("127.0.0.1:5000/x/y@" + DIGEST, "127.0.0.1:5000/x/y@" + DIGEST, "127.0.0.1:5000/x/y@" + DIGEST),
        ("[2001:db8::1]:5000/x", "[2001:db8::1]:5000/x", "[2001:db8::1]:5000/x"),
        ("alpine:3@" + DIGEST, "docker.io/library/alpine:3@" + DIGEST, "alpine:3@" + DIGEST),
        ("a_b__c.d---e:T-a.g_1", "docker.io/library/a_b__c.d---e:T-a.g_1", "a_b__c.d---e:T-a.g_1"),
        ("x:" + "t" * 128, "docker.io/library/x:" + "t" * 128, "x:" + "t" * 128),
        ("docker.io:443/x", "docker.io:443/x", "docker.io:443/x"),
        (HEX[:63], "docker.io/library/" + HEX[:63], HEX[:63]),
    ],
)
def test_accepted_and_spelled_both_ways(text: str, full: str, familiar: str) -> None:
    reference = parse(text)
    assert (reference.full, reference.familiar, str(reference)) == (full, familiar, familiar)
    assert parse(full) == reference == parse(familiar)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Foo", "invalid reference format: repository name (library/Foo) must be lowercase"),
        ("someone/Foo:v1", "invalid reference format: repository name (someone/Foo) must be lowercase"),
        ("quay.io/A/b", "invalid reference format: repository name (A/b) must be lowercase"),
        (HEX, f"invalid repository name ({HEX}), cannot specify 64-byte hexadecimal strings"),
        ("a" * 256, "invalid reference format: repository name must not be more than 255 characters"),
        ("x@sha256:" + "A" * 64, f"invalid reference format: 'sha256:{'A' * 64}' is not a"),
        ("x@md5:" + "0" * 32, "invalid reference format: 'md5:"),
        ("x@sha512:" + HEX, "invalid reference format: 'sha512:"),
    ],
)
def test_refused_in_dockers_words(text: str, words: str) -> None:
    with pytest.raises(InvalidError) as caught:
        parse(text)
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "/",
        "a/",
        "/a",
        "a//b",
        "a:",
        ":a",
        "a:b:c",
        "a:b/c:d",
        "x@",
        "x@sha256:12",
        "a..b",
        "a___b",
        "-a",
        "a-",
        "a.",
        "_a",
    ]
    + ["x:" + "t" * 129, "x:.a", "x:-a", "ä", "x:ä", "a b", "x\n", "x:y\n", "x:y\x00", "../x", "[::1", "a.b.-/x", "x:١"]
    + ["http://host/x", "x@" + DIGEST + ":y", "h:99a/x", "--rm"],
)
def test_refused_as_no_reference(text: str) -> None:
    with pytest.raises(InvalidError, match="^invalid reference format"):
        parse(text)


def test_a_host_alone_is_a_name_with_a_tag() -> None:
    assert parse("localhost:5000") == Reference("docker.io", "library/localhost", "5000")


def test_latest_is_added_only_where_nothing_was_said() -> None:
    assert parse("alpine").tagged().full == "docker.io/library/alpine:latest"
    assert parse("alpine:3").tagged().tag == "3"
    assert parse("alpine@" + DIGEST).tagged().tag == ""


@pytest.mark.parametrize(
    ("text", "digest", "prefix"),
    [
        (HEX, DIGEST, HEX),
        (DIGEST, DIGEST, HEX),
        ("sha256:12ab", "", "12ab"),
        ("12ab", "", "12ab"),
        ("alpine", "", ""),
        ("", "", ""),
    ]
    + [("sha512:" + HEX * 2, "sha512:" + HEX * 2, ""), ("12AB", "", ""), ("sha256:", "", "")],
)
def test_ids_and_their_beginnings(text: str, digest: str, prefix: str) -> None:
    assert (digest_in(text), id_prefix(text)) == (digest, prefix)


@settings(database=None, deadline=None)
@given(st.text(max_size=40) | st.from_regex(r"[a-zA-Z0-9.:/@_-]{0,60}", fullmatch=True))
def test_any_text_is_refused_or_survives_both_spellings(text: str) -> None:
    """A reference that is written to the store and read again must be the same one, whatever was typed."""
    try:
        reference = parse(text)
    except InvalidError:
        return
    assert parse(reference.full) == reference
    assert parse(reference.familiar) == reference
