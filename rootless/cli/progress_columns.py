"""Columns of a progress display. Imported with rich, which is slow, only where there is a terminal."""

from __future__ import annotations

from rich.console import RenderableType
from rich.progress import ProgressColumn, Task
from rich.text import Text


class Counted(ProgressColumn):
    """A column that is there only while bytes are counted: `Already exists` needs no bar."""

    def __init__(self, column: ProgressColumn) -> None:
        super().__init__()
        self._column = column

    def render(self, task: Task) -> RenderableType:
        return self._column.render(task) if task.fields["counted"] else Text("")
