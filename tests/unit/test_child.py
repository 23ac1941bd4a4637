"""Work in a forked child: what comes back of results and exceptions."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest

from rootless import child
from rootless.errors import RootlessError


class OddError(Exception):
    def __reduce__(self) -> str:
        raise TypeError("not me")


def test_an_exception_that_cannot_be_pickled_is_told_and_the_child_ends() -> None:
    """Else it would leave `call` in the child, which would go on as its parent."""
    parent = os.getpid()

    def work() -> None:
        raise OddError("this")

    with pytest.raises(RootlessError, match="OddError"):
        child.call(work, "a child")
    assert os.getpid() == parent


def test_a_result_that_cannot_be_pickled_is_told() -> None:
    with pytest.raises(Exception, match="pickle"):
        child.call(lambda: lambda: None, "a child")


def test_a_block_that_fails_leaves_no_descriptor() -> None:
    """Thousands may follow in one process: a leak of one each ends in EMFILE."""
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with suppress(ZeroDivisionError), child.stream(lambda sink: sink.write(b"x" * 100), "a child") as source:
            source.read(1)
            raise ZeroDivisionError
        with suppress(ZeroDivisionError), child.feed(lambda source: source.read(), "a child") as sink:
            sink.write(b"x")
            raise ZeroDivisionError
    assert sorted(os.listdir("/proc/self/fd")) == before
