"""What a monitor is at, on SIGUSR1: the stack of the process and, under trio, of each of its tasks.

It goes to standard error, which is `monitor.log` in the container's directory.
"""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING

from .trouble import survived

if TYPE_CHECKING:
    from trio.lowlevel import Task


def on_signal() -> None:
    """Have SIGUSR1 do it, instead of ending this process."""
    signal.signal(signal.SIGUSR1, _dump)


def _dump(_: int, frame: FrameType | None) -> None:
    """What a handler raises comes up in whatever the process is just at: of a full disk, nothing may."""
    with survived("its stacks can't be written"):
        import traceback

        print("--- SIGUSR1: the process is here", file=sys.stderr)
        traceback.print_stack(frame, file=sys.stderr)
        if "trio" in sys.modules:
            _dump_tasks()
        print("--- end", file=sys.stderr, flush=True)


def _dump_tasks() -> None:
    lowlevel = sys.modules["trio"].lowlevel
    with suppress(RuntimeError):  # it is imported and does not run
        if (root := lowlevel.current_root_task()) is not None:
            _dump_task(root, 0)


def _dump_task(task: Task, depth: int) -> None:
    import traceback

    margin = "    " * depth
    print(f"{margin}task {task.name}", file=sys.stderr)
    for frame, line in task.iter_await_frames():
        entry = traceback.extract_stack(frame, limit=1)[0]
        print(f"{margin}  {entry.filename}:{line} in {entry.name}: {entry.line}", file=sys.stderr)
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            _dump_task(child, depth + 1)
