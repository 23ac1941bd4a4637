"""The texts of options: what Docker takes is taken, and what it refuses is refused in its words."""

from __future__ import annotations

import click
import pytest

from rootless.cli.container_options import size, ulimit
from rootless.cli.env_options import environment, labels
from rootless.cli.options import Command
from rootless.container.environment import merge_environment
from rootless.container.record import Ulimit
from rootless.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("64m", 64 << 20),
        ("64M", 64 << 20),
        ("1g", 1 << 30),
        ("1.5k", 1536),
        ("10kb", 10240),
        ("2GiB", 2 << 30),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert size(text, "--shm-size") == expected


@pytest.mark.parametrize("text", ["", "m", "-1", "1x", "1mm", "0x10", "1 2"])
def test_bad_sizes(text: str) -> None:
    with pytest.raises(UsageError, match="invalid size"):
        size(text, "--shm-size")


def test_ulimits() -> None:
    assert ulimit("nofile=1024:2048") == Ulimit("nofile", 1024, 2048)
    assert ulimit("nofile=512") == Ulimit("nofile", 512, 512)
    assert ulimit("core=-1") == Ulimit("core", -1, -1)
    assert ulimit("core=0:-1") == Ulimit("core", 0, -1)
    assert ulimit("locks=7") == Ulimit("locks", 7, 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nofile", "invalid ulimit argument"),
        ("nofile=a", "invalid ulimit argument"),
        ("nofile=1:2:3", "invalid ulimit argument"),
        ("files=1", "invalid ulimit type: files"),
        ("nofile=5:3", "soft limit must be less than or equal to hard limit: 5 > 3"),
        ("nofile=-1:3", "soft limit must be"),
    ],
)
def test_bad_ulimits(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ulimit(text)


def test_environment(tmp_path, monkeypatch) -> None:
    """Files first, comments and blanks left out, no quoting; a bare name takes the caller's value or nothing."""
    monkeypatch.setenv("GIVEN", "here")
    monkeypatch.delenv("ABSENT", raising=False)
    file = tmp_path / "env"
    file.write_text('# comment\n\n  A="q"\nGIVEN\nB=x=y \n')
    assert list(environment(["C=", "GIVEN", "ABSENT"], [str(file)])) == [
        'A="q"',
        "GIVEN=here",
        "B=x=y ",
        "C=",
        "GIVEN=here",
    ]


def test_lines_of_an_environment_file_end_with_a_newline_alone(tmp_path) -> None:
    """What else Unicode or Python take for the end of a line is a part of the value: as in Docker, secrets hold it."""
    file = tmp_path / "env"
    file.write_bytes("\ufeffA=1\u2028B=2\x85\f\x0bC\rD\r\nE=\r\r\n\u2028F=3\n".encode())
    assert list(environment([], [str(file)])) == ["A=1\u2028B=2\x85\f\x0bC\rD", "E=\r", "F=3"]
    assert list(labels([], [str(file)])) == [("A", "1\u2028B=2\x85\f\x0bC\rD"), ("E", "\r"), ("F", "3")]


def test_bad_environment(tmp_path) -> None:
    with pytest.raises(UsageError, match='^invalid argument "=x" for "-e, --env" flag: invalid environment var.*: =x$'):
        list(environment(["=x"], []))
    (tmp_path / "env").write_bytes(b"A=1\n=x\n")
    with pytest.raises(UsageError, match=r"^invalid env file \(.*/env\): no variable name on line '=x'$"):
        list(environment([], [str(tmp_path / "env")]))
    (tmp_path / "env").write_bytes(b"A=1\nB=\xff\n")
    with pytest.raises(UsageError, match="invalid utf8 bytes at line 2"):
        list(environment([], [str(tmp_path / "env")]))
    (tmp_path / "env").write_text("a b=1\n")
    with pytest.raises(UsageError, match="variable 'a b' contains whitespaces"):
        list(environment([], [str(tmp_path / "env")]))


def test_a_later_variable_takes_the_place_of_an_earlier_one() -> None:
    assert merge_environment(["PATH=/bin", "A=1"], ["A=2", "B=3"], ["PATH=/x"]) == ("PATH=/x", "A=2", "B=3")


def parse(*words: str) -> dict[str, object]:
    @click.command(cls=Command, interspersed=False)
    @click.option("--rm", is_flag=True)
    @click.option("-i", "--interactive", is_flag=True)
    @click.option("-t", "--tty", is_flag=True)
    @click.option("-d", "--detach", is_flag=True)
    @click.option("-e", "--env", multiple=True)
    @click.option("--sig/--no-sig", default=True)
    @click.argument("rest", nargs=-1, type=click.UNPROCESSED)
    def command(**given: object) -> dict[str, object]:
        return given

    return command.main(list(words), standalone_mode=False)  # type: ignore[no-any-return]


@pytest.mark.parametrize("words", ["-it", "-ti", "-i -t", "-itd", "--interactive=true -t=1", "-it=true"])
def test_bundles(words: str) -> None:
    given = parse(*words.split(), "image")
    assert given["interactive"] and given["tty"]
    assert given["rest"] == ("image",)


def test_booleans_with_a_value() -> None:
    given = parse("--rm=false", "-i=false", "--sig=false", "image")
    assert (given["rm"], given["interactive"], given["sig"]) == (False, False, False)
    with pytest.raises(click.BadParameter, match='invalid argument "maybe" for "--rm" flag'):
        parse("--rm=maybe", "image")


def test_nothing_after_the_image_is_an_option_of_ours() -> None:
    given = parse("-e", "A=1", "image", "cmd", "--rm=false", "-i", "--", "-e")
    assert given["rest"] == ("image", "cmd", "--rm=false", "-i", "--", "-e")
    assert given["env"] == ("A=1",)


def test_an_options_value_is_not_looked_into() -> None:
    assert parse("-e", "--rm=false", "-ie", "-t=1", "image")["env"] == ("--rm=false", "-t=1")
