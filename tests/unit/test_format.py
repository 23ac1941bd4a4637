"""Tables, sizes and ages look as Docker's do."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from rootless.cli.format import (
    Field,
    ago,
    align,
    ellipsis,
    human_duration,
    human_size,
    listing,
    local_time,
    printable,
    short_id,
)
from rootless.cli.template import TemplateError

MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.mark.parametrize(
    ("size", "precision", "expected"),
    [(0, 4, "0B"), (999, 4, "999B"), (1000, 4, "1kB"), (1024, 4, "1.024kB"), (1024, 3, "1.02kB"), (7797760, 3, "7.8MB")]
    + [
        (7797760, 4, "7.798MB"),
        (123456789, 3, "123MB"),
        (10**12, 4, "1TB"),
        (10**27, 4, "1000YB"),
        (1.5e9, 3, "1.5GB"),
    ],
)
def test_sizes_as_go_units_gives_them(size: float, precision: int, expected: str) -> None:
    assert human_size(size, precision) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "Less than a second"),
        (1.9, "1 second"),
        (59, "59 seconds"),
        (MINUTE, "About a minute"),
        (2 * MINUTE, "2 minutes"),
        (59.9 * MINUTE, "59 minutes"),
        (HOUR, "About an hour"),
        (1.4 * HOUR, "About an hour"),
        (1.5 * HOUR, "2 hours"),
        (47 * HOUR, "47 hours"),
        (2 * DAY, "2 days"),
        (13 * DAY, "13 days"),
        (14 * DAY, "2 weeks"),
        (59 * DAY, "8 weeks"),
        (60 * DAY, "2 months"),
        (729 * DAY, "24 months"),
        (730 * DAY, "2 years"),
        (-5, "Less than a second"),
    ],
)
def test_durations_as_go_units_gives_them(seconds: float, expected: str) -> None:
    assert human_duration(seconds) == expected


def test_ages_count_from_now() -> None:
    assert ago(datetime.now(UTC) - timedelta(hours=3)) == "3 hours ago"
    assert ago(None) == "N/A"


def test_times_are_local(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert local_time(datetime(2024, 9, 6, 22, 20, 7, tzinfo=UTC)) == "2024-09-07 00:20:07 +0200 CEST"
        assert local_time(None) == "N/A"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\tb\n", "a         b\n"),
        ("aaaaaaaaaaaa\tb\nc\td\n", "aaaaaaaaaaaa   b\nc              d\n"),
        ("a\tb\tc\nd\n", "a         b         c\nd\n"),
        ("a\tb\nplain\na\tbbbbbbbbbbbbbbb\tc\n", "a         b\nplain\na         bbbbbbbbbbbbbbb   c\n"),
        ("a\t\tc\n\t\tc\n", "a                   c\n                    c\n"),
        ("ä\tb\n", "ä         b\n"),
        ("", ""),
        ("\n", "\n"),
    ],
)
def test_columns_as_tabwriter_sets_them(text: str, expected: str) -> None:
    assert align(text) == expected


FIELDS = {
    "ID": Field[str]("IMAGE ID", lambda row: row),
    "Length": Field[str]("LENGTH", len),
    "Label": Field[str]("", lambda row: lambda name: f"{row}-{name}"),
    "Broken": Field[str]("BROKEN", lambda row: 1 // 0),
}
TABLE = "table {{.ID}}\t{{.Length}}"


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("table", "IMAGE ID   LENGTH\nab         2\nc          1\n"),
        ("table {{.Length}}", "LENGTH\n2\n1\n"),
        (
            "table {{upper .ID}}\\t{{json .Length}}",
            "IMAGE ID   LENGTH\nAB         2\nc          1\n".replace("c ", "C "),
        ),
        (
            'table {{.Label "com.example.my-label_x"}}',
            "my label x\nab-com.example.my-label_x\nc-com.example.my-label_x\n",
        ),
        ("{{.ID}}", "ab\nc\n"),
        ("{{.ID}}\\n{{.Length}}", "ab\n2\nc\n1\n"),
        ("x", "x\nx\n"),
    ],
)
def test_listings(form: str, expected: str) -> None:
    assert listing(["ab", "c"], FIELDS, form, TABLE) == expected


def test_json_has_every_field_that_is_not_to_be_called() -> None:
    fields = {name: field for name, field in FIELDS.items() if name != "Broken"}
    assert listing(["ab"], fields, "json", TABLE) == '{"ID":"ab","Length":2}\n'


def test_without_rows_a_table_is_its_header_and_anything_else_nothing() -> None:
    assert listing([], FIELDS, "table", TABLE) == "IMAGE ID   LENGTH\n"
    assert listing([], FIELDS, "json", TABLE) == listing([], FIELDS, "{{.ID}}", TABLE) == ""


def test_only_what_is_asked_for_is_made() -> None:
    assert listing(["ab"], FIELDS, "{{.ID}}", TABLE) == "ab\n"


def test_a_bad_format_is_refused_even_without_rows() -> None:
    with pytest.raises(TemplateError, match="unclosed action"):
        listing([], FIELDS, "{{.ID", TABLE)


def test_cuts() -> None:
    assert printable("a\x1b[2Jb\nü") == "a\\x1b[2Jb\\nü"
    assert ellipsis("abcdef", 6) == "abcdef"
    assert ellipsis("abcdefg", 6) == "abcde…"
    assert short_id("sha256:0123456789abcdef") == "0123456789ab"
    assert short_id("0123456789abcdef") == "0123456789ab"


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Pacific/Kiritimati"])
def test_gos_zero_time_in_every_zone(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no time of its making, such as the networks that are always there, has this one."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    assert local_time(datetime(1, 1, 1, tzinfo=UTC)).startswith("0001-01-01 ")
    monkeypatch.undo()
    time.tzset()
