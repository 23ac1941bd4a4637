"""The places that an image can come from: mirrors first, then where it is at home."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from ..errors import RootlessError
from ..registry.client import Repository
from ..registry.connection import TransferError

_MIRROR_TRIES = 2
"""Of a mirror, where the next place is at hand; the last place is asked with all the patience that there is."""

T = TypeVar("T")


class Sources:
    """Repositories that should have the same content. What one does not have is asked of the next.

    A mirror that does not work is not asked again; one that lacks something may still have the rest.
    """

    def __init__(self, mirrors: list[Repository], home: Repository) -> None:
        self._mirrors = mirrors
        self._home = home
        for mirror in mirrors:
            mirror.patience = replace(mirror.patience, tries=min(_MIRROR_TRIES, mirror.patience.tries))

    @property
    def has_mirrors(self) -> bool:
        return bool(self._mirrors)

    def leave_mirrors(self) -> None:
        """Ask only where it is at home from now on."""
        self._mirrors.clear()

    async def ask(self, work: Callable[[Repository], Awaitable[T]]) -> T:
        """What the first place answers that can. `work` may be called several times.

        Raises:
            ...: as `work` does for the last place; its hint tells of the mirror before.
        """
        said = ""
        for mirror in list(self._mirrors):
            try:
                return await work(mirror)
            except RootlessError as problem:
                said = problem.message
                if isinstance(problem, TransferError) and mirror in self._mirrors:
                    self._mirrors.remove(mirror)
        try:
            return await work(self._home)
        except RootlessError as problem:
            if said:
                problem.hint = f"{problem.hint}; " * bool(problem.hint) + f"the mirror before it: {said}"
            raise
