"""The parser: where instructions, flags, words and here-documents end, and what is no Dockerfile."""

from __future__ import annotations

import pytest

from rootless.build.parser import Heredoc, dump, parse
from rootless.build.place import DockerfileError

TREES = {
    "words are parted at blanks, and only there": ("FROM  a\tAS b", '(from "a" "AS" "b")'),
    "capitals of the instruction don't count": ("from a", '(from "a")'),
    "the shell form is one word": ("RUN a  'b' # c", "(run \"a  'b' # c\")"),
    "the exec form is JSON": ('RUN ["a", "b\\u00e4"]', '(run "a" "bä")'),
    "an array that is no JSON is for the shell": ("RUN [ -f x ] && y", '(run "[ -f x ] && y")'),
    "single quotes make no JSON": ("CMD ['a']", "(cmd \"['a']\")"),
    "an empty array": ("CMD []", "(cmd)"),
    "paths as JSON": ('COPY ["a b", "c"]', '(copy "a b" "c")'),
    "flags come before everything else": ("COPY --a --b=c d --e", '(copy ["--a" "--b=c"] "d" "--e")'),
    "quotes and escapes of flags": (r'RUN --m="a b"\ c x', r'(run ["--m=a b c"] "x")'),
    "two dashes end flags": ("RUN --a -- --b", '(run ["--a"] "--b")'),
    "ENV with equals signs": ("ENV a=b c='d e'", '(env "a" "b" "=" "c" "\'d e\'" "=")'),
    "ENV without": ("ENV a b c=d", '(env "a" "b c=d" "")'),
    "escapes in words": (r"ENV a=b\ c", r'(env "a" "b\\ c" "=")'),
    "ARG": ("ARG a b=c", '(arg "a" "b=c")'),
    "HEALTHCHECK": (
        'HEALTHCHECK --retries=1 CMD ["a"]',
        '(healthcheck ["--retries=1"] "CMD" "a")',
    ),
    "ONBUILD": ("ONBUILD RUN --x a", '(onbuild (run ["--x"] "a"))'),
    "lines are joined": ("RUN a \\\n  b\\\nc", '(run "a   bc")'),
    "comments and empty lines between them": ("RUN a \\\n# no\n\n  # no\n b", '(run "a  b")'),
    "a comment in the middle of a line is none": ("RUN a # b", '(run "a # b")'),
    "an escaped escape does not join": ("RUN a \\\\\nRUN b", '(run "a \\\\\\\\")\n(run "b")'),
    "blanks after the escape do no harm": ("RUN a \\ \t\nb", '(run "a b")'),
    "the last line may want another": ("RUN a \\", '(run "a")'),
    "another escape": ("# escape = `\nRUN a `\nb\\", '(run "a b\\\\")'),
    "a directive after a comment is none": ("# hello\n# escape=`\nRUN a `\nRUN b", '(run "a `")\n(run "b")'),
    "DOS lines": ("FROM a\r\nRUN b \\\r\nc\r\n", '(from "a")\n(run "b c")'),
    "a byte order mark": ("\ufeffFROM a", '(from "a")'),
    "an unknown instruction keeps its word": ("FROOM a", '(froom "")'),
    "what is no UTF-8 is replaced": (b"LABEL a=\xe4", '(label "a" "\ufffd" "=")'),
}


@pytest.mark.parametrize("name", TREES)
def test_the_tree(name: str) -> None:
    text, expected = TREES[name]
    assert dump(parse(text if isinstance(text, bytes) else text.encode())) == expected


