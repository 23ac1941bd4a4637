"""A repository of a registry, by the OCI distribution protocol (distribution-spec 1.1, and Docker's Registry HTTP API
V2).

The ladder to an answer: without credentials; with a token for what the registry's challenge names, got with the user's
credentials if there are some; with the credentials themselves. What fails for a while is tried again with growing
pauses, or when the server says (Retry-After). Credentials and tokens are never sent to another server than the one
that they are for, redirects included.
"""

from __future__ import annotations

import random
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import NoReturn, TypeVar

import msgspec
import trio

from ..errors import InvalidError, NotFoundError, RootlessError
from . import auth, failures
from .certs import Contexts
from .config import Place
from .credentials import Credentials
from .http import REDIRECTS, Body, Http, Response, TemporaryError, TransferError, UnreachableError
from .transfer import Transfer
from .url import Url, parse, redirected

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

T = TypeVar("T")


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


class DeniedError(RootlessError):
    """The registry knows us not, or not well enough."""


@dataclass(frozen=True)
class Patience:
    """How often what failed is tried, and the seconds between: `first`, then twice as long each time up to `most`.

    Attributes:
        longest: a server that wants to be left alone for longer than this is given up.
    """

    tries: int = 5
    first: float = 0.5
    most: float = 15
    longest: float = 120


PATIENCE = Patience()


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


