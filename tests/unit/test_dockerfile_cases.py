"""Each instruction and option, well said and badly said; and whatever is thrown at the parser."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rootless.build import instructions as ins
from rootless.build.interpret import read, trigger
from rootless.build.mounts import parse_mount
from rootless.build.parser import INSTRUCTIONS, dump, parse
from rootless.build.place import DockerfileError
from rootless.errors import InvalidError
from rootless.image.expand import Expander, Lexer
from tests.build.cases import BAD, BAD_MOUNTS, FROM, GOOD, MOUNTS


def expanded(text: str) -> list[ins.Instruction]:
    """The instructions of the only stage, each with the variables of those before it."""
    found: list[ins.Instruction] = []
    environment: dict[str, str] = {}
    for instruction in read(text.encode()).stages[0].instructions:
        found.append(instruction.expanded(Expander(environment)))
        if isinstance(found[-1], ins.Env):
            environment |= {pair.name: pair.value for pair in found[-1].pairs}
    return found


def shown(instruction: ins.Instruction, field: str) -> Any:
    """A field, in the short form that the cases have it in."""
    if isinstance(instruction, ins.Healthcheck):
        return getattr(instruction.config, field)
    if field == "documents":
        assert isinstance(instruction, ins.Run)
        return [document.text for document in instruction.heredocs]
    value = getattr(instruction, field)
    if field in ("pairs", "arguments"):
        return tuple((pair.name, pair.value) for pair in value)
    return tuple((item.name, item.content) for item in value) if field == "inline" else value


@pytest.mark.parametrize("name", GOOD)
def test_well_said(name: str) -> None:
    text, expected = GOOD[name]
    found = expanded(FROM + text)
    assert [instruction.word for instruction in found] == [word for word, _ in expected]
    for instruction, (_, fields) in zip(found, expected, strict=True):
        assert {field: shown(instruction, field) for field in fields} == fields


@pytest.mark.parametrize("name", BAD)
def test_badly_said(name: str) -> None:
    text, expected = BAD[name]
    with pytest.raises(DockerfileError) as caught:
        expanded(FROM + text)
    assert str(caught.value) == f"Dockerfile:2: {expected}"
    assert f"   2 | >>> {text.splitlines()[0]}" in caught.value.picture


@pytest.mark.parametrize("name", MOUNTS)
def test_mounts(name: str) -> None:
    text, expected = MOUNTS[name]
    mount = parse_mount(text, Expander({"v": "1"}))
    assert {field: getattr(mount, field) for field in expected} == expected


@pytest.mark.parametrize("name", BAD_MOUNTS)
def test_bad_mounts(name: str) -> None:
    text, expected = BAD_MOUNTS[name]
    with pytest.raises(InvalidError) as caught:
        parse_mount(text, Expander({}))
    assert str(caught.value) == expected


def test_enough_cases() -> None:
    assert len(GOOD) >= 60 and len(BAD) >= 60
    said = {word for _, expected in GOOD.values() for word, _ in expected} | {"FROM"}
    assert said == set(INSTRUCTIONS)


def test_stages() -> None:
    dockerfile = read(b"ARG v=1\nFROM --platform=$p a:$v AS Base\nRUN x\nfrom base\nRUN y\n")
    assert [argument.name for arg in dockerfile.arguments for argument in arg.arguments] == ["v"]
    first, second = dockerfile.stages
    assert (first.name, first.origin.platform, second.name, second.origin.image) == ("base", "$p", "", "base")
    assert first.origin.expanded(Expander({"v": "2", "p": "linux/arm"})).image == "a:2"
    assert [len(stage.instructions) for stage in dockerfile.stages] == [1, 1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RUN a", "Dockerfile:1: no build stage in current context; only ARG may stand before the first FROM"),
        ("ARG a", "Dockerfile: dockerfile contains no stages to build"),
    ],
)
def test_no_stages(text: str, expected: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        read(text.encode())
    assert str(caught.value) == expected


def test_triggers() -> None:
    found = trigger("COPY <<E /x\na\nE", "base:1")
    assert isinstance(found, ins.Copy) and found.inline[0].content == "a\n"
    for text, expected in {
        "RUN a\nRUN b": "ONBUILD of base:1:2: onbuild trigger should be a single expression",
        "FROM x": "ONBUILD of base:1:1: FROM isn't allowed as an ONBUILD trigger",
        "": "ONBUILD of base:1: the Dockerfile cannot be empty; a Dockerfile begins with a FROM instruction",
    }.items():
        with pytest.raises(DockerfileError) as caught:
            trigger(text, "base:1")
        assert str(caught.value) == expected


WORDS = {
    "${x:-y}": "1",
    "${n:-y}": "y",
    "${n-y}": "y",
    "${e-y}": "",
    "${e:-y}": "y",
    "${x:+y}": "y",
    "${e:+y}": "",
    "${e+y}": "y",
    "${n+y}": "",
    "${x:?no}": "1",
    "${n:-${x}$x}": "11",
    "${p#*/}": "b/a.tar.gz",
    "${p##*/}": "a.tar.gz",
    "${p%.*}": "a/b/a.tar",
    "${p%%.*}": "a/b/a",
    "${p%%/?/*}": "a",
    "${p#x}": "a/b/a.tar.gz",
    "${p/a/A}": "A/b/a.tar.gz",
    "${p//a/A}": "A/b/A.tAr.gz",
    "${p//\\//-}": "a-b-a.tar.gz",
    "${p/a*r/x}": "x.gz",
    "${x/1/}": "",
    "a$x.b": "a1.b",
    '"$x"': "1",
    "'$x'": "$x",
    "\\$x": "$x",
    '"a\\b\\"c"': 'a\\b"c',
    "a\\b": "ab",
    "$": "$",
    "a$": "a$",
    "$1": "",
    "<<E": "<<E",
}


@pytest.mark.parametrize("word", WORDS)
def test_words(word: str) -> None:
    assert Expander({"x": "1", "e": "", "p": "a/b/a.tar.gz"}).word(word) == WORDS[word]


def test_what_was_named() -> None:
    expander = Expander({"a": "1"})
    assert expander.words('$a b "c d" ${e}') == ["1", "b", "c d"]
    assert (expander.used, expander.missing) == ({"a"}, {"e"})


def test_another_escape() -> None:
    assert Expander({"x": "1"}, escape="`").word("`$x\\$x") == "$x\\1"


def test_values_do_not_grow_for_ever() -> None:
    with pytest.raises(InvalidError, match="the result is longer than"):
        Expander({"a": "x" * (1 << 20)}).word("$a" * 40)


def test_nesting_does_not_end_in_a_traceback() -> None:
    with pytest.raises(InvalidError, match="nested too deeply"):
        Expander({}).word("${a:-" * 5000 + "}" * 5000)


PIECES = st.sampled_from(
    [*INSTRUCTIONS, "\n", "\\\n", " ", "\t", "--from=", "--mount=", "--", "<<E", "<<-'E'", "\nE\n", "${a", "}", ":-"]
    + ["#", "# escape=`\n", '"', "'", "[", "]", ",", "=", "a", "$", "\0", "\ufeff", "\r\n", "é", "\U0001f600", "`"]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=40).map("".join))
def test_nothing_but_the_one_error_from_likely_text(text: str) -> None:
    with suppress(DockerfileError):
        dockerfile = read(text.encode())
        dump(dockerfile.tree)
        for stage in dockerfile.stages:
            for instruction in (stage.origin, *stage.instructions):
                instruction.expanded(Expander({"a": "1"}))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_nothing_but_the_one_error_from_any_bytes(data: bytes) -> None:
    with suppress(DockerfileError):
        dump(parse(data))


@settings(max_examples=300, deadline=None)
@given(st.text("ab$ {}:-+?#%/*\\'\"<`", max_size=40))
def test_nothing_but_the_one_error_from_any_word(text: str) -> None:
    with suppress(InvalidError):
        Lexer().expand(text, {"a": "b*a", "b": ""})
    with suppress(InvalidError):
        parse_mount(text, Expander({"a": "1"}))
