"""The texts of options: what Docker takes is taken, and what it refuses is refused in its words."""

from __future__ import annotations

import pytest

from rootless.cli import flags
from rootless.cli.container_options import size, ulimit
from rootless.cli.env_options import environment, labels
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
    @flags.command(interspersed=False)
    @flags.option("--rm", boolean=True)
    @flags.option("-i", "--interactive", boolean=True)
    @flags.option("-t", "--tty", boolean=True)
    @flags.option("-d", "--detach", boolean=True)
    @flags.option("-e", "--env", multiple=True)
    @flags.option("-n", "--count", integer=True)
    @flags.option("--kind", choices=("a", "b"))
    @flags.option("--sig", off="--no-sig", boolean=True, default=True)
    @flags.argument("rest", many=True)
    def command() -> None:
        """Only its line is read."""

    return command.read("rootless command", words)


@pytest.mark.parametrize("words", ["-it", "-ti", "-i -t", "-itd", "--interactive=true -t=1", "-it=true"])
def test_bundles(words: str) -> None:
    given = parse(*words.split(), "image")
    assert given["interactive"] and given["tty"]
    assert given["rest"] == ("image",)


def test_booleans_with_a_value() -> None:
    given = parse("--rm=false", "-i=false", "--sig=false", "image")
    assert (given["rm"], given["interactive"], given["sig"]) == (False, False, False)
    with pytest.raises(flags.LineError, match='invalid argument "maybe" for "--rm" flag'):
        parse("--rm=maybe", "image")


def test_nothing_after_the_image_is_an_option_of_ours() -> None:
    given = parse("-e", "A=1", "image", "cmd", "--rm=false", "-i", "--", "-e")
    assert given["rest"] == ("image", "cmd", "--rm=false", "-i", "--", "-e")
    assert given["env"] == ("A=1",)


def test_an_options_value_is_not_looked_into() -> None:
    assert parse("-e", "--rm=false", "-ie", "-t=1", "image")["env"] == ("--rm=false", "-t=1")


@pytest.mark.parametrize(
    ("words", "env"),
    [
        ("-eA=1", "A=1"),
        ("-e=A=1", "A=1"),
        ("--env=A=1", "A=1"),
        ("-ie A", "A"),
        ("-itdeA", "A"),
        ("-e -", "-"),
        ("-e --", "--"),
    ],
)
def test_where_a_value_may_stand(words: str, env: str) -> None:
    given = parse(*words.split(), "image")
    assert (given["env"], given["rest"]) == ((env,), ("image",))


def test_the_last_boolean_counts() -> None:
    assert parse("--rm", "--rm=false", "image")["rm"] is False
    assert parse("--no-sig", "--sig", "image")["sig"] is True
    assert parse("--no-sig", "image")["sig"] is False


def test_two_hyphens_end_the_options() -> None:
    assert parse("--rm", "--", "--image", "-i")["rest"] == ("--image", "-i")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--nope", "unknown flag: --nope"),
        ("--nope=1", "unknown flag: --nope"),
        ("--=1", "bad flag syntax: --=1"),
        ("-itZq", "unknown shorthand flag: 'Z' in -Zq"),
        ("-te", "flag needs an argument: 'e' in -e"),
        ("--env", "flag needs an argument: --env"),
        ("--count x", 'invalid argument "x" for "-n, --count" flag: strconv.ParseInt: parsing "x": invalid syntax'),
        ("--kind c", 'invalid argument "c" for "--kind" flag: must be one of a, b'),
    ],
)
def test_lines_that_do_not_parse(words: str, message: str) -> None:
    with pytest.raises(flags.LineError) as caught:
        parse(*words.split())
    assert caught.value.message == message
    assert caught.value.exit_code == 125


def test_help_is_found_where_it_stands() -> None:
    for words in (("--help",), ("-h",), ("-ith",), ("--rm", "--help", "--nope")):
        with pytest.raises(flags.HelpWanted):
            parse(*words)
    assert parse("image", "--help")["rest"] == ("image", "--help")


def test_the_environment_speaks_for_an_option_that_is_not_given() -> None:
    line = flags.Line([flags.Option(("--driver",), "driver", default="auto", envvar="DRIVER")], interspersed=True)
    assert line.result({}) == line.result({"DRIVER": ""}) == {"driver": "auto"}
    assert line.result({"DRIVER": "cow"}) == {"driver": "cow"}
    line.feed_all(["--driver", "overlay"])
    assert line.result({"DRIVER": "cow"}) == {"driver": "overlay"}


@pytest.mark.parametrize(
    ("low", "high", "words", "message"),
    [
        (1, 1, "", "requires 1 argument"),
        (2, 2, "a", "requires 2 arguments"),
        (0, 0, "a", "accepts no arguments"),
        (1, None, "", "requires at least 1 argument"),
        (0, 1, "a b", "requires at most 1 argument"),
        (1, 2, "a b c", "requires at least 1 and at most 2 arguments"),
    ],
)
def test_arguments_are_counted(low: int, high: int | None, words: str, message: str) -> None:
    command = flags.Command(lambda: None, at_least=low, at_most=high)
    with pytest.raises(flags.LineError, match=f"'rootless x' {message}$") as caught:
        command.read("rootless x", words.split())
    assert caught.value.exit_code == 1
