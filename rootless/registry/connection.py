"""A connection to one server, over h11 and trio: how it is made, through a proxy and with TLS, and how it fails.

What a server may do to us is bounded: the time that it is silent, the size of its headers (h11's limit) and, by those
who read one, the size of a body. Encryption is verified as `tls` says for each server.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import h11
import trio

from ..errors import RootlessError
from .url import Url, proxy_for

_CHUNK = 1 << 18


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


class Connection:
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


async def connect(url: Url, limits: Limits, tls: Tls) -> Connection:
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
    return Connection(stream, limits, proxy)


async def _tunnel(stream: trio.abc.Stream, url: Url, proxy: Url, limits: Limits) -> None:
    """Have the proxy connect us with the server (RFC 9110, 9.3.6)."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    target = f"{host}:{url.port}"
    headers = {"Host": target}
    if proxy.authorization:
        headers["Proxy-Authorization"] = proxy.authorization
    answer = await Connection(stream, limits).ask("CONNECT", target, headers, None)
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
