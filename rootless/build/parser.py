"""A Dockerfile's bytes to nodes: each instruction's word, flags, arguments and here-documents, and where it stands.

The tree is that of BuildKit's parser (frontend/dockerfile/parser/line_parsers.go, split_command.go): what a word means
is not judged here, only where one ends. `interpret` gives nodes their types.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from ..errors import InvalidError
from ..image.expand import SPACE, Lexer
from .lines import Directives, Line, Reader, read_source
from .place import Place

NO_EMPTY_CONTINUATION = "NoEmptyContinuation: Empty continuation line found in: {}"

_BLANKS = re.compile(r"[\t\v\f\r ]+")
_HEREDOC = re.compile(r"(\d*)<<(-?)[\t\n\f\r ]*([^<]*)", re.ASCII)
_LEADING_TABS = re.compile(r"^\t+", re.MULTILINE)
_WITH_HEREDOCS = ("ADD", "COPY", "RUN")


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A here-document.

    Attributes:
        name: the word that ends it, without quotes.
        descriptor: the number before `<<`.
        expand: whether the name was without quotes, so that variables in the content count.
        chomp: whether `<<-` asked for the tabs before each line to be dropped.
        content: as it stands in the file, each line with its end.
    """

    name: str
    descriptor: int = 0
    expand: bool = True
    chomp: bool = False
    content: str = ""

    @property
    def text(self) -> str:
        """The content, without the tabs that `<<-` drops."""
        return _LEADING_TABS.sub("", self.content) if self.chomp else self.content


@dataclass(frozen=True, slots=True)
class Node:
    """An instruction whose words are told apart.

    Attributes:
        word: the instruction, as it is written.
        words: its arguments. ENV's and LABEL's come in threes: name, value, and `=`, or nothing for `ENV name value`.
        flags: the `--name=value` before them.
        json: whether they were a JSON array.
        child: the instruction inside ONBUILD, in place of words.
        text: the logical line.
    """

    word: str
    words: tuple[str, ...]
    flags: tuple[str, ...]
    json: bool
    child: Node | None
    text: str
    place: Place
    heredocs: tuple[Heredoc, ...] = ()


@dataclass(frozen=True, slots=True)
class Tree:
    """A Dockerfile's instructions; `warnings` are what BuildKit's parser warns of."""

    nodes: tuple[Node, ...]
    directives: Directives
    warnings: tuple[tuple[Place, str], ...] = ()


def parse(data: bytes, file: str = "Dockerfile") -> Tree:
    """Read a Dockerfile.

    Raises:
        DockerfileError: whatever is wrong with it, with the place.
    """
    source = read_source(data, file)
    reader = Reader(source)
    nodes: list[Node] = []
    warnings: list[tuple[Place, str]] = []
    while line := reader.next():
        if line.gaps:
            warnings.append((line.place, NO_EMPTY_CONTINUATION.format(line.text)))
        nodes.append(_with_heredocs(_node(line, reader.directives.escape), line, reader))
    if not nodes:
        raise Place(source, 0, 0).error("file with no instructions")
    return Tree(tuple(nodes), reader.directives, tuple(warnings))


def _node(line: Line, escape: str) -> Node:
    word, *rest = _BLANKS.split(line.text.strip(SPACE), maxsplit=1)
    try:
        flags, arguments = _split_flags("".join(rest), escape)
        arguments = arguments.strip(SPACE)
        if word.upper() == "ONBUILD":
            child = _node(replace(line, text=arguments), escape) if arguments else None
            return Node(word, (), flags, False, child, line.text, line.place)
        split = _SPLITTERS.get(word.upper(), _Splitter.nothing)
        words, json = split(_Splitter(word.upper(), escape), arguments)
    except RecursionError as problem:
        raise line.place.error("ONBUILD is nested too deeply") from problem
    except _SyntaxError as problem:
        raise line.place.error(problem.message) from problem
    return Node(word, tuple(words), flags, json, None, line.text, line.place)


