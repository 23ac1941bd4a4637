"""A mount from another repository is an attempt: what is refused there is uploaded."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio

from rootless.errors import NotFoundError, RootlessError
from rootless.image.push import _Push
from rootless.registry.session import DeniedError
from rootless.registry.url import Url, parse

THERE = parse("https://registry.invalid/v2/x/blobs/uploads/1")


class Registry:
    """The part of a repository that begins uploads; `refusal` is what a mount gets."""

    def __init__(self, refusal: RootlessError | None) -> None:
        self.refusal = refusal
        self.asked: list[str] = []

    async def begin_upload(self, mount: str = "", source: str = "") -> Url | None:
        self.asked.append(source)
        if not source:
            return THERE
        if self.refusal is not None:
            raise self.refusal
        return None


class Push(_Push):
    """A push that knows a blob from the repository `other`."""

    def __init__(self) -> None:
        """Nothing of the store takes part."""

    def _neighbours(self, digest: str) -> Iterator[str]:
        yield "other"


@pytest.mark.parametrize("refusal", [DeniedError("no"), NotFoundError("none")])
def test_a_mount_that_is_refused(refusal: RootlessError) -> None:
    registry = Registry(refusal)
    assert trio.run(Push()._mounted, registry, "sha256:1") == (THERE, "")
    assert registry.asked == ["other", ""]


def test_a_mount() -> None:
    registry = Registry(None)
    assert trio.run(Push()._mounted, registry, "sha256:1") == (None, "other")