class Repository:
    """One repository, for the time of one operation."""

    def __init__(
        self,
        http: Http,
        contexts: Contexts,
        place: Place,
        credentials: Credentials | None = None,
        *,
        write: bool = False,
        patience: Patience = PATIENCE,
        waiting: Callable[[float], object] = lambda _: None,
    ) -> None:
        """
        Args:
            write: ask for the right to push, too.
            waiting: told how many seconds will pass until something is tried again.
        """
        self.place = place
        self.credentials = credentials
        self.scopes = [f"repository:{place.path}:{'pull,push' if write else 'pull'}"] if place.path else []
        self._http = http
        self._contexts = contexts
        self.patience = patience
        self._waiting = waiting
        self._base: Url | None = None
        self._authorization = ""
        self._token: auth.Token | None = None
        self._lock = trio.Lock()
        self._reached = False

    # --- manifests and blobs
    # -------------------------------------------------------------------------------------------

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
            async with await self._open("GET", f"/manifests/{reference}", {"Accept": ", ".join(MANIFESTS)}) as answer:
                await self._check(answer, f"manifest for {self.place}{at}{reference}", {200})
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
        async with await self._open("GET", page) as answer:
            await self._check(answer, f"repository {self.place}", {200})
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
            async with await self._open("PUT", f"/manifests/{reference}", headers, Body.of(data)) as answer:
                await self._check(answer, f"manifest {reference}", {200, 201, 202})
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
        async with await self._open("GET", f"/blobs/{transfer.digest}", headers) as answer:
            await self._check(answer, f"blob {transfer.digest}", {200, 206})
            transfer.begin(answer)
            while piece := await answer.piece():
                transfer.take(piece)
            if transfer.position < transfer.size:
                raise TemporaryError(f"{answer.url.bare}: the blob ends too early")

    async def has_blob(self, digest: str) -> bool:
        """Whether the registry has this blob for this repository."""

        async def ask() -> bool:
            async with await self._open("HEAD", f"/blobs/{digest}") as answer:
                if answer.status == 404:
                    return False
                await self._check(answer, f"blob {digest}", {200})
                return True

        return await self.patiently(ask)

    # --- uploads
    # -------------------------------------------------------------------------------------------------------

    async def begin_upload(self, mount: str = "", source: str = "") -> Url | None:
        """Begin an upload: where to send the bytes. With `mount`, a digest that the repository `source` of the same
        registry has, None when the registry took it from there."""
        query = f"?mount={mount}&from={source}" if source else ""

        async def ask() -> Url | None:
            async with await self._open("POST", f"/blobs/uploads/{query}") as answer:
                await self._check(answer, f"an upload to {self.place}", {201, 202})
                return None if answer.status == 201 and source else self._location(answer)

        return await self.patiently(ask)

    async def send_piece(self, there: Url, body: Body, start: int) -> Url:
        """Send a piece of an upload; where the next one goes. Not repeated by itself: see `sent`."""
        end = start + body.size - 1
        headers = {"Content-Type": "application/octet-stream", "Content-Range": f"{start}-{end}"}
        async with await self._open("PATCH", there, headers, body) as answer:
            await self._check(answer, f"an upload to {self.place}", {201, 202, 204})
            return self._location(answer, there)

    async def sent(self, there: Url) -> tuple[Url, int]:
        """How much of an upload has arrived: (where the rest goes, its bytes so far)."""

        async def ask() -> tuple[Url, int]:
            async with await self._open("GET", there) as answer:
                await self._check(answer, f"an upload to {self.place}", {200, 202, 204})
                match = re.fullmatch(r"(?:bytes=)?0-([0-9]{1,18})", answer.header("range"))
                return self._location(answer, there), int(match[1]) + 1 if match and match[1] != "0" else 0

        return await self.patiently(ask)

    async def end_upload(self, there: Url, digest: str) -> None:
        """Complete an upload. The registry checks the digest."""
        separator = "&" if "?" in there.target else "?"
        target = Url(there.scheme, there.host, there.port, f"{there.target}{separator}digest={digest}")
        async with await self._open("PUT", target) as answer:
            await self._check(answer, f"blob {digest}", {200, 201, 204})

    def _location(self, answer: Response, default: Url | None = None) -> Url:
        location = answer.header("location")
        if location:
            return redirected(answer.url, location)
        if default is None:
            raise InvalidError(f"{answer.url}: the registry does not say where to upload to")
        return default

    # --- the ladder
    # ----------------------------------------------------------------------------------------------------

    async def check_login(self) -> None:
        """Whether the registry takes our credentials.

        Raises:
            DeniedError: it does not.
        """
        base = await self._find_base()
        url = Url(base.scheme, base.host, base.port, "/v2/")
        async with await self._open("GET", url) as answer:
            if answer.status in (401, 403):
                await self._deny(answer, f"login to {self.place.host}")
            await self._check(answer, f"the registry {self.place.host}", {200})

    async def _open(
        self, method: str, target: str | Url, headers: dict[str, str] | None = None, body: Body | None = None
    ) -> Response:
        """A request with whatever the registry wants to see; redirects of reading requests are followed."""
        base = await self._find_base()
        url = target if isinstance(target, Url) else Url(base.scheme, base.host, base.port, self._root + target)
        response = await self._send(method, url, headers or {}, body)
        if response.status == 401 and url.origin == base.origin:
            asked = auth.challenges(response.headers("www-authenticate"))
            if await self._answer(asked, response):
                response = await self._send(method, url, headers or {}, body)
        if response.status in REDIRECTS and method in ("GET", "HEAD") and response.header("location"):
            async with response:
                there = redirected(response.url, response.header("location"))
            return await self._http.follow(method, there, self._authorized(there, headers or {}))
        return response

    @property
    def _root(self) -> str:
        return f"/v2/{self.place.path}"

    async def _send(self, method: str, url: Url, headers: dict[str, str], body: Body | None) -> Response:
        response = await self._http.open(method, url, self._authorized(url, headers), body)
        self._reached = True
        return response

    def _authorized(self, url: Url, headers: dict[str, str]) -> dict[str, str]:
        """The headers, with what we have to show where `url` is the registry's own."""
        assert self._base is not None
        if self._token is not None and not self._token.fresh:
            self._authorization, self._token = "", None
        if not self._authorization or url.origin != self._base.origin:
            return headers
        return {**headers, "Authorization": self._authorization}

    async def _answer(self, asked: list[auth.Challenge], response: Response) -> bool:
        """Get ready for a second try. False when there is nothing more to show."""
        before = self._authorization
        async with self._lock:
            if self._authorization != before:
                return await self._closed(response)  # another task has answered meanwhile
            schemes = {challenge.scheme: challenge for challenge in asked}
            if "bearer" in schemes:
                await self._closed(response)
                self._token = await self._fetch_token(schemes["bearer"], response.url)
                self._authorization = f"Bearer {self._token.value}"
                return True
            if "basic" in schemes and self.credentials is not None and not before:
                self._authorization = self.credentials.basic
                return await self._closed(response)
        return False

    async def _closed(self, response: Response) -> bool:
        async with response:
            pass
        return True

    async def _fetch_token(self, challenge: auth.Challenge, asked: Url) -> auth.Token:
        request = auth.token_request(challenge, asked, self.scopes, self.credentials)
        headers = {"Authorization": request.basic} if request.basic else {}
        body = None
        if request.form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = Body.of(request.form)
        method = "GET" if body is None else "POST"
        async with await self._http.follow(method, request.url, headers, body) as answer:
            if answer.status in (400, 401, 403):
                await self._deny(answer, f"access to {self.place}")
            await self._check(answer, f"a token for {self.place}", {200})
            return auth.read_token(await answer.read(auth.TOKEN_LIMIT), request.url)

    async def _find_base(self) -> Url:
        """The server's root. Only where no encryption is put up with, there is a question: it is asked once."""
        async with self._lock:
            if self._base is None:
                self._base = await self._probe()
        return self._base

    async def _probe(self) -> Url:
        secure = parse(f"https://{self.place.host}/v2/")
        if not self.place.insecure:
            return secure
        self._contexts.unverified.add(secure.authority)
        try:
            async with await self._http.open("GET", secure):
                return secure
        except TransferError as problem:  # also of a proxy that can't connect us with a port nobody listens at
            plain = parse(f"http://{self.place.host}/v2/")
            try:
                async with await self._http.open("GET", plain):
                    return plain
            except TransferError as second:
                raise (second if "can't be reached" in problem.message else problem) from None

    # --- failures
    # ------------------------------------------------------------------------------------------------------

    async def patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do it, again after a pause where it failed for a passing reason."""
        for attempt in range(1, self.patience.tries):
            try:
                return await work()
            except TemporaryError as problem:
                if isinstance(problem, UnreachableError) and not self._reached:
                    raise  # more likely a wrong name than a passing trouble
                await self.pause(attempt, problem.delay)
        return await work()

    async def pause(self, attempt: int, wanted: float | None) -> None:
        """Wait before the next try: as long as the server wants, or longer each time.

        Raises:
            TransferError: the server wants more patience than there is.
        """
        grown = min(self.patience.first * 2 ** (attempt - 1), self.patience.most)
        # Many clients that a server threw out together must not come back together.
        delay = wanted if wanted is not None else grown * random.uniform(0.75, 1.25)
        if delay > self.patience.longest:
            raise TransferError(f"{self.place.host} wants to be asked again in {delay:.0f} s", hint="try again then")
        self._waiting(delay)
        await trio.sleep(delay)

    async def _check(self, answer: Response, what: str, good: Iterable[int]) -> None:
        """Raises what an answer means that is none of the good ones."""
        if answer.status in good:
            return
        if answer.status in (401, 403):
            await self._deny(answer, what)
        said = await failures.said(answer)
        if answer.status == 404:
            raise NotFoundError(f"{what} not found: {said}")
        message = f"{answer.url.bare}: the server answers {said}"
        if answer.status in failures.TEMPORARY:
            problem = TemporaryError(message, hint="try again later")
            problem.delay = failures.retry_after(answer.header("retry-after"))
            raise problem
        raise TransferError(message)

    async def _deny(self, answer: Response, what: str) -> NoReturn:
        who = f"as {self.credentials.username or 'the owner of a token'}" if self.credentials else "without a login"
        raise DeniedError(
            f"{what} is denied {who}: {await failures.said(answer)}",
            hint=f"it may not exist, or need `rootless login {self.place.host}`",
        )
