"""Digests and chain ids (image-spec descriptor.md and config.md)."""

from __future__ import annotations

import hashlib

import pytest

from rootless.errors import InvalidError
from rootless.storage import digest

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_digest_of_bytes() -> None:
    """Against the published values of the empty message (FIPS 180-4)."""
    assert digest.of(b"") == EMPTY
    assert digest.of(b"", "sha512").startswith("sha512:cf83e1357eefb8bd") and len(digest.of(b"", "sha512")) == 7 + 128


def test_parse_gives_both_parts() -> None:
    assert digest.parse(EMPTY) == ("sha256", EMPTY[7:])
    assert digest.check(EMPTY) == EMPTY


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no algorithm"),
        ("e3b0c442", "has no algorithm"),
        ("md5:d41d8cd98f00b204e9800998ecf8427e", "unknown algorithm"),
        ("sha256", "has no algorithm"),
        ("sha256:", "malformed"),
        ("SHA256:" + EMPTY[7:], "unknown algorithm"),
        (EMPTY.upper().replace("SHA", "sha"), "malformed"),
        (EMPTY[:-1], "malformed"),
        (EMPTY + "0", "malformed"),
        (EMPTY[:-1] + "g", "malformed"),
        (EMPTY[:-1] + "\n", "malformed"),
        (EMPTY + "\n", "malformed"),
        ("sha256:../../../../../../../../../../../../../../../../../../../../etc/passwd", "malformed"),
        ("sha512:" + EMPTY[7:], "malformed"),
        ("sha256:" + "\u0660" * 64, "malformed"),
        (":" + "0" * 64, "unknown algorithm"),
        ("x" * 10_000, "no algorithm"),
    ],
)
def test_what_is_no_digest(text: str, message: str) -> None:
    """A digest becomes a file's name: nothing else may pass, and no error prints ten thousand characters."""
    with pytest.raises(InvalidError, match=message) as caught:
        digest.parse(text)
    assert len(str(caught.value)) < 300


def test_chain_ids_of_a_stack() -> None:
    """The formula of config.md, computed step by step."""
    a, b, c = (digest.of(text) for text in (b"a", b"b", b"c"))
    ab = "sha256:" + hashlib.sha256(f"{a} {b}".encode()).hexdigest()
    abc = "sha256:" + hashlib.sha256(f"{ab} {c}".encode()).hexdigest()
    assert digest.chain_ids([a, b, c]) == [a, ab, abc]
    assert digest.chain_ids([a]) == [a] and digest.chain_ids([]) == []
    assert digest.chain_ids([b, a])[-1] != ab, "the order matters"


def test_chain_ids_of_what_are_no_digests() -> None:
    with pytest.raises(InvalidError):
        digest.chain_ids([EMPTY, "latest"])
