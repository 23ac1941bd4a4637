"""HTTP/1.1: requests to any number of servers, whose connections (connection.py) are kept open, and their answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeVar

import h11
import trio

from .. import __version__
from ..errors import InvalidError, RootlessError
from .connection import (
    LIMITS,
    Body,
    Connection,
    Limits,
    TemporaryError,
    Tls,
    TransferError,
    connect,
    explained,
    system_tls,
)
from .url import Url, redirected

_DRAIN = 1 << 16
"""Bytes of a body nobody wants that are read to keep the connection; a longer one is hung up on."""
_IDLE = 4
"""Connections to one server that are kept for later."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})

T = TypeVar("T")


class Http:
    """A client. Used inside `async with`, at whose end its connections are closed."""

    def __init__(self, limits: Limits = LIMITS, tls: Tls = system_tls) -> None:
        self.limits = limits
        self._tls = tls
        self._idle: dict[tuple[str, str, int], list[Connection]] = {}

    async def __aenter__(self) -> Http:
        return self

    async def __aexit__(self, *_: object) -> None:
        for connections in self._idle.values():
            for connection in connections:
                await connection.close()
        self._idle.clear()

    async def open(self, method: str, url: Url, headers: Mapping[str, str] = {}, body: Body | None = None) -> Response:
        """Send a request; the answer has to be used in `async with`. Redirects are answers.

        Raises:
            TransferError: no connection, or none that lasts until the answer; mostly a TemporaryError.
        """
        while True:
            connection, used = await self._connection(url)
            try:
                with explained(url):
                    head = await connection.ask(method, _target(url, connection.proxy), _headers(url, headers), body)
            except TemporaryError:
                await connection.close()
                if used:
                    continue  # the server had closed it meanwhile; each such try uses up one of the idle ones
                raise
            except BaseException:
                await connection.close()
                raise
            return Response(self, connection, url, head)

    async def follow(
        self, method: str, url: Url, headers: Mapping[str, str] = {}, body: Body | None = None
    ) -> Response:
        """As `open`, through redirects: `headers` of the name Authorization stay with the origin they were meant for,
        and so does a body.

        Raises:
            TransferError: as `open`; too many redirects, or one to another origin with a body.
            InvalidError: a redirect to what is no URL, or from an encrypted connection to a plain one.
        """
        there = url
        for _ in range(self.limits.redirects + 1):
            sent = headers if there.origin == url.origin else _without_authorization(headers)
            response = await self.open(method, there, sent, body)
            location = response.header("location")
            if response.status not in REDIRECTS or not location:
                return response
            async with response:
                there = redirected(there, location)
            if body is not None and there.origin != url.origin:
                # It was meant for this server, and may be a secret: the request for a token has one in its form.
                raise TransferError(f"{url} redirects to another server, {there}, what is sent to it alone")
        raise TransferError(f"{url} redirects more than {self.limits.redirects} times")

    async def _connection(self, url: Url) -> tuple[Connection, bool]:
        """A connection, and whether it has served before."""
        idle = self._idle.get(url.origin)
        if idle:
            return idle.pop(), True
        with explained(url):
            return await connect(url, self.limits, self._tls), False

    async def keep(self, connection: Connection, url: Url) -> None:
        """Take a connection back, for the next request to the same server."""
        idle = self._idle.setdefault(url.origin, [])
        if len(idle) < _IDLE and connection.renew():
            idle.append(connection)
        else:
            await connection.close()


class Response:
    """The head of an answer, and the way to its body. Leaving its `async with` block gives the connection back."""

    def __init__(self, http: Http, connection: Connection, url: Url, head: h11.Response) -> None:
        self.url = url
        self.status: int = head.status_code
        self._http = http
        self._connection = connection
        self._head = head
        self._ended = False

    async def __aenter__(self) -> Response:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and await self._drained():
            await self._http.keep(self._connection, self.url)
        else:
            await self._connection.close()

    @property
    def reason(self) -> str:
        """`404 Not Found`."""
        return f"{self.status} {bytes(self._head.reason).decode('latin-1')}".rstrip()

    def header(self, name: str) -> str:
        """The first value of this header (a name in lower case); empty when there is none."""
        return next(iter(self.headers(name)), "")

    def headers(self, name: str) -> list[str]:
        """All values of this header."""
        wanted = name.encode()
        return [bytes(value).decode("latin-1") for key, value in self._head.headers if key == wanted]

    @property
    def announced(self) -> int | None:
        """The size of the body in bytes, where it was announced."""
        value = self.header("content-length")
        return int(value) if value.isdigit() else None

    async def piece(self) -> bytes:
        """The next bytes of the body; none at its end. TemporaryError when it breaks off."""
        if self._ended:
            return b""
        with explained(self.url):
            event = await self._connection.event()
        if isinstance(event, h11.Data):
            return bytes(event.data)
        self._ended = True
        return b""

    async def read(self, limit: int) -> bytes:
        """The whole body: a document, which is small, and so has to come in a bearable time.

        Raises:
            InvalidError: it has more than `limit` bytes.
            TemporaryError: it breaks off, or trickles.
        """
        if self.announced is not None and self.announced > limit:
            raise InvalidError(f"{self.url} has {self.announced} bytes, more than the {limit} that are allowed")
        data = bytearray()
        with explained(self.url), trio.fail_after(self._http.limits.document):
            while chunk := await self.piece():
                data += chunk
                if len(data) > limit:
                    raise InvalidError(f"{self.url} has more than the {limit} bytes that are allowed")
        return bytes(data)

    async def _drained(self) -> bool:
        """Whether the body is at its end, or soon was."""
        size = 0
        try:
            while chunk := await self.piece():
                size += len(chunk)
                if size > _DRAIN:
                    return False
        except TransferError:
            return False
        return True


def _headers(url: Url, headers: Mapping[str, str]) -> dict[str, str]:
    own = {"Host": url.authority, "User-Agent": f"rootless/{__version__}", "Accept": "*/*"}
    if url.authorization:
        own["Authorization"] = url.authorization
    return own | dict(headers)


def _without_authorization(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() != "authorization"}


def _target(url: Url, proxy: Url | None) -> str:
    """To a proxy that passes plain requests on, the whole URL is told (RFC 9112, 3.2.2)."""
    return str(url) if proxy is not None and url.scheme == "http" else url.target


def run(work: Callable[..., Awaitable[T]], *arguments: Any) -> T:
    """`trio.run`; where several tasks failed, the one error that tells most.

    What was wrong with what arrived comes before what was wrong with its way here.
    """
    try:
        return trio.run(work, *arguments)
    except BaseExceptionGroup as group:
        raise min(_leaves(group), key=_rank) from None


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for problem in group.exceptions:
        if isinstance(problem, BaseExceptionGroup):
            yield from _leaves(problem)
        else:
            yield problem


def _rank(problem: BaseException) -> int:
    if isinstance(problem, TransferError):
        return 3
    if isinstance(problem, RootlessError):
        return 2
    return 1 if isinstance(problem, Exception) else 0
