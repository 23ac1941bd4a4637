"""HTTP over h11 and trio: one resource, fetched through redirects and proxies, within limits.

Encryption is verified against the system's certificates. What a server may do to us is bounded: the bytes that it
sends, the time that it is silent, the redirects that it makes us follow.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import h11
import trio

from .. import __version__, atomic
from ..errors import InvalidError, RootlessError, StoreError
from .url import Url, parse, proxy_for, redirected

_CHUNK = 1 << 16
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class TransferError(RootlessError):
    """The network, or the server on it, did not do what was needed."""


@dataclass(frozen=True)
class Limits:
    """What a server may cost.

    Attributes:
        size: bytes of a body.
        connect: seconds until a connection stands, name resolution and TLS included.
        silence: seconds without a byte from the server.
        redirects: how many are followed.
    """

    size: int = 64 << 30
    connect: float = 30
    silence: float = 60
    redirects: int = 10


@contextmanager
def downloaded(text: str, tmp: Path, limits: Limits = Limits()) -> Iterator[BinaryIO]:
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
            trio.run(fetch, url, file.write, limits)
        except OSError as problem:
            raise StoreError(f"{url} can't be kept while it is read: {problem.strerror}") from problem
        file.seek(0)
        yield cast(BinaryIO, file)


async def fetch(url: Url, sink: Callable[[bytes], object], limits: Limits = Limits()) -> None:
    """GET a resource and give its bytes to `sink` as they come.

    Raises:
        TransferError, InvalidError: as `downloaded`.
    """
    there = url
    for _ in range(limits.redirects + 1):
        with _explained(there):
            location = await _get(there, sink, limits)
        if location is None:
            return
        there = redirected(there, location)
    raise TransferError(f"{url} redirects more than {limits.redirects} times")


async def _get(url: Url, sink: Callable[[bytes], object], limits: Limits) -> str | None:
    """One request: None when the body went to `sink`, else where the server sends us."""
    proxy = proxy_for(url)
    stream = await _connect(url, proxy, limits)
    try:
        exchange = _Exchange(stream, limits)
        headers = [("Host", url.authority), ("User-Agent", f"rootless/{__version__}"), ("Accept", "*/*")]
        if url.authorization:
            headers.append(("Authorization", url.authorization))
        target = url.target
        if proxy is not None and url.scheme == "http":
            target = str(url)
            headers += _proxy_headers(proxy)
        response = await exchange.ask("GET", target, [*headers, ("Connection", "close")])
        if response.status_code in _REDIRECTS:
            return _header(response, b"location") or _refuse(url, response)
        if response.status_code != 200:
            _refuse(url, response)
        await _body(url, exchange, response, sink, limits)
        return None
    finally:
        await trio.aclose_forcefully(stream)


def _refuse(url: Url, response: h11.Response) -> str:
    reason = bytes(response.reason).decode("latin-1")
    raise TransferError(f"{url}: the server answers {response.status_code} {reason}".rstrip())


def _header(response: h11.Response, name: bytes) -> str:
    found = next((value for key, value in response.headers if key == name), b"")
    return bytes(found).decode("latin-1")


async def _body(
    url: Url, exchange: _Exchange, response: h11.Response, sink: Callable[[bytes], object], limits: Limits
) -> None:
    announced = _header(response, b"content-length")
    if announced.isdigit() and int(announced) > limits.size:
        raise InvalidError(f"{url} has {announced} bytes, more than the {limits.size} that are allowed")
    size = 0
    while isinstance(event := await exchange.event(), h11.Data):
        size += len(event.data)
        if size > limits.size:
            raise InvalidError(f"{url} has more than the {limits.size} bytes that are allowed")
        sink(bytes(event.data))


def _proxy_headers(proxy: Url) -> list[tuple[str, str]]:
    return [("Proxy-Authorization", proxy.authorization)] if proxy.authorization else []


class _Exchange:
    """One request and its answer on a stream of its own."""

    def __init__(self, stream: trio.abc.Stream, limits: Limits) -> None:
        self._stream = stream
        self._limits = limits
        self._protocol = h11.Connection(h11.CLIENT)

    async def ask(self, method: str, target: str, headers: list[tuple[str, str]]) -> h11.Response:
        """Send a request without a body and give back the head of the final answer."""
        request = h11.Request(method=method, target=target, headers=headers)
        data = (self._protocol.send(request) or b"") + (self._protocol.send(h11.EndOfMessage()) or b"")
        with trio.fail_after(self._limits.silence):
            await self._stream.send_all(data)
        event = await self.event()
        while isinstance(event, h11.InformationalResponse):
            event = await self.event()
        if not isinstance(event, h11.Response):
            raise TransferError("the server closed the connection without an answer")
        return event

    async def event(self) -> h11.Event | type[h11.PAUSED]:
        """The next piece of the answer."""
        while (event := self._protocol.next_event()) is h11.NEED_DATA:
            with trio.fail_after(self._limits.silence):
                self._protocol.receive_data(bytes(await self._stream.receive_some(_CHUNK)))
        return cast("h11.Event | type[h11.PAUSED]", event)


async def _connect(url: Url, proxy: Url | None, limits: Limits) -> trio.abc.Stream:
    """A stream to the server, encrypted when the URL says so, through the proxy when there is one."""
    peer = proxy or url
    with trio.fail_after(limits.connect):
        try:
            stream: trio.abc.Stream = await trio.open_tcp_stream(peer.host, peer.port)
        except OSError as problem:
            raise TransferError(f"{peer.authority} can't be reached: {_reason(problem)}") from problem
        try:
            if peer.scheme == "https":
                stream = await _encrypted(stream, peer.host)
            if proxy is not None and url.scheme == "https":
                await _tunnel(stream, url, proxy, limits)
                stream = await _encrypted(stream, url.host)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
    return stream


async def _tunnel(stream: trio.abc.Stream, url: Url, proxy: Url, limits: Limits) -> None:
    """Have the proxy connect us with the server (RFC 9110, 9.3.6)."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    target = f"{host}:{url.port}"
    answer = await _Exchange(stream, limits).ask("CONNECT", target, [("Host", target), *_proxy_headers(proxy)])
    if not 200 <= answer.status_code < 300:
        _refuse(proxy, answer)


async def _encrypted(stream: trio.abc.Stream, host: str) -> trio.SSLStream[trio.abc.Stream]:
    # Many servers end a connection without TLS's farewell; h11 notices where a body was cut short by it.
    secured = trio.SSLStream(stream, ssl.create_default_context(), server_hostname=host, https_compatible=True)
    await secured.do_handshake()
    return secured


@contextmanager
def _explained(url: Url) -> Iterator[None]:
    """The many ways in which a network fails, as one kind of error."""
    try:
        yield
    except trio.TooSlowError:
        raise TransferError(f"{url}: the server does not answer in time", hint="try again later") from None
    except h11.RemoteProtocolError as problem:
        raise TransferError(f"{url}: the server broke off or does not speak HTTP ({problem})") from problem
    except trio.BrokenResourceError as problem:
        raise TransferError(f"{url}: the connection broke ({_reason(problem)})") from problem


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
