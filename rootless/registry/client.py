"""A repository of a registry, by the OCI distribution protocol (distribution-spec 1.1, and Docker's Registry HTTP API
V2).

How it comes to an answer tells session.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import msgspec
import trio

from ..errors import InvalidError
from .connection import Body, TemporaryError, TransferError
from .http import Response
from .session import Session
from .transfer import Transfer
from .url import Url, redirected

MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
TAGS_LIMIT = 10_000
"""Tags of one repository that are listed; a nightly build has reached as many in 27 years."""
_TAGS_PAGE_LIMIT = 4 << 20
_PROGRESS = 1 << 20
"""Bytes that have to arrive between two failures for a transfer to count as going on."""


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


@dataclass(frozen=True)
class Answer:
    """A manifest as it came.

    Attributes:
        media_type: what the server calls it; empty when it does not.
        digest: what the server says its digest is; empty likewise.
    """

    media_type: str
    digest: str
    data: bytes


class Repository(Session):
    """One repository, for the time of one operation."""

    # --- manifests and blobs -----------------------------------------------------------------------------------------

    async def manifest(self, reference: str, limit: int) -> Answer:
        """The manifest or index that a tag or a digest leads to, unverified.

        Raises:
            NotFoundError: there is none, or no such repository.
            DeniedError: we may not see it.
            InvalidError: larger than `limit`.
            TransferError: no answer.
        """

        at = "@" if ":" in reference else ":"

        async def ask() -> Answer:
            async with await self.open("GET", f"/manifests/{reference}", {"Accept": ", ".join(MANIFESTS)}) as answer:
                await self.check(answer, f"manifest for {self.place}{at}{reference}", {200})
                media_type = answer.header("content-type").partition(";")[0].strip().lower()
                return Answer(media_type, answer.header("docker-content-digest"), await answer.read(limit))

        return await self.patiently(ask)

    async def tags(self) -> list[str]:
        """The repository's tags, as many pages of them as there are.

        Raises:
            NotFoundError, DeniedError: as `manifest`.
            InvalidError: what the registry sends is no list of tags, or one without end.
            TransferError: no answer.
        """
        found: list[str] = []
        page: str | Url | None = "/tags/list"
        while page is not None:
            more, page = await self.patiently(partial(self._tags, page))
            found += more
            if len(found) > TAGS_LIMIT or (page is not None and not more):
                raise InvalidError(f"{self.place} has a list of tags without end")
        return found

    async def _tags(self, page: str | Url) -> tuple[list[str], Url | None]:
        """One page of tags, and where the next one is (distribution-spec, "Listing Tags"; RFC 8288)."""
        async with await self.open("GET", page) as answer:
            await self.check(answer, f"repository {self.place}", {200})
            data = await answer.read(_TAGS_PAGE_LIMIT)
            link = re.match(r'<([^>]*)>\s*;.*\brel="?next"?', answer.header("link"))
            there = redirected(answer.url, link[1]) if link else None
        try:
            tags = msgspec.json.decode(data, type=_Tags).tags
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
            raise InvalidError(f"{self.place}: its list of tags is not valid: {problem}") from None
        return tags or [], there

    async def put_manifest(self, reference: str, media_type: str, data: bytes) -> str:
        """Publish a manifest under a tag or its digest; the digest that the registry says it has (empty for none)."""

        async def ask() -> str:
            headers = {"Content-Type": media_type}
            async with await self.open("PUT", f"/manifests/{reference}", headers, Body.of(data)) as answer:
                await self.check(answer, f"manifest {reference}", {200, 201, 202})
                return answer.header("docker-content-digest")

        return await self.patiently(ask)

    async def small_blob(self, digest: str, size: int) -> bytes:
        """A document of `size` bytes that is a blob, unverified.

        Raises:
            ...: as `blob`.
        """
        data = bytearray()
        try:
            with trio.fail_after(self._http.limits.document):
                await self.blob(digest, size, 0, data.extend)
        except trio.TooSlowError:
            raise TransferError(f"blob {digest} does not arrive in time", hint="try again later") from None
        return bytes(data)

    async def blob(self, digest: str, size: int, start: int, sink: Callable[[bytes], object]) -> None:
        """Give the bytes of a blob from `start` to its end, at `size`, to `sink`. What breaks off is continued.

        Raises:
            NotFoundError, DeniedError: as `manifest`.
            InvalidError: the server's blob is of another size.
            TransferError: it broke off too often without getting on.
        """
        transfer = Transfer(digest, size, start, sink)
        tries = self.patience.tries
        while transfer.position < size or size == 0:
            before = transfer.position
            try:
                await self._continue(transfer)
                return
            except TemporaryError as problem:
                tries = self.patience.tries if transfer.position - before >= _PROGRESS else tries - 1
                if not tries:
                    at = f" (after {transfer.position} of {size} bytes)" if transfer.position < size else ""
                    raise TransferError(f"{problem.message}{at}", hint=problem.hint) from problem
                await self.pause(self.patience.tries - tries, problem.delay)

    async def _continue(self, transfer: Transfer) -> None:
        headers = {"Accept-Encoding": "identity"}
        if transfer.position:
            headers["Range"] = f"bytes={transfer.position}-"
        async with await self.open("GET", f"/blobs/{transfer.digest}", headers) as answer:
            await self.check(answer, f"blob {transfer.digest}", {200, 206})
            transfer.begin(answer)
            while piece := await answer.piece():
                transfer.take(piece)
            if transfer.position < transfer.size:
                raise TemporaryError(f"{answer.url.bare}: the blob ends too early")

    async def has_blob(self, digest: str) -> bool:
        """Whether the registry has this blob for this repository."""

        async def ask() -> bool:
            async with await self.open("HEAD", f"/blobs/{digest}") as answer:
                if answer.status == 404:
                    return False
                await self.check(answer, f"blob {digest}", {200})
                return True

        return await self.patiently(ask)

    # --- uploads -----------------------------------------------------------------------------------------------------

    async def begin_upload(self, mount: str = "", source: str = "") -> Url | None:
        """Begin an upload: where to send the bytes. With `mount`, a digest that the repository `source` of the same
        registry has, None when the registry took it from there."""
        query = f"?mount={mount}&from={source}" if source else ""

        async def ask() -> Url | None:
            async with await self.open("POST", f"/blobs/uploads/{query}") as answer:
                await self.check(answer, f"an upload to {self.place}", {201, 202})
                return None if answer.status == 201 and source else self._location(answer)

        return await self.patiently(ask)

    async def send_piece(self, there: Url, body: Body, start: int) -> Url:
        """Send a piece of an upload; where the next one goes. Not repeated by itself: see `sent`."""
        end = start + body.size - 1
        headers = {"Content-Type": "application/octet-stream", "Content-Range": f"{start}-{end}"}
        async with await self.open("PATCH", there, headers, body) as answer:
            await self.check(answer, f"an upload to {self.place}", {201, 202, 204})
            return self._location(answer, there)

    async def sent(self, there: Url) -> tuple[Url, int]:
        """How much of an upload has arrived: (where the rest goes, its bytes so far)."""

        async def ask() -> tuple[Url, int]:
            async with await self.open("GET", there) as answer:
                await self.check(answer, f"an upload to {self.place}", {200, 202, 204})
                match = re.fullmatch(r"(?:bytes=)?0-([0-9]{1,18})", answer.header("range"))
                return self._location(answer, there), int(match[1]) + 1 if match and match[1] != "0" else 0

        return await self.patiently(ask)

    async def end_upload(self, there: Url, digest: str) -> None:
        """Complete an upload. The registry checks the digest."""
        separator = "&" if "?" in there.target else "?"
        target = Url(there.scheme, there.host, there.port, f"{there.target}{separator}digest={digest}")
        async with await self.open("PUT", target) as answer:
            await self.check(answer, f"blob {digest}", {200, 201, 204})

    def _location(self, answer: Response, default: Url | None = None) -> Url:
        location = answer.header("location")
        if location:
            return redirected(answer.url, location)
        if default is None:
            raise InvalidError(f"{answer.url}: the registry does not say where to upload to")
        return default

    # --- the registry itself -----------------------------------------------------------------------------------------

    async def check_login(self) -> None:
        """Whether the registry takes our credentials.

        Raises:
            DeniedError: it does not.
        """
        base = await self.base()
        url = Url(base.scheme, base.host, base.port, "/v2/")
        async with await self.open("GET", url) as answer:
            if answer.status in (401, 403):
                await self.deny(answer, f"login to {self.place.host}", "look at the name and the password")
            await self.check(answer, f"the registry {self.place.host}", {200})
