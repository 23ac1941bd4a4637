"""netlink(7): messages of attributes to the kernel, and its answers. What they mean is netlink.py's and nftables.py's.

A socket speaks of the network namespace in which it was made, whatever namespace its process enters later.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import NamedTuple

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x200, 0x400, 0x800
NLM_F_DUMP_INTR = 0x10
NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE = 1, 2, 3
NLA_F_NESTED, _TYPE_MASK = 0x8000, 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

BUFFER = 1 << 17
"""Bytes of one packet: the kernel gives a list in pieces of at most 32 KiB; single messages are far smaller."""

MAX_DUMPS = 20
"""How often something is listed again that changed while it was listed."""

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type


class Message(NamedTuple):
    """One of the kernel's."""

    kind: int
    flags: int
    sequence: int
    body: bytes


class Request(NamedTuple):
    """One to the kernel; `flags` beside NLM_F_REQUEST."""

    kind: int
    flags: int
    body: bytes


class Conversation:
    """A socket of one of netlink's families. OSError when the kernel does not have it.

    Its requests raise OSError with the kernel's errno.
    """

    def __init__(self, family: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
        try:
            self._socket.bind((0, 0))
        except BaseException:
            self._socket.close()
            raise
        self._sequence = 0

    def __enter__(self) -> Conversation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def ask(self, request: Request, what: str | None = None) -> list[bytes]:
        """What the kernel answers before it acknowledges the request: nothing to a change.

        Args:
            what: the request is about, for the error.
        """
        self._send([request._replace(flags=request.flags | NLM_F_ACK)])
        answers: list[bytes] = []
        for message in self._messages():
            if message.kind == NLMSG_ERROR:  # an acknowledgement is an error of 0
                raise_unless_zero(message.body, what)
                return answers
            answers.append(message.body)
        raise AssertionError("messages end with their acknowledgement")

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """A whole list. One during which something changed may lack what was there all the time, and is asked for again
        (NLM_F_DUMP_INTR)."""
        for _ in range(MAX_DUMPS):
            answers, whole = self._dump(kind, body)
            if whole:
                return answers
        raise OSError(errno.EAGAIN, "the list changes faster than the kernel can give it")

    def _dump(self, kind: int, body: bytes) -> tuple[list[bytes], bool]:
        self._send([Request(kind, NLM_F_DUMP, body)])
        answers, whole = [], True
        for message in self._messages():
            whole = whole and not message.flags & NLM_F_DUMP_INTR
            if message.kind in (NLMSG_DONE, NLMSG_ERROR):
                raise_unless_zero(message.body)
                break
            answers.append(message.body)
        return answers, whole

    def all_or_none(self, requests: Sequence[Request], begin: Request, end: Request) -> None:
        """Requests between two that make one of them; each is acknowledged, and the first error is raised."""
        self._send([begin, *(request._replace(flags=request.flags | NLM_F_ACK) for request in requests), end])
        acknowledged = 0
        for message in self._messages(len(requests) + 2):
            if message.kind == NLMSG_ERROR:
                raise_unless_zero(message.body)
                acknowledged += 1
            if acknowledged == len(requests):
                return

    def _send(self, requests: Sequence[Request]) -> None:
        packets = []
        for kind, flags, body in requests:
            self._sequence += 1
            packets.append(
                _HEADER.pack(_HEADER.size + len(body), kind, flags | NLM_F_REQUEST, self._sequence, 0) + body
            )
        self._socket.send(b"".join(packets))

    def _messages(self, last: int = 1) -> Iterator[Message]:
        """The answers to the last so many requests, without end: who reads knows which one is the end."""
        while True:
            data, _, flags, (sender, _) = self._socket.recvmsg(BUFFER)
            if flags & socket.MSG_TRUNC:
                raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
            if sender:
                continue  # only the kernel has the port 0
            for message in parse(data):
                if message.kind != NLMSG_NOOP and 0 <= self._sequence - message.sequence < last:
                    yield message


def parse(data: bytes) -> Iterator[Message]:
    """The messages of one packet. OSError EBADMSG for one whose length is not true."""
    position = 0
    while position + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, position)
        if not _HEADER.size <= length <= len(data) - position:
            raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))
        yield Message(kind, flags, sequence, data[position + _HEADER.size : position + length])
        position += (length + 3) & ~3


def raise_unless_zero(body: bytes, what: str | None = None) -> None:
    """OSError for the number that NLMSG_ERROR and NLMSG_DONE begin with, if it is one."""
    number = -int(struct.unpack_from("=i", body)[0]) if len(body) >= 4 else 0
    if number:
        raise OSError(number, os.strerror(number), what)


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    data = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value
    return data + b"\0" * (-len(data) % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, value) of each attribute, up to one that can't be."""
    position = 0
    while position + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, position)
        if not _ATTRIBUTE.size <= length <= len(data) - position:
            return
        yield kind & _TYPE_MASK, data[position + _ATTRIBUTE.size : position + length]
        position += (length + 3) & ~3
