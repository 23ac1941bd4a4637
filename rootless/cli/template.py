"""`--format`: Go's templates, applied to rows and documents.

    Template("{{.Repository}}:{{.Tag}}").render(row)

A row is a mapping. Its values may be callable: `{{.Label "a.b"}}` calls what stands under `Label`. A key that a mapping
doesn't have is an error, except in a `Map`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from . import template_nodes as syntax
from .template_functions import (
    FUNCTIONS,
    HEADER_FUNCTIONS,
    FunctionError,
    Map,
    NilList,
    NilMap,
    check_count,
    go_text,
    kind_of,
    plain,
    truth,
)
from .template_nodes import Node, TemplateError
from .template_parser import parse

__all__ = ["Map", "NilList", "NilMap", "Template", "TemplateError", "plain"]

_OUTPUT_LIMIT = 64 << 20
"""Characters. A template can count far with few words."""


class _Missing:
    """What a `Map` has under a key that it hasn't, and the value of a pipeline before its first command."""

    def __bool__(self) -> bool:
        return False


_MISSING = _Missing()


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


@dataclass(frozen=True)
class Template:
    """A parsed template.

    Raises:
        TemplateError: the text is none.
    """

    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "_nodes", parse(self.text, FUNCTIONS))

    def render(self, value: Any, *, header: bool = False) -> str:
        """The template with `value` as its dot.

        Args:
            header: `value` has the columns' names; functions that would change them leave them as they are.

        Raises:
            TemplateError: it asks for a field that is not there, or calls a function with the wrong kind of value.
        """
        nodes: tuple[Node, ...] = self.__dict__["_nodes"]
        run = _Run(HEADER_FUNCTIONS if header else FUNCTIONS, value)
        run.body(nodes, value)
        return "".join(run.output)


