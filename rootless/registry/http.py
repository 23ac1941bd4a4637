"""HTTP/1.1 over h11 and trio: connections to any number of servers, through proxies, kept open between requests.

What a server may do to us is bounded: the time that it is silent, the size of its headers (h11's limit) and, by those
who read one, the size of a body. Encryption is verified as `tls` says for each server.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import h11
import trio

from .. import __version__
from ..errors import InvalidError, RootlessError
from .url import Url, proxy_for, redirected

_CHUNK = 1 << 18
_DRAIN = 1 << 16
"""Bytes of a body nobody wants that are read to keep the connection; a longer one is hung up on."""
_IDLE = 4
"""Connections to one server that are kept for later."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})

T = TypeVar("T")


class TransferError(RootlessError):
    """The network, or the server on it, did not do what was needed."""


class TemporaryError(TransferError):
    """What may go away by itself: a broken connection, silence, an overloaded server.

    Attributes:
        delay: seconds after which the server wants to be asked again, when it said so (RFC 9110, Retry-After).
    """

    delay: float | None = None


class UnreachableError(TemporaryError):
    """Nobody listens there, or the name is not known."""


class UnencryptedError(TransferError):
    """No TLS session could be made: the other side speaks something else, or its certificate is not to be trusted."""


@dataclass(frozen=True)
class Limits:
    """What a server may cost.

    Attributes:
        size: bytes of a body.
        connect: seconds until a connection stands, name resolution and TLS included.
        silence: seconds without a byte from the server; also until the head of its answer is whole.
        document: seconds until a document, which is held in memory, is whole.
        redirects: how many are followed.
    """

    size: int = 64 << 30
    connect: float = 30
    silence: float = 60
    document: float = 300
    redirects: int = 10


LIMITS = Limits()


@dataclass(frozen=True)
class Body:
    """What is sent with a request: `size` bytes, made anew by `pieces` each time the request has to be repeated."""

    size: int
    pieces: Callable[[], Iterable[bytes]]

    @classmethod
    def of(cls, data: bytes) -> Body:
        return cls(len(data), lambda: (data,))


Tls = Callable[[Url], ssl.SSLContext]


def system_tls(_: Url) -> ssl.SSLContext:
    """Verified against the system's certificates."""
    return ssl.create_default_context()


class Http:
    """A client. Used inside `async with`, at whose end its connections are closed."""

    def __init__(self, limits: Limits = LIMITS, tls: Tls = system_tls) -> None:
        self.limits = limits
        self._tls = tls
        self._idle: dict[tuple[str, str, int], list[_Connection]] = {}

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

    async def _connection(self, url: Url) -> tuple[_Connection, bool]:
        """A connection, and whether it has served before."""
        idle = self._idle.get(url.origin)
        if idle:
            return idle.pop(), True
        with explained(url):
            return await _connect(url, self.limits, self._tls), False

    async def keep(self, connection: _Connection, url: Url) -> None:
        """Take a connection back, for the next request to the same server."""
        idle = self._idle.setdefault(url.origin, [])
        if len(idle) < _IDLE and connection.renew():
            idle.append(connection)
        else:
            await connection.close()


class Response:
    """The head of an answer, and the way to its body. Leaving its `async with` block gives the connection back."""

    def __init__(self, http: Http, connection: _Connection, url: Url, head: h11.Response) -> None:
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


class _Connection:
    """One stream to one server, and where its HTTP stands."""

    def __init__(self, stream: trio.abc.Stream, limits: Limits, proxy: Url | None = None) -> None:
        self.proxy = proxy
        self._stream = stream
        self._limits = limits
        self._protocol = h11.Connection(h11.CLIENT)

    async def ask(self, method: str, target: str, headers: Mapping[str, str], body: Body | None) -> h11.Response:
        """Send a request and give back the head of the final answer."""
        fields = [*headers.items()]
        if self.proxy is not None and self.proxy.authorization and target.startswith("http://"):
            fields.append(("Proxy-Authorization", self.proxy.authorization))
        if body is not None or method in ("POST", "PUT", "PATCH"):
            fields.append(("Content-Length", str(body.size if body else 0)))
        try:
            await self._send(h11.Request(method=method, target=target, headers=fields), body)
        except trio.BrokenResourceError:
            # A server that refuses a body may close before it has read it; its answer is often there already.
            if body is None:
                raise
            self._protocol.send_failed()
        # A server that has something new to say every few seconds, but never an answer, is as good as silent.
        with trio.fail_after(self._limits.silence):
            event = await self.event()
            while isinstance(event, h11.InformationalResponse):
                event = await self.event()
        assert isinstance(event, h11.Response)
        return event

    async def _send(self, request: h11.Request, body: Body | None) -> None:
        await self._pass(self._protocol.send(request))
        for piece in body.pieces() if body is not None else ():
            await self._pass(self._protocol.send(h11.Data(data=piece)))
        await self._pass(self._protocol.send(h11.EndOfMessage()))

    async def _pass(self, data: bytes | None) -> None:
        if data:
            with trio.fail_after(self._limits.silence):
                await self._stream.send_all(data)

    async def event(self) -> h11.Event | type[h11.PAUSED]:
        """The next piece of the answer. BrokenResourceError where the connection ended before there was one."""
        while (event := self._protocol.next_event()) is h11.NEED_DATA:
            with trio.fail_after(self._limits.silence):
                data = bytes(await self._stream.receive_some(_CHUNK))
            if not data and self._protocol.their_state is h11.SEND_RESPONSE and not self._protocol.trailing_data[0]:
                raise trio.BrokenResourceError("it was closed without an answer")
            self._protocol.receive_data(data)
        return cast("h11.Event | type[h11.PAUSED]", event)

    def renew(self) -> bool:
        """Make ready for another request. False when this was the last one."""
        if self._protocol.our_state is not h11.DONE or self._protocol.their_state is not h11.DONE:
            return False
        self._protocol.start_next_cycle()
        return True

    async def close(self) -> None:
        await trio.aclose_forcefully(self._stream)


