"""The channel between the processes of a start: a packet has an end, and what a user typed need not."""

from __future__ import annotations

import pytest

from rootless.runtime.channel import MAX_MESSAGE, Channel, Failed


def through(message: Failed) -> Failed:
    one, other = Channel.pair()
    try:
        one.send(message)
        received, _ = other.receive()
    finally:
        one.close()
        other.close()
    assert isinstance(received, Failed)
    return received


@pytest.mark.parametrize("letter", ["x", "\x01", "€", "\U0001f4a9"])
def test_a_failure_gets_through_however_long_its_words_are(letter: str) -> None:
    """Cut off at the packet's end it would be no message at all, and its exit code lost."""
    long = letter * (2 * MAX_MESSAGE)
    heard = through(Failed(f'exec: "{long}": not found', long, 127, long))
    assert heard.exit_code == 127
    assert heard.message.startswith(f'exec: "{letter}')
    assert heard.message.endswith(f'{letter}": not found')


def test_a_short_failure_is_told_as_it_is() -> None:
    message = Failed("what", "why", 126, "where")
    assert through(message) == message


def test_words_that_are_not_utf8_get_through() -> None:
    assert through(Failed('exec: "no\udcffsuch": not found', "", 127)).message == 'exec: "no\ufffdsuch": not found'
