"""Digests as OCI writes them, `algorithm:hex`, and the chain ids that name a stack of layers.

image-spec/descriptor.md ("Digests") and image-spec/config.md ("Layer ChainID").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import InvalidError

if TYPE_CHECKING:
    from hashlib import _Hash

ALGORITHMS = {"sha256": 64, "sha512": 128}
"""The registered algorithms and their number of lower-case hexadecimal digits."""

_HEX = re.compile(r"[0-9a-f]+")


def parse(text: str) -> tuple[str, str]:
    """(algorithm, hexadecimal digits) of a digest. What passes here is safe as a file's name.

    Raises:
        InvalidError: not of the form, an algorithm that is not registered, or the wrong number of digits.
    """
    algorithm, colon, digits = text.partition(":")
    if not colon:
        raise InvalidError(
            f"digest {_short(text)} has no algorithm", hint="it should read sha256:<64 hexadecimal digits>"
        )
    if algorithm not in ALGORITHMS:
        raise InvalidError(f"digest {_short(text)} has an unknown algorithm", hint="sha256 and sha512 are understood")
    if len(digits) != ALGORITHMS[algorithm] or not _HEX.fullmatch(digits):
        raise InvalidError(
            f"digest {_short(text)} is malformed: {ALGORITHMS[algorithm]} lower-case hexadecimal digits belong there"
        )
    return algorithm, digits


def check(text: str) -> str:
    """`text` itself, when it is a digest; InvalidError as `parse` raises it."""
    parse(text)
    return text


def hasher(algorithm: str = "sha256") -> _Hash:
    """A running hash of a registered algorithm."""
    if algorithm not in ALGORITHMS:
        raise InvalidError(f"unknown digest algorithm {_short(algorithm)}", hint="sha256 and sha512 are understood")
    import hashlib  # with OpenSSL: whoever only reads digests needs none of it

    return hashlib.new(algorithm, usedforsecurity=True)


def of(data: bytes, algorithm: str = "sha256") -> str:
    """The digest of these bytes."""
    running = hasher(algorithm)
    running.update(data)
    return f"{algorithm}:{running.hexdigest()}"


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """The chain id of each prefix of a stack of layers, given from the bottom up; the last one names the whole stack.

    A diff id is the digest of one layer's uncompressed tar. The chain id says what it lies on as well:
    `chain(L0..Ln) = sha256(chain(L0..Ln-1) + " " + diff(Ln))`, and that of a single layer is its diff id.

    Raises:
        InvalidError: one of them is not a digest.
    """
    chain: list[str] = []
    for diff_id in diff_ids:
        check(diff_id)
        chain.append(of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return chain


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "...")