async def _connect(url: Url, limits: Limits, tls: Tls) -> _Connection:
    """A connection to the server, encrypted when the URL says so, through the proxy when there is one."""
    proxy = proxy_for(url)
    peer = proxy or url
    with trio.fail_after(limits.connect):
        try:
            stream: trio.abc.Stream = await trio.open_tcp_stream(peer.host, peer.port)
        except OSError as problem:
            raise UnreachableError(f"{peer.authority} can't be reached: {_reason(problem)}") from problem
        try:
            if peer.scheme == "https":
                stream = await _encrypted(stream, peer, tls)
            if proxy is not None and url.scheme == "https":
                await _tunnel(stream, url, proxy, limits)
                stream = await _encrypted(stream, url, tls)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
    return _Connection(stream, limits, proxy)


async def _tunnel(stream: trio.abc.Stream, url: Url, proxy: Url, limits: Limits) -> None:
    """Have the proxy connect us with the server (RFC 9110, 9.3.6)."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    target = f"{host}:{url.port}"
    headers = {"Host": target}
    if proxy.authorization:
        headers["Proxy-Authorization"] = proxy.authorization
    answer = await _Connection(stream, limits).ask("CONNECT", target, headers, None)
    if not 200 <= answer.status_code < 300:
        reason = bytes(answer.reason).decode("latin-1")
        raise TransferError(f"{proxy}: the server answers {answer.status_code} {reason}".rstrip())


async def _encrypted(stream: trio.abc.Stream, peer: Url, tls: Tls) -> trio.SSLStream[trio.abc.Stream]:
    # Many servers end a connection without TLS's farewell; h11 notices where a body was cut short by it.
    secured = trio.SSLStream(stream, tls(peer), server_hostname=peer.host, https_compatible=True)
    try:
        await secured.do_handshake()
    except trio.BrokenResourceError as problem:
        raise UnencryptedError(f"{peer}: the connection broke ({_reason(problem)})") from problem
    return secured


@contextmanager
def explained(url: Url) -> Iterator[None]:
    """The many ways in which a network fails, as one kind of error."""
    try:
        yield
    except trio.TooSlowError:
        raise TemporaryError(f"{url.bare}: the server does not answer in time", hint="try again later") from None
    except h11.RemoteProtocolError as problem:
        raise TemporaryError(f"{url.bare}: the server broke off or does not speak HTTP ({problem})") from problem
    except (trio.BrokenResourceError, trio.ClosedResourceError) as problem:
        raise TemporaryError(f"{url.bare}: the connection broke ({_reason(problem)})") from problem


def _reason(problem: BaseException) -> str:
    """What lies at the bottom of an error: trio wraps what the kernel and OpenSSL say, several attempts as a group."""
    while True:
        if isinstance(problem, BaseExceptionGroup):
            problem = problem.exceptions[0]
        elif problem.__cause__ is not None:
            problem = problem.__cause__
        else:
            break
    if isinstance(problem, ssl.SSLCertVerificationError):
        return f"its certificate is not to be trusted: {problem.verify_message}"
    if isinstance(problem, ssl.SSLError):
        return (problem.reason or str(problem)).replace("_", " ").lower()
    if isinstance(problem, OSError) and problem.errno is not None and problem.errno > 0:
        return os.strerror(problem.errno)
    return getattr(problem, "strerror", None) or str(problem) or type(problem).__name__


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
