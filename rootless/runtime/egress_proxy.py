"""The HTTP proxy of --egress, for programs that leave names to a proxy: CONNECT, and requests for http:// (RFC 9110).

h11 reads the heads; they are hostile until then, and bounded. A connection serves one request: what follows would have
to be looked at again, and clients are told so by `Connection: close`.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

import h11
import trio

from ..network.egress_rules import joined
from .egress_dial import DialError, Dialler
from .egress_relay import CHUNK, relay

PATIENCE = 30.0
"""Seconds for a request's head."""

MAX_HEAD = 32768
"""Bytes of a head."""

HOP_BY_HOP = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"te", b"upgrade"))
"""What a proxy does not pass on (RFC 9110, 7.6.1)."""

Headers = list[tuple[bytes, bytes]]
HTTPS_PORT, HTTP_PORT = 443, 80


class _RefusalError(Exception):
    """The answer in the place of what was asked for."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


async def serve_proxy(stream: trio.SocketStream, dialler: Dialler) -> None:
    """One client's request."""
    side = _Side(stream, h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD))
    try:
        with trio.fail_after(PATIENCE):
            request = await side.receive()
        if isinstance(request, h11.Request):
            await _serve(side, request, dialler)
    except h11.RemoteProtocolError as problem:
        await side.answer(problem.error_status_hint, "that is no HTTP request")
    except trio.TooSlowError:
        await side.answer(408, "the request took too long")
    except _RefusalError as refusal:
        await side.answer(refusal.status, str(refusal))


async def _serve(side: _Side, request: h11.Request, dialler: Dialler) -> None:
    if request.method == b"CONNECT":
        name, port = _authority(request.target.decode("ascii", "replace"), HTTPS_PORT)
        outside = await _dial(dialler, "connect", name, port)
        async with outside:
            await _tunnel(side, outside)
        return
    name, port, target = _absolute(request.target.decode("ascii", "replace"))
    outside = await _dial(dialler, "http", name, port)
    async with outside:
        host = joined(name, port if port != HTTP_PORT else 0).encode()
        await _forward(side, request, target, host, _Side(outside, h11.Connection(h11.CLIENT)))


async def _dial(dialler: Dialler, kind: str, name: str, port: int) -> trio.SocketStream:
    try:
        return await dialler.connect(kind, name, port)
    except DialError as problem:
        raise _RefusalError(403 if problem.refused else 502, str(problem)) from None


async def _tunnel(side: _Side, outside: trio.SocketStream) -> None:
    """CONNECT (RFC 9110, 9.3.6): what comes after the head belongs to the other side."""
    await side.receive()  # the request has no content
    await side.send(h11.Response(status_code=200, headers=[], reason=b"Connection established"))
    early, _ = side.connection.trailing_data
    if early:
        await outside.send_all(early)
    await relay(side.stream, outside)


async def _forward(side: _Side, request: h11.Request, target: str, host: bytes, server: _Side) -> None:
    """A request and its response, each with what is between the two ends only left out.

    `Host` is what the URL says (RFC 9112, 3.2.2): with another name in it, a server of many names would give what
    belongs to one that is not allowed.
    """
    kept = [field for field in _end_to_end(request.headers) if field[0] != b"host"]
    headers = [(b"host", host), *kept, (b"connection", b"close")]
    await server.send(h11.Request(method=request.method, target=target, headers=headers))
    async with trio.open_nursery(strict_exception_groups=False) as nursery:
        nursery.start_soon(_pass_on, side, server)
        await _respond(side, server)
        nursery.cancel_scope.cancel()  # a server may answer before it has read everything


async def _pass_on(source: _Side, sink: _Side) -> None:
    """The content of a request."""
    while True:
        event = await source.receive()
        if isinstance(event, h11.Data | h11.EndOfMessage):
            await sink.send(event)
        if not isinstance(event, h11.Data):
            return


async def _respond(side: _Side, server: _Side) -> None:
    try:
        while True:
            event = await server.receive()
            if isinstance(event, h11.Response):
                headers = [*_end_to_end(event.headers), (b"connection", b"close")]
                event = h11.Response(status_code=event.status_code, headers=headers, reason=event.reason)
            if isinstance(event, h11.ConnectionClosed):
                return
            if isinstance(event, h11.InformationalResponse):
                continue  # we have told the client ourselves to go on
            await side.send(event)
            if isinstance(event, h11.EndOfMessage):
                return
    except h11.RemoteProtocolError as problem:
        raise _RefusalError(502, f"the server's answer is none: {problem}") from None


def _end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Without what is between two ends: the known fields, and those that `Connection` names."""
    found = list(headers)
    named = {word.strip().lower() for name, value in found if name == b"connection" for word in value.split(b",")}
    return [(name, value) for name, value in found if name not in HOP_BY_HOP and name not in named]


def _authority(text: str, default: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        name, port = parts.hostname or "", parts.port or default
    except ValueError:
        name, port = "", 0
    if not name:
        raise _RefusalError(400, "the request names no host")
    return name, port


def _absolute(text: str) -> tuple[str, int, str]:
    """(name, port, target for the server itself) of an http:// URL."""
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme.lower() != "http":
        raise _RefusalError(400, "this is a proxy: it takes CONNECT, and requests for http:// URLs")
    name, port = _authority(parts.netloc, HTTP_PORT)
    return name, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


class _Side:
    """One end of a conversation in HTTP."""

    def __init__(self, stream: trio.SocketStream, connection: h11.Connection) -> None:
        self.stream, self.connection = stream, connection

    async def receive(self) -> object:
        """The next event. h11.RemoteProtocolError when it is none."""
        while True:
            event = self.connection.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self.connection.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            self.connection.receive_data(await self.stream.receive_some(CHUNK))

    async def send(self, event: object) -> None:
        data = self.connection.send(event)  # type: ignore[call-overload]
        if data:
            await self.stream.send_all(data)

    async def answer(self, status: int, text: str) -> None:
        """An answer of our own, if none was begun."""
        if self.connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        content = f"rootless: {text}\n".encode(errors="replace")
        headers = [
            ("content-type", "text/plain; charset=utf-8"),
            ("content-length", str(len(content))),
            ("connection", "close"),
        ]
        with trio.move_on_after(PATIENCE):
            await self.send(h11.Response(status_code=status, headers=headers))
            await self.send(h11.Data(data=content))
            await self.send(h11.EndOfMessage())
