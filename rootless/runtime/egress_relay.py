"""Bytes between two connections, until both sides have nothing more to say."""

from __future__ import annotations

import socket
import struct

import trio

CHUNK = 1 << 18


async def relay(one: trio.SocketStream, other: trio.SocketStream) -> None:
    """Pass on what each side sends, and its end. Where one breaks off, so does the other: half of something must not
    look like all of it."""
    async with trio.open_nursery() as nursery:

        async def copy(source: trio.SocketStream, sink: trio.SocketStream) -> None:
            try:
                while data := await source.receive_some(CHUNK):
                    await sink.send_all(data)
                await sink.send_eof()
            except (OSError, trio.BrokenResourceError):
                for stream in one, other:
                    _break_off(stream)
                nursery.cancel_scope.cancel()

        nursery.start_soon(copy, one, other)
        nursery.start_soon(copy, other, one)


def _break_off(stream: trio.SocketStream) -> None:
    """Closing it will send a reset in the place of an end (SO_LINGER, socket(7))."""
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