class _SyntaxError(InvalidError):
    """What is wrong with an instruction's arguments, before the place is known."""


def _split_flags(text: str, escape: str) -> tuple[tuple[str, ...], str]:
    """The words that begin with `--`, without quotes and escapes, up to a `--` alone; and what comes after them."""
    flags: list[str] = []
    at = 0
    while True:
        while at < len(text) and text[at] in SPACE:
            at += 1
        if not text.startswith("--", at):
            return tuple(flags), text[at:]
        word, at = _flag(text, at, escape)
        if word == "--":
            return tuple(flags), text[at:]
        flags.append(word)


def _flag(text: str, at: int, escape: str) -> tuple[str, int]:
    """One word from `at` on, and where it ends."""
    word: list[str] = []
    quote = ""
    while at < len(text) and (quote or text[at] not in SPACE):
        character = text[at]
        if character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        elif character == escape:
            at += 1
            word.append(text[at : at + 1])
        else:
            word.append(character)
        at += 1
    return "".join(word), at


class _Splitter:
    """The ways in which instructions part their arguments. Each gives the words, and whether they were a JSON array."""

    def __init__(self, word: str, escape: str) -> None:
        self._word = word
        self._escape = escape

    def nothing(self, text: str) -> tuple[list[str], bool]:
        """Of an unknown instruction: nobody knows."""
        return [""], False

    def single(self, text: str) -> tuple[list[str], bool]:
        """All of it is one word."""
        return [text] if text else [], False

    def blanks(self, text: str) -> tuple[list[str], bool]:
        """Words between blanks; quotes mean nothing."""
        return _BLANKS.split(text) if text else [], False

    def quoted(self, text: str) -> tuple[list[str], bool]:
        """Words between the blanks outside quotes, with quotes and escapes still in them."""
        words: list[str] = []
        word: list[str] = []
        quote = ""
        at = 0
        while at < len(text):
            character = text[at]
            at += 1
            if not quote and character in SPACE:
                words += ["".join(word)] if word else []
                word = []
                continue
            if character == quote:
                quote = ""
            elif not quote and character in "'\"":
                quote = character
            elif character == self._escape and quote != "'":
                if at == len(text):
                    continue  # one at the very end escapes nothing
                character += text[at]
                at += 1
            word.append(character)
        return [*words, "".join(word)] if word else words, False

    def pairs(self, text: str) -> tuple[list[str], bool]:
        """`name=value ...`, or the old `name value`, which runs to the end of the line."""
        words, _ = self.quoted(text)
        if words and "=" not in words[0]:
            name, *value = _BLANKS.split(text, maxsplit=1)
            if not value:
                raise _SyntaxError(f"{self._word} must have two arguments")
            return [name, value[0], ""], False
        found: list[str] = []
        for word in words:
            name, equals, rest = word.partition("=")
            if not equals:
                raise _SyntaxError(f"Syntax error - can't find = in {quote(word)}. Must be of the form: name=value")
            found += name, rest, equals
        return found, False

    def command(self, text: str) -> tuple[list[str], bool]:
        """A JSON array, or all of it for a shell."""
        found = _array(text)
        return (found, True) if found is not None else self.single(text)

    def paths(self, text: str) -> tuple[list[str], bool]:
        """A JSON array, or words between blanks."""
        found = _array(text)
        return (found, True) if found is not None else self.blanks(text)

    def health(self, text: str) -> tuple[list[str], bool]:
        """A type, and then a command."""
        at = next((i for i, character in enumerate(text) if character in SPACE), len(text))
        if not at:
            return [], False
        words, json = self.command(text[at:].lstrip(SPACE))
        return [text[:at], *words], json


def _array(text: str) -> list[str] | None:
    """The strings of a JSON array; None when `text` is none, as `[ -f x ] && y`, a fine line for a shell."""
    if not text.startswith("["):
        return None
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return None
    if not all(isinstance(item, str) for item in found):
        raise _SyntaxError("when using JSON array syntax, arrays must be comprised of strings only")
    return list(found)


