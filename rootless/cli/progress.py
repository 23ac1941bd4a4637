"""How a pull or push is shown: on a terminal one line a layer, elsewhere a line whenever something has been done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

import click

from ..image.progress import Step, Tell, silence

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_COUNTED = frozenset({"Downloading", "Extracting", "Pushing"})
"""What goes on for a while. In a log, its end is enough."""

_REFRESH = 0.1
"""Seconds between two pictures on a terminal."""


@contextmanager
def shown(stream: TextIO, *, quiet: bool = False) -> Iterator[Tell]:
    """Show steps on `stream` while the block runs."""
    if quiet:
        yield silence
    elif stream.isatty():
        with _Bars(stream) as bars:
            yield bars
    else:
        yield _Lines(stream)


class _Lines:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last: dict[str, str] = {}

    def __call__(self, step: Step) -> None:
        if step.status in _COUNTED or self._last.get(step.digest) == step.status:
            return
        self._last[step.digest] = step.status
        click.echo(f"{step.short}: {step.status}" if step.digest else step.status, file=self._stream)


class _Bars:
    """rich is driven by hand: its own thread must not run, because unpacking forks."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

        from .progress_columns import Counted

        self._progress: Progress = Progress(
            TextColumn("{task.fields[short]}: {task.description}"),
            Counted(BarColumn(bar_width=30)),
            Counted(DownloadColumn()),
            console=Console(file=stream),
            auto_refresh=False,
        )
        self._tasks: dict[str, TaskID] = {}
        self._status: dict[str, str] = {}
        self._drawn = 0.0

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.refresh()
        self._progress.stop()

    def __call__(self, step: Step) -> None:
        task = self._tasks.get(step.digest)
        if task is None:
            task = self._tasks[step.digest] = self._progress.add_task(
                step.status, total=None, short=step.short or "-", counted=False
            )
        counted = {"total": step.total, "completed": step.done} if step.total else {}
        self._progress.update(task, description=step.status, counted=bool(step.total), **counted)  # type: ignore[arg-type]
        changed = self._status.get(step.digest) != step.status
        self._status[step.digest] = step.status
        if changed or time.monotonic() - self._drawn > _REFRESH:
            self._drawn = time.monotonic()
            self._progress.refresh()
