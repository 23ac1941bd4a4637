"""How things are shown: tables, sizes, ages, ids; as Docker's command line shows them.

A listing is rows, fields and a format. A field has the column's header and says what it makes of a row; a format is
`table`, `json`, or a template, with `table ` before it for a table of other columns:

    FIELDS = {"ID": Field("IMAGE ID", lambda image: image.short_id), ...}
    print_rows(images, FIELDS, format or "table", "table {{.ID}}\\t{{.Size}}")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import click

from .template import Template

T = TypeVar("T")

MIN_WIDTH = 10
PADDING = 3
"""Of a table's columns, in characters: the numbers that Docker gives Go's text/tabwriter."""

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")


@dataclass(frozen=True)
class Field(Generic[T]):
    """One column: its header, and its value in a row.

    A value may be callable, to be called with the template's arguments; its header is then empty (see `label_header`).
    """

    header: Any
    value: Callable[[T], Any]


def print_rows(rows: Iterable[T], fields: Mapping[str, Field[T]], form: str, table: str) -> None:
    """Write a listing to standard output.

    Args:
        form: what `--format` said, or `table`, for which nothing at all stands as well.
        table: the template of the default table, with `table ` before it.

    Raises:
        TemplateError: the format is not a template, or names a field that there isn't.
    """
    text = listing(rows, fields, form, table)
    if text:
        click.echo(text, nl=False)


def listing(rows: Iterable[T], fields: Mapping[str, Field[T]], form: str, table: str) -> str:
    """What `print_rows` prints. In a template `\\t` and `\\n` stand for the characters: shells don't make them."""
    form = table if form in ("", "table") else "{{json .}}" if form == "json" else form
    is_table = form.startswith("table")
    body = form.removeprefix("table") if is_table else form
    template = Template(body.strip(" ").replace("\\t", "\t").replace("\\n", "\n"))
    lines = [template.render(_Row(row, fields)) + "\n" for row in rows]
    if not is_table:
        return "".join(lines)
    header = template.render({name: field.header or label_header for name, field in fields.items()}, header=True)
    return align("".join([header + "\n", *lines]))


class _Row(Mapping[str, Any]):
    """A row as a template sees it: only the fields it asks for are made."""

    def __init__(self, row: Any, fields: Mapping[str, Field[Any]]) -> None:
        self._row = row
        self._fields = fields

    def __getitem__(self, name: str) -> Any:
        return self._fields[name].value(self._row)

    def __iter__(self) -> Any:
        return (name for name in sorted(self._fields) if not callable(self[name]))

    def __len__(self) -> int:
        return len(self._fields)

    def __contains__(self, name: object) -> bool:
        return name in self._fields


def label_header(name: str) -> str:
    """The header over a column of `{{.Label "com.example.some-thing"}}`: `some thing`."""
    return name.rpartition(".")[2].replace("-", " ").replace("_", " ")


def align(text: str) -> str:
    """Cells parted by tabs, in columns, as Go's tabwriter sets them.

    A column is a block of consecutive lines that have a tab after that cell: a line with fewer cells ends it.
    """
    lines = [line.split("\t") for line in text.split("\n")]
    widths: list[list[int]] = [[] for _ in lines]
    _measure(lines, widths, 0, len(lines))
    return "\n".join(_set(cells, own) for cells, own in zip(lines, widths, strict=True))


def _measure(lines: list[list[str]], widths: list[list[int]], start: int, end: int) -> None:
    """Find the widths of the columns to the right of those that lines `start` to `end` share already."""
    column = len(widths[start]) if start < end else 0
    at = start
    while at < end:
        stop = at
        while stop < end and column < len(lines[stop]) - 1:
            stop += 1
        if stop > at:
            width = max([MIN_WIDTH, *(len(line[column]) + PADDING for line in lines[at:stop])])
            for own in widths[at:stop]:
                own.append(width)
            _measure(lines, widths, at, stop)
        at = max(stop, at + 1)


def _set(cells: list[str], widths: list[int]) -> str:
    return "".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=False)) + "".join(
        cells[len(widths) :]
    )


def human_size(size: float, precision: int = 4) -> str:
    """Bytes in decimal units with so many digits: `7.8MB`, `1.04kB` (go-units' HumanSizeWithPrecision)."""
    unit = 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        size /= 1000
        unit += 1
    return f"{size:.{precision}g}{_UNITS[unit]}"


def human_duration(seconds: float) -> str:
    """A duration in words, `About an hour`, `3 days` (go-units' HumanDuration, with its rounding)."""
    whole, minutes, hours = int(seconds), int(seconds / 60), int(seconds / 3600 + 0.5)
    if whole < 60:
        return "Less than a second" if whole < 1 else "1 second" if whole == 1 else f"{whole} seconds"
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    for limit, unit, word in ((24 * 14, 24, "days"), (24 * 60, 24 * 7, "weeks"), (24 * 365 * 2, 24 * 30, "months")):
        if hours < limit:
            return f"{hours // unit} {word}"
    return f"{int(seconds / 3600) // 24 // 365} years"


def ago(moment: datetime | None) -> str:
    """`2 hours ago`; `N/A` for a moment that is not known."""
    if moment is None:
        return "N/A"
    return f"{human_duration((datetime.now(UTC) - moment).total_seconds())} ago"


def local_time(moment: datetime | None) -> str:
    """A moment in the local zone as Go prints it: `2024-09-06 22:20:07 +0000 UTC`."""
    if moment is None:
        return "N/A"
    try:
        there = moment.astimezone()
    except OverflowError:  # Go's zero time, in a zone west of Greenwich
        there = moment
    return f"{there.year:04}" + there.strftime("-%m-%d %H:%M:%S %z ") + (there.tzname() or "")


def ellipsis(text: str, width: int) -> str:
    """`text`, cut to `width` characters, the last of which then is a horizontal ellipsis."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def printable(text: str) -> str:
    """`text` with escapes in place of what would move the cursor or do worse: it may come out of somebody's image."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def short_id(identifier: str) -> str:
    """The 12 digits of an id or digest that tables show."""
    return identifier.rpartition(":")[2][:12]