_SPLITTERS: dict[str, Callable[[_Splitter, str], tuple[list[str], bool]]] = {
    "ADD": _Splitter.paths,
    "ARG": _Splitter.quoted,
    "CMD": _Splitter.command,
    "COPY": _Splitter.paths,
    "ENTRYPOINT": _Splitter.command,
    "ENV": _Splitter.pairs,
    "EXPOSE": _Splitter.blanks,
    "FROM": _Splitter.blanks,
    "HEALTHCHECK": _Splitter.health,
    "LABEL": _Splitter.pairs,
    "MAINTAINER": _Splitter.single,
    "RUN": _Splitter.command,
    "SHELL": _Splitter.command,
    "STOPSIGNAL": _Splitter.single,
    "USER": _Splitter.single,
    "VOLUME": _Splitter.paths,
    "WORKDIR": _Splitter.single,
}

INSTRUCTIONS = (*_SPLITTERS, "ONBUILD")


def _with_heredocs(node: Node, line: Line, reader: Reader) -> Node:
    """The node with the documents that its line asks for, read from the lines below it."""
    inner = node.child or node
    if inner.word.upper() not in _WITH_HEREDOCS or inner.json or "<<" not in line.text:
        return node
    documents: list[Heredoc] = []
    for heredoc in _heredocs(line):
        content = reader.document(heredoc.name, chomp=heredoc.chomp)
        if content is None:
            raise reader.place(line.place.first).error(
                "unterminated heredoc", hint=f"a line that says {heredoc.name} and nothing else ends it"
            )
        documents.append(replace(heredoc, content=content))
    return replace(node, heredocs=tuple(documents), place=reader.place(line.place.first))


def _heredocs(line: Line) -> list[Heredoc]:
    """The here-documents that a line announces. One that can't be read as words announces none."""
    try:
        words = Lexer(raw_quotes=True, raw_escapes=True, keep_missing=True).expand(line.text, {}).words
    except InvalidError:
        return []
    try:
        return [found for word in words if (found := heredoc(word))]
    except InvalidError as problem:
        raise line.place.error(problem.message) from problem


def heredoc(word: str) -> Heredoc | None:
    """The here-document that `word` announces (`<<EOF`, `3<<-"EOF"`), without its content; None when it announces none.

    Raises:
        InvalidError: its quotes are not closed.
    """
    match = _HEREDOC.fullmatch(word)
    if match is None or not match[3]:
        return None
    plain = Lexer(keep_missing=True).expand(match[3], {}).words
    raw = Lexer(keep_missing=True, raw_quotes=True).expand(match[3], {}).words
    if len(plain) != 1:
        return None
    quotes = [sum(map(words[0].count, "'\"")) for words in (plain, raw)]
    descriptor = int(match[1][:9] or 0)
    return Heredoc(plain[0], descriptor, expand=quotes[0] == quotes[1], chomp=match[2] == "-")


def quote(text: str) -> str:
    """`text` as Go's %q shows it."""
    return '"' + "".join(_ESCAPES.get(c) or (c if c.isprintable() else _escape(ord(c))) for c in text) + '"'


_ESCAPES = {'"': '\\"', "\\": "\\\\"} | {c: f"\\{e}" for c, e in zip("\a\b\f\n\r\t\v", "abfnrtv", strict=True)}


def _escape(number: int) -> str:
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def dump(tree: Tree) -> str:
    """The tree in the notation of BuildKit's test files: one line an instruction, `(run "true")`."""
    return "\n".join(f"({_dumped(node)})" for node in tree.nodes)


def _dumped(node: Node) -> str:
    parts = [node.word.lower()]
    if node.flags:
        parts.append("[" + " ".join(map(quote, node.flags)) + "]")
    if node.child:
        parts.append(f"({_dumped(node.child)})")
    return " ".join([*parts, *map(quote, node.words)])
