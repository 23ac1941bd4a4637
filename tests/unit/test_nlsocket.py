"""netlink(7) as the kernel may answer: in parts, cut off, interrupted, with what belongs to others between."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.kernel import nlsocket
from rootless.kernel.netlink import Netlink
from rootless.kernel.nlsocket import NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, Conversation, Request, parse

KIND = 16


def message(kind: int, sequence: int, body: bytes = b"", flags: int = 0) -> bytes:
    data = struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body
    return data + b"\0" * (-len(data) % 4)


def number(value: int) -> bytes:
    return struct.pack("=i", value)


class Kernel:
    """In the place of the socket: gives what a test has laid out for it."""

    def __init__(self, *packets: bytes | tuple[bytes, int, int]) -> None:
        self.packets = list(packets)
        self.asked: list[int] = []

    def send(self, data: bytes) -> None:
        self.asked += [one.sequence for one in parse(data)]

    def recvmsg(self, size: int) -> tuple[bytes, list[object], int, tuple[int, int]]:
        packet = self.packets.pop(0)
        data, flags, sender = packet if isinstance(packet, tuple) else (packet, 0, 0)
        return data, [], flags, (sender, 0)


def conversation(*packets: bytes | tuple[bytes, int, int]) -> Conversation:
    made = object.__new__(Conversation)
    made._socket, made._sequence = Kernel(*packets), 0  # type: ignore[assignment]
    return made


def test_a_list_in_parts_and_what_belongs_to_others_between() -> None:
    found = conversation(
        message(KIND, 1, b"one.") + message(KIND, 7, b"of an earlier request"),
        (message(KIND, 1, b"of another process"), 0, 4711),
        message(KIND, 1, b"two.") + message(KIND, 1, b"3"),
        message(NLMSG_DONE, 1, number(0)),
    ).dump(KIND, b"")
    assert found == [b"one.", b"two.", b"3"]


def test_a_list_that_changed_meanwhile_is_asked_for_again() -> None:
    talk = conversation(
        message(KIND, 1, b"old."),
        message(KIND, 1, b"torn", NLM_F_DUMP_INTR),
        message(NLMSG_DONE, 1, number(0)),
        message(KIND, 2, b"new.") + message(NLMSG_DONE, 2, number(0)),
    )
    assert talk.dump(KIND, b"") == [b"new."]


def test_a_list_that_never_stands_still_ends_with_an_error() -> None:
    torn = [message(NLMSG_DONE, n + 1, number(0), NLM_F_DUMP_INTR) for n in range(nlsocket.MAX_DUMPS)]
    with pytest.raises(OSError, match="changes faster") as caught:
        conversation(*torn).dump(KIND, b"")
    assert caught.value.errno == errno.EAGAIN


def test_half_a_packet_is_no_packet() -> None:
    with pytest.raises(OSError) as caught:
        conversation((message(KIND, 1, b"x" * 40)[:32], socket.MSG_TRUNC, 0)).dump(KIND, b"")
    assert caught.value.errno == errno.EMSGSIZE


@pytest.mark.parametrize("end", [NLMSG_DONE, NLMSG_ERROR])
def test_a_list_may_end_with_an_error(end: int) -> None:
    with pytest.raises(PermissionError):
        conversation(message(KIND, 1, b"one."), message(end, 1, number(-errno.EPERM))).dump(KIND, b"")


def test_a_change_is_acknowledged_or_refused() -> None:
    assert conversation(message(NLMSG_ERROR, 1, number(0))).ask(Request(KIND, 0, b"")) == []
    with pytest.raises(FileExistsError, match="veth0"):
        conversation(message(NLMSG_ERROR, 1, number(-errno.EEXIST))).ask(Request(KIND, 0, b""), "veth0")


def test_of_several_changes_the_first_error_counts() -> None:
    begin, end, change = Request(1, 0, b""), Request(2, 0, b""), Request(KIND, 0, b"")
    acknowledged = [message(NLMSG_ERROR, n, number(0)) for n in (2, 3)]
    conversation(b"".join(acknowledged)).all_or_none([change, change], begin, end)
    refused = message(NLMSG_ERROR, 3, number(-errno.ENOENT))
    with pytest.raises(FileNotFoundError):
        conversation(acknowledged[0], refused).all_or_none([change, change], begin, end)
    with pytest.raises(OSError) as caught:  # of a kernel without the subsystem: about the beginning
        conversation(message(NLMSG_ERROR, 1, number(-errno.EOPNOTSUPP))).all_or_none([change], begin, end)
    assert caught.value.errno == errno.EOPNOTSUPP


@given(st.binary(max_size=100))
def test_lengths_that_lie_end_it(data: bytes) -> None:
    found: list[nlsocket.Message] = []
    with contextlib.suppress(OSError):
        found.extend(parse(data))
    assert sum(16 + len(one.body) for one in found) <= len(data)
    assert sum(4 + len(value) for _, value in nlsocket.attributes(data)) <= len(data)


def test_a_message_without_length_is_no_endless_list() -> None:
    with pytest.raises(OSError) as caught:
        list(parse(bytes(64)))
    assert caught.value.errno == errno.EBADMSG


def test_the_real_kernel() -> None:
    with Netlink() as netlink:
        assert netlink.link("lo") in netlink.links()
        assert netlink.link("no-such-link") is None
