"""One resource out of the web, as a file: what `import URL` reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from .. import atomic
from ..errors import InvalidError, StoreError
from . import http
from .connection import LIMITS, Limits, TransferError
from .http import Http
from .url import Url, parse


@contextmanager
def downloaded(text: str, tmp: Path, limits: Limits = LIMITS) -> Iterator[BinaryIO]:
    """What a URL leads to, as a file to read from the beginning; it has no name and goes when the block ends.

    Raises:
        InvalidError: not a URL, or larger than the limit.
        TransferError: it could not be fetched; says at which step.
        StoreError: no room for it.
    """
    url = parse(text)
    draft = atomic.new_name(tmp, "download")
    with open(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w+b", buffering=0) as file:
        draft.unlink()
        try:
            http.run(fetch, url, file.write, limits)
        except OSError as problem:
            raise StoreError(f"{url} can't be kept while it is read: {problem.strerror}") from problem
        file.seek(0)
        yield cast(BinaryIO, file)


async def fetch(url: Url, sink: Callable[[bytes], object], limits: Limits = LIMITS) -> None:
    """GET a resource and give its bytes to `sink` as they come.

    Raises:
        TransferError, InvalidError: as `downloaded`.
    """
    async with Http(limits) as client, await client.follow("GET", url) as response:
        if response.status != 200:
            raise TransferError(f"{response.url}: the server answers {response.reason}")
        if response.announced is not None and response.announced > limits.size:
            size = response.announced
            raise InvalidError(f"{response.url} has {size} bytes, more than the {limits.size} that are allowed")
        size = 0
        while chunk := await response.piece():
            size += len(chunk)
            if size > limits.size:
                raise InvalidError(f"{response.url} has more than the {limits.size} bytes that are allowed")
            sink(chunk)
