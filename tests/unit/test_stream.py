"""Frames come out as they went in, whatever the pieces in which a socket delivers them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.runtime import stream
from rootless.runtime.logs import MAX_LINE, LogWriter


@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=50)), max_size=10),
    st.lists(st.integers(1, 7), min_size=1, max_size=100),
)
def test_any_cut(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data = b"".join(stream.frame(number, payload) for number, payload in frames)
    parser, found, position = stream.Frames(), [], 0
    for cut in [*cuts, len(data)]:
        found += list(parser.feed(data[position : position + cut]))
        position += cut
    assert found == frames


@pytest.mark.parametrize("header", [b"\x00\0\0\0\0\0\0\1x", b"\x01\0\0\0\xff\xff\xff\xff", b"GET / HT"])
def test_a_stranger_on_the_socket_is_refused(header: bytes) -> None:
    with pytest.raises(ValueError, match="not a frame"):
        list(stream.Frames().feed(header))


def test_every_message_comes_back() -> None:
    one, other = stream.Connection.pair()
    sent = [stream.Started("ab"), stream.Exited(3, "why"), stream.Signal(15), stream.Resize(24, 80)]
    sent.append(stream.StartFailed("no", "do this", 127, "trace"))
    for message in sent:
        one.send(message)
    assert [other.receive() for _ in sent] == sent
    one.close()
    assert other.receive() is None
    other.close()


def test_log_lines_are_dockers(tmp_path) -> None:
    """Partial lines wait for their end, long ones come in parts, odd bytes do no harm."""
    import json

    log = LogWriter(tmp_path / "log")
    log.write(1, b"one\ntw")
    log.write(2, b"err\n")
    log.write(1, b"o\n\xff" + b"x" * (MAX_LINE + 5))
    log.close()
    entries = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    texts = [(e["stream"], e["log"]) for e in entries]
    assert texts[:3] == [("stdout", "one\n"), ("stderr", "err\n"), ("stdout", "two\n")]
    assert "".join(text for _, text in texts[3:]) == "\ufffd" + "x" * (MAX_LINE + 5)
    assert all(set(e) == {"log", "stream", "time"} for e in entries)


def test_a_silent_container_has_no_log(tmp_path) -> None:
    LogWriter(tmp_path / "log").close()
    assert not (tmp_path / "log").exists()


def test_a_full_disk_is_survived(tmp_path) -> None:
    """/dev/full answers ENOSPC to every write: the failure is kept, the container goes on."""
    log = LogWriter(tmp_path / "log")
    (tmp_path / "log").symlink_to("/dev/full")
    log.write(1, b"lost\n")
    assert log.failure is not None
    log.close()
