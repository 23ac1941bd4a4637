"""Our reading of Dockerfiles beside BuildKit's own test files: the same trees, the same words.

The files are BuildKit's and stay there. With a checkout of github.com/moby/buildkit in ROOTLESS_BUILDKIT these tests
run; what they test is tested by our own files too (test_dockerfile_parser.py, test_dockerfile_expand.py).
"""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import pytest

from rootless.build.gomatch import Patterns, compile_match
from rootless.build.parser import dump, parse
from rootless.build.place import DockerfileError
from rootless.errors import InvalidError
from rootless.image.expand import Expander


@pytest.fixture
def frontend() -> Path:
    checkout = os.environ.get("ROOTLESS_BUILDKIT")
    if not checkout:
        pytest.skip("ROOTLESS_BUILDKIT does not name a checkout of github.com/moby/buildkit")
    return Path(checkout) / "frontend/dockerfile"


def test_the_same_tree_of_every_file(frontend: Path) -> None:
    directories = sorted((frontend / "parser/testfiles").iterdir())
    assert len(directories) > 30
    for directory in directories:
        tree = parse((directory / "Dockerfile").read_bytes())
        assert dump(tree) + "\n" == (directory / "result").read_text(), directory.name


def test_an_error_where_it_has_one(frontend: Path) -> None:
    directories = sorted((frontend / "parser/testfiles-negative").iterdir())
    assert len(directories) >= 4
    for directory in directories:
        with pytest.raises(DockerfileError):
            parse((directory / "Dockerfile").read_bytes())


def test_the_same_lines(frontend: Path) -> None:
    tree = parse((frontend / "parser/testfile-line/Dockerfile").read_bytes())
    assert [(node.place.first, node.place.last) for node in tree.nodes] == [(5, 5), (11, 12), (17, 31)]


def test_the_same_expansion_of_every_word(frontend: Path) -> None:
    environment = {"PWD": "/home", "SHELL": "bash", "KOREAN": "한국어", "NULL": ""}
    tried = 0
    for number, line in enumerate((frontend / "shell/envVarTest").read_text().splitlines(), 1):
        if not line.strip() or line.startswith(("#", "W")):
            continue
        _, word, expected = (part.strip() for part in line.split("|"))
        try:
            found = Expander(environment).word(word)
        except InvalidError:
            found = "error"
        assert found == expected, (number, word)
        tried += 1
    assert tried > 200


def test_the_same_words_of_every_line(frontend: Path) -> None:
    environment: dict[str, str] = {}
    tried = 0
    for number, line in enumerate((frontend / "shell/wordsTest").read_text().splitlines(), 1):
        if line.startswith("ENV "):
            name, _, value = line[4:].lstrip(" ").partition("=")
            environment[name] = value
        elif not line.startswith("#"):
            text, expected = line.split("|")
            try:
                found = Expander(environment).words(text.strip())
            except InvalidError:
                found = ["error"]
            assert found == expected.lstrip(" ").split(","), (number, text)
            tried += 1
    assert tried > 15


@pytest.fixture
def patternmatcher() -> str:
    checkout = os.environ.get("ROOTLESS_PATTERNMATCHER")
    if not checkout:
        pytest.skip("ROOTLESS_PATTERNMATCHER does not name a checkout of github.com/moby/patternmatcher")
    return (Path(checkout) / "patternmatcher_test.go").read_text()


@pytest.fixture
def match_table() -> str:
    checkout = os.environ.get("ROOTLESS_GO")
    if not checkout:
        pytest.skip("ROOTLESS_GO does not name a checkout of github.com/golang/go")
    return (Path(checkout) / "src/path/filepath/match_test.go").read_text()


_STRING = r'"((?:[^"\\]|\\.)*)"'


def _go(text: str) -> str:
    return str(ast.literal_eval(f'"{text}"'))


def test_the_same_matches_as_gos(match_table: str) -> None:
    rows = re.findall(rf"^\t\{{{_STRING}, {_STRING}, (true|false), (nil|ErrBadPattern)\}},$", match_table, re.MULTILINE)
    assert len(rows) > 50
    for pattern, name, expected, error in rows:
        try:
            found = bool(compile_match(_go(pattern)).fullmatch(_go(name)))
        except InvalidError:
            assert error == "ErrBadPattern", (pattern, name)
        else:
            assert (str(found).lower(), "nil") == (expected, error), (pattern, name)


def test_the_same_lines_of_dockerignore(patternmatcher: str) -> None:
    rows = re.findall(rf"^\t+\{{{_STRING}, {_STRING}, (true|false)\}},", patternmatcher, re.MULTILINE)
    assert len(rows) > 60
    for pattern, path, expected in rows:
        found = Patterns([_go(pattern)]).match_alone(_go(path).rstrip("/") or "/")
        assert str(found).lower() == expected, (pattern, path)


def test_the_same_exceptions_of_dockerignore(patternmatcher: str) -> None:
    rows = re.findall(rf"\[\]string\{{((?:{_STRING}(?:, )?)+)\}}, {_STRING}, (true|false)\}}", patternmatcher)
    assert len(rows) >= 4
    for lines, _, path, expected in rows:
        found = Patterns(ast.literal_eval(f"[{lines}]")).match_alone(_go(path))
        assert str(found).lower() == expected, (lines, path)


def test_the_same_rows_with_parents(patternmatcher: str) -> None:
    rows = re.findall(rf"^\t\{{{_STRING}, {_STRING}, (true|false), (nil|\w+\.?\w*)\}},$", patternmatcher, re.MULTILINE)
    assert len(rows) > 40
    for pattern, path, expected, error in rows:
        try:
            found = Patterns([_go(pattern)]).match_alone(_go(path))
        except InvalidError:
            assert error != "nil", (pattern, path)
        else:
            assert str(found).lower() == expected, (pattern, path)
