"""The file of events: rotations beside readers and writers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rootless import events
from rootless.paths import Paths, locate


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(events, "LIMIT", 500)
    return locate(str(tmp_path / "store"))


def emit(paths: Paths, *actions: str) -> None:
    for action in actions:
        events.emit(paths, "container", action, "f" * 64, {})


def read(reader: events.Reader) -> list[str]:
    return [event.action for event in reader.read()]


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_every_event_is_read_once_and_in_order(paths: Paths, step: int) -> None:
    """Three fill a file: each look meets the rotations at another place, and never more than one."""
    actions = [str(number) for number in range(40)]
    reader, seen = events.Reader(paths), []
    for first in range(0, 40, step):
        emit(paths, *actions[first : first + step])
        seen += read(reader)
    assert seen == actions
    assert read(reader) == []
    assert events.file(paths).with_name("events.1").exists()
    reader.close()


def test_what_a_missed_rotation_left_is_read(paths: Paths) -> None:
    """Two rotations between two looks: the rest of the file that is open, then that of the older one."""
    reader = events.Reader(paths)
    emit(paths, "0")
    assert read(reader) == ["0"]
    emit(paths, "1", "2", "3", "4", "5", "6", "7")
    assert read(reader) == ["1", "2", "3", "4", "5", "6", "7"]
    reader.close()


def test_a_writer_that_is_late(paths: Paths) -> None:
    """It opened the file before a rotation: what it writes is read, and it moves no other file away."""
    reader = events.Reader(paths)
    emit(paths, "0")
    late = os.open(events.file(paths), os.O_WRONLY | os.O_APPEND)
    line = events.file(paths).read_bytes().replace(b'"0"', b'"late"')
    emit(paths, "1", "2", "3", "4")
    assert read(reader) == ["0", "1", "2", "3", "4"]
    os.write(late, line)
    events._rotate(late, events.file(paths))
    os.close(late)
    emit(paths, "5")
    assert read(reader) == ["late", "5"]
    reader.close()
