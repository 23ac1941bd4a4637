"""The cases that are run on every driver, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.drivers.trial import Trial

Case = Callable[[Trial], None]
CASES: dict[str, Case] = {}
FUSE_OVERLAYFS_DIFFERS: dict[str, str] = {}


def case(function: Case | None = None, *, fuse_overlayfs: str = "") -> Any:
    """Add a case; `fuse_overlayfs` says in what the C program is known to differ."""

    def add(function: Case) -> Case:
        CASES[function.__name__] = function
        if fuse_overlayfs:
            FUSE_OVERLAYFS_DIFFERS[function.__name__] = fuse_overlayfs
        return function

    return add(function) if function is not None else add