ERRORS = {
    "nothing": ("", "Dockerfile: the Dockerfile cannot be empty"),
    "only blank lines": ("\n \n", "Dockerfile: the Dockerfile cannot be empty"),
    "only comments": ("# a\n", "Dockerfile: file with no instructions"),
    "a name without a value": ("FROM a\n\nENV b", "Dockerfile:3: ENV must have two arguments"),
    "a word without an equals sign": (
        "LABEL a=b c",
        'Dockerfile:1: Syntax error - can\'t find = in "c". Must be of the form: name=value',
    ),
    "an array of something else": (
        "CMD [1]",
        "Dockerfile:1: when using JSON array syntax, arrays must be comprised of strings only",
    ),
    "a here-document that does not end": ("RUN <<A\nb", "Dockerfile:1: unterminated heredoc"),
    "an escape that is none": ("# escape=x\nFROM a", "Dockerfile:1: invalid escape token 'x' does not match ` or \\"),
    "a directive twice": (
        "# syntax=a\n# syntax=b\nFROM a",
        "Dockerfile:2: only one syntax parser directive can be used",
    ),
    "UTF-16": ("FROM a\n".encode("utf-16-le"), "Dockerfile:1: this line has a NUL byte in it"),
    "an endless line": ("RUN " + "x" * 65536, "Dockerfile:1: dockerfile line greater than max allowed size of 65535"),
    "an endless file": ("# x\n" * (5 << 20), "Dockerfile: the Dockerfile is larger than 16777216 bytes"),
    "a tower of triggers": ("ONBUILD " * 2000 + "RUN a", "Dockerfile:1: ONBUILD is nested too deeply"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_what_is_wrong_is_told_with_its_place(name: str) -> None:
    text, expected = ERRORS[name]
    with pytest.raises(DockerfileError) as caught:
        parse(text if isinstance(text, bytes) else text.encode())
    assert str(caught.value).startswith(expected)


def test_the_lines_around_are_shown() -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(b"FROM a\n\nRUN \\\n\tb\nENV \\\n\tc\nRUN d\nRUN e\nRUN f\n", "sub/Dockerfile.x")
    assert caught.value.picture.splitlines() == [
        "sub/Dockerfile.x:5",
        "--------------------",
        "   3 |     RUN \\",
        "   4 |         b",
        "   5 | >>> ENV \\",
        "   6 | >>>     c",
        "   7 |     RUN d",
        "   8 |     RUN e",
        "--------------------",
    ]


def test_a_terminal_is_not_driven_by_a_dockerfile() -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(b"ENV \x1b[31m")
    assert "\x1b" not in caught.value.picture


def test_places() -> None:
    tree = parse(b"# a\nFROM a\n\nRUN b \\\n  # c\n  d\nCOPY <<E /\ne\nE\nRUN f\n")
    assert [(node.place.first, node.place.last) for node in tree.nodes] == [(2, 2), (4, 6), (7, 9), (10, 10)]


def test_directives() -> None:
    directives = parse(b"#syntax=docker/dockerfile:1\n# Check = skip=all\n# escape=`\nFROM a").directives
    assert (directives.syntax, directives.check, directives.escape) == ("docker/dockerfile:1", "skip=all", "`")


def test_empty_continuation_lines_are_warned_of() -> None:
    tree = parse(b"FROM a\nRUN b \\\n\n  c\nRUN d \\\n # e\n  f\n")
    assert [(place.first, text) for place, text in tree.warnings] == [
        (2, "NoEmptyContinuation: Empty continuation line found in: RUN b   c")
    ]


def test_here_documents() -> None:
    (node,) = parse(b"COPY <<a <<-'b c' 3<<\"d\" /x/\n1\n\n$2\na\n\t3\n\tb c\n4\nd\n").nodes
    assert node.words == ("<<a", "<<-'b", "c'", '3<<"d"', "/x/")
    assert node.heredocs == (
        Heredoc("a", 0, expand=True, chomp=False, content="1\n\n$2\n"),
        Heredoc("b c", 0, expand=False, chomp=True, content="\t3\n"),
        Heredoc("d", 3, expand=False, chomp=False, content="4\n"),
    )
    assert node.heredocs[1].text == "3\n"


def test_a_here_document_holds_anything() -> None:
    nodes = parse(b"RUN <<E\nFROM x\n# y\nz \\\nE\nE\n").nodes
    assert [(node.word, node.heredocs) for node in nodes[:1]] == [
        ("RUN", (Heredoc("E", content="FROM x\n# y\nz \\\n"),))
    ]
    assert nodes[1].word == "E"


@pytest.mark.parametrize(
    "text", ["RUN echo '<<E'", "RUN a \\<<E", 'RUN ["a", "<<E"]', "ENV a=<<E", "RUN a < <E", "RUN a <<<b"]
)
def test_what_announces_no_here_document(text: str) -> None:
    assert parse(text.encode()).nodes[0].heredocs == ()


def test_a_here_document_in_a_trigger() -> None:
    (node,) = parse(b"ONBUILD RUN <<E\na\nE\n").nodes
    assert node.heredocs == (Heredoc("E", content="a\n"),)