class _Run:
    """One application of a template: what it wrote, and its variables, innermost last."""

    def __init__(self, functions: Mapping[str, Callable[..., Any]], root: Any) -> None:
        self.output: list[str] = []
        self._functions = functions
        self._variables: list[tuple[str, Any]] = [("$", root)]
        self._written = 0

    def _error(self, node: Node, problem: str) -> TemplateError:
        return TemplateError(f':{node.at}: executing "" at <{node.source}>: {problem}')

    def _write(self, text: str, node: Node) -> None:
        self._written += len(text)
        if self._written > _OUTPUT_LIMIT:
            raise self._error(node, "the output is too long")
        self.output.append(text)

    def body(self, nodes: tuple[Node, ...], dot: Any) -> None:
        for node in nodes:
            if isinstance(node, syntax.Text):
                self._write(node.source, node)
            elif isinstance(node, syntax.Pipe):
                value = self._pipe(node, dot)
                if not node.variables:
                    self._write("<no value>" if value is _MISSING else go_text(value), node)
            elif isinstance(node, syntax.Block):
                self._block(node, dot)
            elif isinstance(node, syntax.Jump):
                raise _Break if node.keyword == "break" else _Continue

    def _block(self, block: syntax.Block, dot: Any) -> None:
        mark = len(self._variables)
        try:
            if block.keyword == "range":
                self._range(block, dot)
                return
            value = self._pipe(block.pipe, dot)
            inner = value if block.keyword == "with" else dot
            if truth(value):
                self.body(block.body, inner)
            else:
                self.body(block.otherwise, dot)
        finally:
            del self._variables[mark:]

    def _range(self, block: syntax.Block, dot: Any) -> None:
        pairs = self._pairs(block.pipe, self._commands(block.pipe, dot))
        for key, value in pairs:
            mark = len(self._variables)
            self._set(block.pipe, (key, value) if len(block.pipe.variables) == 2 else (value,))
            try:
                self.body(block.body, value)
            except _Break:
                break
            except _Continue:
                continue
            finally:
                del self._variables[mark:]
        if not pairs:
            self.body(block.otherwise, dot)

    def _pairs(self, node: Node, value: Any) -> list[tuple[Any, Any]]:
        """Keys and values, in the order in which Go ranges over them."""
        if isinstance(value, Mapping):
            return [(key, value[key]) for key in sorted(value)]
        if isinstance(value, (list, tuple)):
            return list(enumerate(value))
        if isinstance(value, int) and not isinstance(value, bool):
            if value > 1 << 20:
                raise self._error(node, f"range over {value}: too much")
            return [(number, number) for number in range(value)]
        if value is None or value is _MISSING:
            return []
        raise self._error(node, f"range can't iterate over {go_text(value)}")

    # Pipelines

    def _pipe(self, pipe: syntax.Pipe, dot: Any) -> Any:
        value = self._commands(pipe, dot)
        self._set(pipe, (value,))
        return value

    def _commands(self, pipe: syntax.Pipe, dot: Any) -> Any:
        value: Any = _MISSING
        for command in pipe.commands:
            value = self._command(command, dot, () if command is pipe.commands[0] else (value,))
        return value

    def _set(self, pipe: syntax.Pipe, values: tuple[Any, ...]) -> None:
        for name, value in zip(pipe.variables, values, strict=False):
            if pipe.declares:
                self._variables.append((name, value))
                continue
            place = max(i for i, (known, _) in enumerate(self._variables) if known == name)
            self._variables[place] = (name, value)

    def _command(self, command: syntax.Command, dot: Any, last: tuple[Any, ...]) -> Any:
        """Call a command's first word with the others, and with the result of the command before it."""
        first, *words = command.words
        if isinstance(first, syntax.Function):
            return self._call(command, first.name, words, dot, last)
        if not words and not last and not (isinstance(first, syntax.Constant) and first.value is None):
            return self._value(first, dot)
        if isinstance(first, syntax.Field) and first.names:
            return self._field(first, dot, words, last)
        if isinstance(first, syntax.Constant) and first.value is None:
            raise self._error(first, "nil is not a command")
        raise self._error(first, f"can't give argument to non-function {first.source}")

    def _call(self, node: Node, name: str, words: list[Node], dot: Any, last: tuple[Any, ...]) -> Any:
        function = self._functions[name]
        try:
            check_count(function, len(words) + len(last))
        except FunctionError as problem:
            raise self._error(node, f"wrong number of args for {name}: {problem}") from None
        if name in ("and", "or"):
            return self._short_circuit(name, words, dot, last)
        arguments = [self._value(word, dot) for word in words]
        try:
            return function(*(None if value is _MISSING else value for value in (*arguments, *last)))
        except FunctionError as problem:
            raise self._error(node, f"error calling {name}: {problem}") from None

    def _short_circuit(self, name: str, words: list[Node], dot: Any, last: tuple[Any, ...]) -> Any:
        """`and` and `or` leave the words behind the one that decides alone: they may not even be there."""
        value: Any = _MISSING
        for word in words:
            value = self._value(word, dot)
            if truth(value) is (name == "or"):
                return value
        return last[0] if last else value

    # Values

    def _value(self, node: Node, dot: Any) -> Any:
        if isinstance(node, syntax.Constant):
            return node.value
        if isinstance(node, syntax.Variable):
            return next(value for name, value in reversed(self._variables) if name == node.name)
        if isinstance(node, syntax.Function):
            return self._call(node, node.name, [], dot, ())
        if isinstance(node, syntax.Pipe):
            return self._pipe(node, dot)
        assert isinstance(node, syntax.Field)
        return self._field(node, dot, [], ())

    def _field(self, node: syntax.Field, dot: Any, words: list[Node], last: tuple[Any, ...]) -> Any:
        """Follow the names of a field; only the last one may be called with arguments."""
        value = dot if node.base is None else self._value(node.base, dot)
        for number, name in enumerate(node.names, 1):
            value = self._member(self._part(node, number), value, name)
            is_last = number == len(node.names)
            if callable(value):
                arguments = [self._value(word, dot) for word in words] if is_last else []
                value = self._method(node, name, value, [*arguments, *(last if is_last else ())])
            elif is_last and (words or last):
                raise self._error(node, f"{name} is not a method but has arguments")
        return value

    def _part(self, node: syntax.Field, number: int) -> Node:
        """The field as an error points at it: where its name of this number begins."""
        line, _, column = node.at.partition(":")
        rest = sum(len(name) + 1 for name in node.names[number - 1 :])
        return replace(node, at=f"{line}:{int(column) + len(node.source) - rest}")

    def _method(self, node: Node, name: str, method: Callable[..., Any], arguments: list[Any]) -> Any:
        try:
            check_count(method, len(arguments))
        except FunctionError as problem:
            raise self._error(node, f"wrong number of args for {name}: {problem}") from None
        return method(*arguments)

    def _member(self, node: Node, value: Any, name: str) -> Any:
        if value is _MISSING:
            return _MISSING
        if isinstance(value, Map):
            return value.get(name, _MISSING)
        if isinstance(value, Mapping):
            if name in value:
                return value[name]
            if name == "ID" and "Id" in value:
                return value["Id"]  # Docker's documents say Id, its structures ID; formats are written with either
            raise self._error(node, f'map has no entry for key "{name}"')
        if value is None:
            raise self._error(node, f'nil data; no entry for key "{name}"')
        raise self._error(node, f"can't evaluate field {name} in type {kind_of(value)}")
