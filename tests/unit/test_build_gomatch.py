"""Go's patterns: wildcards of COPY, lines of a .dockerignore."""

from __future__ import annotations

import time

import pytest

from rootless.build.gomatch import Patterns, compile_match, has_wildcards
from rootless.errors import InvalidError

MATCHES = [
    ("file", "file", True),
    ("file", "files", False),
    ("*", "any", True),
    ("*", "", True),
    ("*", "a/b", False),
    ("*/b", "a/b", True),
    ("*/b", "a/c/b", False),
    ("*.go", "x.go", True),
    ("a*b*c", "a-b-b-c", True),
    ("a*b*c", "a-c-b", False),
    ("a?c", "abc", True),
    ("a?c", "aöc", True),
    ("a?c", "a/c", False),
    ("a?c", "ac", False),
    ("[abc]", "b", True),
    ("[a-c]x", "bx", True),
    ("[^a-c]", "b", False),
    ("[^a-c]", "d", True),
    ("[!a]", "!", True),
    ("[z-a]", "m", False),
    ("[^z-a]", "m", True),
    ("[\\]]", "]", True),
    ("[^a]", "/", True),
    ("\\*", "*", True),
    ("\\*", "x", False),
    ("\\a", "a", True),
    ("a.c", "abc", False),
    ("arr[[]0].txt", "arr[0].txt", True),
    ("**", "a/b", False),
    ("a**b", "axxb", True),
    ("*x", "xxx", True),
    ("{a,b}", "a", False),
    ("ne\nw", "ne\nw", True),
    ("*", "ne\nw", True),
]


@pytest.mark.parametrize(("pattern", "name", "expected"), MATCHES)
def test_matches(pattern: str, name: str, expected: bool) -> None:
    assert bool(compile_match(pattern).fullmatch(name)) is expected


@pytest.mark.parametrize("pattern", ["[", "[]", "[a", "[a-", "[a-]", "[-a]", "[]a]", "a\\", "[\\", "[^"])
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(InvalidError, match="syntax error in pattern"):
        compile_match(pattern)


def test_no_pattern_takes_long() -> None:
    started = time.process_time()
    assert not compile_match("*a" * 40 + "b").fullmatch("a" * 250)
    assert time.process_time() - started < 1


def test_wildcards_are_told_from_literals() -> None:
    assert all(map(has_wildcards, ["*", "a?", "x[0]", "\\\\*"]))
    assert not any(map(has_wildcards, ["a", "\\*", "a\\?b", "\\[0]", ""]))


LINES = [
    (["docs"], "docs", True),
    (["docs"], "docs/a/b", True),
    (["docs"], "src/docs", False),
    (["/docs"], "docs", False),
    (["*/temp*"], "a/temporary.txt", True),
    (["*/temp*"], "a/b/temporary.txt", False),
    (["temp?"], "tempa", True),
    (["**/*.go"], "x.go", True),
    (["**/*.go"], "a/b/x.go", True),
    (["**.go"], "a/b/x.go", True),
    (["**/node_modules"], "a/node_modules/b", True),
    (["a/**/b"], "a/b", True),
    (["a/**/b"], "a/x/y/b", True),
    (["a/**/b"], "ab", False),
    (["a/**"], "a", False),
    (["a/**"], "a/b/c", True),
    (["*.md", "!README.md"], "README.md", False),
    (["*.md", "!README*.md", "README-secret.md"], "README-secret.md", True),
    (["*.md", "README-secret.md", "!README*.md"], "README-secret.md", False),
    (["docs", "!docs/keep"], "docs/keep/a", False),
    (["docs", "!docs/keep"], "docs/other", True),
    (["*", "!src"], "src/a/b", False),
    (["*", "!src", "src/*.o"], "src/a.o", True),
    (["a/../b"], "b", True),
    (["./b/"], "b/c", True),
    (["", "  ", " b "], "b", True),
    (["**"], "a/b", True),
    (["[a-c]"], "b", True),
    (["\\*"], "*", True),
    (["\\*"], "a", False),
    (["ex(ample)+"], "ex(ample)+", True),
]


@pytest.mark.parametrize(("lines", "path", "expected"), LINES)
def test_lines(lines: list[str], path: str, expected: bool) -> None:
    assert Patterns(lines).match_alone(path) is expected


@pytest.mark.parametrize("line", ["!", "[", "a/[b"])
def test_lines_that_are_none(line: str) -> None:
    with pytest.raises(InvalidError):
        Patterns([line])
