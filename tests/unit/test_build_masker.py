"""Secrets in what a command writes are masked, however it is written."""

from __future__ import annotations

import pytest

from rootless.build.secrets import LARGEST, MASK, Masker, Secret

SECRET = Secret("id", b"sesame-8d1f")


def masked(data: bytes, piece: int) -> bytes:
    masker = Masker([SECRET])
    shown = b"".join(masker.feed(1, data[start : start + piece]) for start in range(0, len(data), piece))
    return shown + b"".join(rest for _, rest in masker.rest())


@pytest.mark.parametrize("before", [0, 1, 2 * LARGEST - 5, 2 * LARGEST + 1, 5 * LARGEST])
@pytest.mark.parametrize("piece", [65536, 100_001])
def test_none_slips_through_in_two_pieces(before: int, piece: int) -> None:
    """Also in a line without an end, of which only so much is held back."""
    data = b"x" * before + SECRET.value + b"y" * (3 * LARGEST) + SECRET.value
    assert masked(data, piece) == b"x" * before + MASK + b"y" * (3 * LARGEST) + MASK


def test_at_every_place_where_a_long_line_is_cut() -> None:
    """What is read of it ends within the secret, or just behind it."""
    before = 2 * LARGEST + 1
    data = b"x" * before + SECRET.value + b"y" * LARGEST
    for seen in range(len(SECRET.value) + 2):
        assert masked(data, before + seen) == b"x" * before + MASK + b"y" * LARGEST, seen
