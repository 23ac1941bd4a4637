"""ADD of what lies at a URL: fetched in a child, because that takes trio, into a file without a name."""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from .. import child
from ..errors import InvalidError, StoreError
from ..storage import digest as digests

_CHUNK = 1 << 18
_LONGEST = 255
"""Bytes of a file's name (NAME_MAX)."""


class Download:
    """One URL, fetched when it is asked for.

    Attributes:
        name: what the file is called in a directory; empty when the URL tells nothing that a file could be called.
        digest: of its bytes: what `--checksum` says, else known once it was fetched.
        size: in bytes, likewise.
    """

    def __init__(self, url: str, checksum: str, tmp: Path) -> None:
        """
        Raises:
            InvalidError: the checksum is none, or the URL is not one that can be fetched.
        """
        from ..registry import url as urls

        path = urls.parse(url).target.partition("?")[0] if url.startswith(("http://", "https://")) else ""
        if not path or path.endswith(".git"):
            raise InvalidError(
                f"{url}: ADD fetches files from http and https, not repositories", hint="clone it in a RUN"
            )
        self.url = url
        self.digest = digests.check(checksum) if checksum else ""
        self.size = 0
        self.name = _name(path)
        self._tmp = tmp
        self._fd = -1

    def fetch(self) -> None:
        """Get the file, unless that has been done.

        Raises:
            TransferError: it could not be fetched.
            InvalidError: it is not what the checksum says.
        """
        if self._fd >= 0:
            return
        fd = os.open(self._tmp, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            _fetch(self.url, fd)
            self.size = os.fstat(fd).st_size
            self._fd = fd
            found = self._hash()
        except BaseException:
            self._fd = -1
            os.close(fd)
            raise
        if self.digest and found != self.digest:
            self._fd = -1
            os.close(fd)
            raise InvalidError(f"{self.url}: digest mismatch: {found}, but --checksum says {self.digest}")
        self.digest = found

    def _hash(self) -> str:
        algorithm = digests.parse(self.digest)[0] if self.digest else "sha256"
        running = hashlib.new(algorithm)
        for chunk in self.chunks():
            running.update(chunk)
        return f"{algorithm}:{running.hexdigest()}"

    def chunks(self) -> Iterator[bytes]:
        """Its bytes, once it was fetched."""
        offset = 0
        while chunk := os.pread(self._fd, _CHUNK, offset):
            offset += len(chunk)
            yield chunk


def _name(path: str) -> str:
    """The last part of a URL's path, decoded, as in BuildKit."""
    name = posixpath.basename(unquote(path))
    fits = name not in ("", ".", "..") and "\0" not in name and len(os.fsencode(name)) <= _LONGEST
    return name if fits else ""


def _fetch(text: str, fd: int) -> None:
    from ..registry import connection, fetch, http, url

    def get() -> None:
        with open(fd, "wb", buffering=0, closefd=False) as file:
            http.run(fetch.fetch, url.parse(text), file.write, connection.LIMITS)

    try:
        child.call(get, "the download")
    except OSError as problem:
        raise StoreError(f"{text} can't be kept while it is read: {problem.strerror}") from problem
