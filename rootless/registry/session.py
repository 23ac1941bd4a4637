"""What is between a request to a registry and its answer: who we are, and what happens when it fails.

The ladder to an answer: without credentials; with a token for what the registry's challenge names, got with the user's
credentials if there are some; with the credentials themselves. What fails for a while is tried again with growing
pauses, or when the server says (Retry-After). Credentials and tokens are never sent to another server than the one
that they are for, redirects included.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn, TypeVar

import trio

from ..errors import NotFoundError, RootlessError
from . import auth, failures
from .certs import Contexts
from .config import Place
from .connection import Body, TemporaryError, TransferError, UnreachableError
from .credentials import Credentials
from .http import REDIRECTS, Http, Response
from .url import Url, parse, redirected

T = TypeVar("T")


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


class Session:
    """Requests about one repository, for the time of one operation."""

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

    # --- the ladder --------------------------------------------------------------------------------------------------

    async def open(
        self, method: str, target: str | Url, headers: dict[str, str] | None = None, body: Body | None = None
    ) -> Response:
        """A request with whatever the registry wants to see; redirects of reading requests are followed."""
        base = await self.base()
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
                await self.deny(answer, f"access to {self.place}")
            await self.check(answer, f"a token for {self.place}", {200})
            return auth.read_token(await answer.read(auth.TOKEN_LIMIT), request.url)

    async def base(self) -> Url:
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

    # --- failures ----------------------------------------------------------------------------------------------------

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

    async def check(self, answer: Response, what: str, good: Iterable[int]) -> None:
        """Raises what an answer means that is none of the good ones."""
        if answer.status in good:
            return
        if answer.status in (401, 403):
            await self.deny(answer, what)
        said = await failures.said(answer)
        if answer.status == 404:
            raise NotFoundError(f"{what} not found: {said}")
        message = f"{answer.url.bare}: the server answers {said}"
        if answer.status in failures.TEMPORARY:
            problem = TemporaryError(message, hint="try again later")
            problem.delay = failures.retry_after(answer.header("retry-after"))
            raise problem
        raise TransferError(message)

    async def deny(self, answer: Response, what: str, hint: str = "") -> NoReturn:
        """Raises DeniedError."""
        who = f"as {self.credentials.username or 'the owner of a token'}" if self.credentials else "without a login"
        raise DeniedError(
            f"{what} is denied {who}: {await failures.said(answer)}",
            hint=hint or f"it may not exist, or need `rootless login {self.place.host}`",
        )
