"""Go's template language, parsed: `{{...}}` actions between text (pkg.go.dev/text/template).

What people write after `--format` is understood: fields, variables, pipelines, parentheses, if, with, range, else,
break, continue, comments and trim markers. `define`, `template` and `block` are not: a format is one template.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from .template_nodes import Block, Command, Constant, Field, Function, Jump, Node, Pipe, TemplateError, Text, Variable


@dataclass(slots=True)
class _Token:
    kind: str
    text: str
    position: int
    spaced: bool
    """Whether blanks stand before it: `.a .b` are two words, `.a.b` is one."""


_ESCAPE = r"\\(?:[abfnrtv\\'\"]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3})"
_TOKEN = re.compile(
    r"(?P<space>[ \t\r\n]+)"
    rf'|(?P<string>"(?:[^"\\\n]|{_ESCAPE})*")'
    r"|(?P<raw>`[^`]*`)"
    rf"|(?P<char>'(?:[^'\\\n]|{_ESCAPE})')"
    r"|(?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+))"
    r"|(?P<field>\.[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<variable>\$[A-Za-z0-9_]*)"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<mark>:=|[=|(),.])"
)
_KEYWORDS = frozenset({"if", "else", "end", "range", "with", "break", "continue", "define", "template", "block"})
_DEPTH = 100
"""Blocks or parentheses inside one another: more is not a format but an attempt to exhaust the stack."""


def parse(text: str, functions: Container[str]) -> tuple[Node, ...]:
    """The template's nodes.

    Args:
        functions: names that may be called.

    Raises:
        TemplateError: with the line, as Go says it.
    """
    parser = _Parser(text, functions)
    nodes, end = parser.body(0)
    if end:
        raise parser.error(f"unexpected {{{{{end}}}}}")
    return nodes


class _Parser:
    """A cursor over the template."""

    def __init__(self, text: str, functions: Container[str]) -> None:
        self._text = text
        self._functions = functions
        self._position = 0
        self._trim = False
        self._tokens: list[_Token] = []
        self._next = 0
        self._scope = ["$"]
        self._loops = 0

    def error(self, message: str) -> TemplateError:
        return TemplateError(f":{self._text.count(chr(10), 0, self._position) + 1}: {message}")

    def _at(self, position: int) -> str:
        line_start = self._text.rfind("\n", 0, position) + 1
        column = len(self._text[line_start:position].encode("utf-8", "replace"))
        return f"{self._text.count(chr(10), 0, position) + 1}:{column}"

    # Text and actions

    def body(self, depth: int) -> tuple[tuple[Node, ...], str]:
        """Nodes up to `{{end}}`, `{{else}}` or the end of the template; the word that ended them."""
        if depth > _DEPTH:
            raise self.error("max block depth exceeded")
        nodes: list[Node] = []
        while True:
            nodes += self._take_text()
            if self._position >= len(self._text):
                return tuple(nodes), ""
            start = self._position
            self._open_action()
            if not self._tokens:
                continue
            word = self._tokens[0].text if self._tokens[0].kind == "word" else ""
            if word in ("end", "else"):
                self._next = 1
                return tuple(nodes), word
            nodes.append(self._action(word, start, depth))

    def _take_text(self) -> list[Node]:
        start = self._position
        found = self._text.find("{{", start)
        end = len(self._text) if found < 0 else found
        text = self._text[start:end]
        if self._trim:
            text = text.lstrip(" \t\r\n")
        if re.match(r"\{\{-[ \t\r\n]", self._text[end : end + 4]):
            text = text.rstrip(" \t\r\n")
        self._position, self._trim = end, False
        return [Text(self._at(start), text)] if text else []

    def _open_action(self) -> None:
        """Split the action under the cursor into tokens and move behind it; a comment has none."""
        start = self._position
        self._position += 2
        if re.match(r"-[ \t\r\n]", self._text[self._position : self._position + 2]):
            self._position += 2
        self._tokens, self._next = [], 0
        if self._text.startswith("/*", self._position):
            self._skip_comment()
            return
        spaced = False
        while not self._closed(spaced):
            match = _TOKEN.match(self._text, self._position)
            if match is None:
                raise self._bad_character(start)
            if match.lastgroup != "space":
                self._tokens.append(_Token(match.lastgroup or "", match[0], match.start(), spaced))
            spaced = match.lastgroup == "space"
            self._position = match.end()
        if not self._tokens:
            raise self.error("missing value for command")

    def _closed(self, spaced: bool) -> bool:
        """Whether the action ends here; if so move behind it."""
        self._trim = spaced and self._text.startswith("-}}", self._position)
        if not self._trim and not self._text.startswith("}}", self._position):
            return False
        self._position += 3 if self._trim else 2
        return True

    def _skip_comment(self) -> None:
        end = self._text.find("*/", self._position)
        if end < 0:
            raise self.error("unclosed comment")
        self._position = end + 2
        match = re.match(r"[ \t\r\n]+-\}\}|\}\}", self._text[self._position :])
        if match is None:
            raise self.error("comment ends before closing delimiter")
        self._trim = match[0] != "}}"
        self._position += match.end()

    def _bad_character(self, start: int) -> TemplateError:
        character = self._text[self._position : self._position + 1]
        if not character or self._text.find("}}", start) < 0:
            return self.error("unclosed action")
        quotes = {"'": "character constant", '"': "quoted string", "`": "raw quoted string"}
        if character in quotes:
            return self.error(f"unterminated {quotes[character]}")
        return self.error(f"unexpected {character!r} in command")

    def _action(self, word: str, start: int, depth: int) -> Node:
        at = self._at(start)
        if word in ("if", "with", "range"):
            self._next = 1
            return self._block(word, at, depth)
        if word in ("break", "continue"):
            if not self._loops:
                raise self.error(f"{{{{{word}}}}} outside {{{{range}}}}")
            self._next = 1
            self._expect_end(word)
            return Jump(at, word, word)
        if word in _KEYWORDS:
            raise self.error(f"{{{{{word}}}}} is not supported in a format")
        pipe = self._pipe(depth)
        self._expect_end("command")
        return pipe

    def _block(self, keyword: str, at: str, depth: int) -> Block:
        scope = len(self._scope)
        pipe = self._pipe(depth, keyword)
        self._expect_end(keyword)
        self._loops += keyword == "range"
        body, end = self.body(depth + 1)
        self._loops -= keyword == "range"
        otherwise: tuple[Node, ...] = ()
        if end == "else":
            otherwise, end = self._else(keyword, depth)
        if end != "end":
            raise self.error("unexpected EOF")
        self._expect_end("end")
        del self._scope[scope:]
        return Block(at, keyword, keyword, pipe, body, otherwise)

    def _else(self, keyword: str, depth: int) -> tuple[tuple[Node, ...], str]:
        """What follows `{{else}}`; `{{else if x}}` is an if of its own that shares this one's end."""
        token = self._peek()
        if token is not None and token.text == keyword and keyword in ("if", "with"):
            self._next += 1
            return (self._block(keyword, self._at(token.position), depth + 1),), "end"
        self._expect_end("else")
        nodes, end = self.body(depth + 1)
        if end == "else":
            raise self.error("expected end; found {{else}}")
        return nodes, end

    # Pipelines

    def _peek(self) -> _Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _accept(self, text: str) -> bool:
        token = self._peek()
        if token is None or token.kind != "mark" or token.text != text:
            return False
        self._next += 1
        return True

    def _expect_end(self, where: str) -> None:
        token = self._peek()
        if token is not None and token.text == ")":
            raise self.error("unexpected right paren")
        if token is not None:
            raise self.error(f"unexpected <{token.text}> in {where}")

    def _source(self, first: int) -> str:
        last = self._tokens[self._next - 1]
        return self._text[self._tokens[first].position : last.position + len(last.text)]

    def _pipe(self, depth: int, keyword: str = "") -> Pipe:
        if depth > _DEPTH:
            raise self.error("max expression depth exceeded")
        first = self._next
        variables, declares = self._declaration(keyword)
        commands = [self._command(depth, keyword or "command")]
        while self._accept("|"):
            if self._peek() is not None:  # Go takes a bar with nothing behind it
                commands.append(self._command(depth, "command"))
        for command in commands[1:]:
            if isinstance(command.words[0], Constant):
                raise self.error(f"non executable command in pipeline stage {commands.index(command) + 1}")
        if declares:
            self._scope += variables
        return Pipe(self._at(self._tokens[first].position), self._source(first), tuple(commands), variables, declares)

    def _declaration(self, keyword: str) -> tuple[tuple[str, ...], bool]:
        """`$x :=`, `$x =`, and for a range also `$i, $x :=`."""
        pattern = ["variable", ",", "variable"] if keyword == "range" else ["variable"]
        for length in (len(pattern), 1):
            tokens = self._tokens[self._next : self._next + length + 1]
            shape = [t.kind if t.kind != "mark" else t.text for t in tokens]
            if shape[:-1] == pattern[:length] and shape[-1:] in ([":="], ["="]):
                self._next += length + 1
                names = tuple(t.text for t in tokens if t.kind == "variable")
                if shape[-1] == "=":
                    self._check_variables(names)
                return names, shape[-1] == ":="
        return (), False

    def _check_variables(self, names: tuple[str, ...]) -> None:
        for name in names:
            if name not in self._scope:
                raise self.error(f'undefined variable "{name}"')

    def _command(self, depth: int, where: str) -> Command:
        first = self._next
        words: list[Node] = []
        while (token := self._peek()) is not None and not (token.kind == "mark" and token.text in "|)"):
            if words and not token.spaced and self._tokens[self._next - 1].text != "(":
                raise self.error(f"unexpected <{token.text}> in operand")
            words.append(self._operand(depth))
        if not words:
            raise self.error(f"missing value for {where}")
        return Command(self._at(self._tokens[first].position), self._source(first), tuple(words))

    def _operand(self, depth: int) -> Node:
        """One word of a command, with the fields that follow it without a blank."""
        first = self._next
        base = self._term(depth)
        names: list[str] = []
        while (token := self._peek()) is not None and token.kind == "field" and not token.spaced:
            names.append(token.text[1:])
            self._next += 1
        if not names:
            return base
        if isinstance(base, Constant):
            raise self.error(f"unexpected . after term {base.source!r}")
        at, source = self._at(self._tokens[first].position), self._source(first)
        if isinstance(base, Field) and base.base is None:
            return Field(at, source, None, (*base.names, *names))
        return Field(at, source, base, tuple(names))

    def _term(self, depth: int) -> Node:
        token = self._tokens[self._next]
        self._next += 1
        at = self._at(token.position)
        if token.kind in ("string", "raw", "char", "number"):
            return Constant(at, token.text, self._literal(token))
        if token.kind == "field":
            return Field(at, token.text, None, (token.text[1:],))
        if token.kind == "variable":
            self._check_variables((token.text,))
            return Variable(at, token.text, token.text)
        if token.kind == "word":
            return self._name(token, at)
        if token.text == ".":
            return Field(at, ".", None, ())
        if token.text == "(":
            first = self._next - 1
            if self._peek() is None:
                raise self.error("unclosed left paren")
            inner = self._pipe(depth + 1)
            if not self._accept(")"):
                raise self.error("unclosed left paren")
            return Field(at, self._source(first), inner, ())
        raise self.error(f"unexpected <{token.text}> in operand")

    def _name(self, token: _Token, at: str) -> Node:
        if token.text in ("true", "false", "nil"):
            return Constant(at, token.text, {"true": True, "false": False, "nil": None}[token.text])
        if token.text in _KEYWORDS or token.text not in self._functions:
            raise self.error(f'function "{token.text}" not defined')
        return Function(at, token.text, token.text)

    def _literal(self, token: _Token) -> Any:
        if token.kind == "raw":
            return token.text[1:-1]
        from ast import literal_eval  # Python's literals are Go's, once the pattern above has let them through

        try:
            found = literal_eval(token.text)
        except (SyntaxError, ValueError, MemoryError):
            raise self.error(f"bad {token.kind} syntax: {token.text[:80]}") from None
        if isinstance(found, str) and not found.isprintable() and any(0xD800 <= ord(c) < 0xE000 for c in found):
            raise self.error(f"bad {token.kind} syntax: {token.text[:80]}")
        return ord(found) if token.kind == "char" else found
