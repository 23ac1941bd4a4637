"""The pieces that a parsed template consists of, and the error that both the parser and the evaluator raise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import RootlessError


class TemplateError(RootlessError):
    """A format that can't be parsed, or does not fit what it is applied to."""

    def __init__(self, message: str) -> None:
        super().__init__(f"template parsing error: template: {message}")


@dataclass(frozen=True, slots=True)
class Node:
    """A piece of a template. `at` is its line and column, `source` its text, for errors."""

    at: str
    source: str


@dataclass(frozen=True, slots=True)
class Constant(Node):
    """A literal."""

    value: Any


@dataclass(frozen=True, slots=True)
class Field(Node):
    """`.a.b` of what `base` is; of the dot when there is no base. No names: the base itself."""

    base: Node | None
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Variable(Node):
    """`$name`; `$` is what the template was applied to."""

    name: str


@dataclass(frozen=True, slots=True)
class Function(Node):
    """The name of a function, to be called with the command's other words."""

    name: str


@dataclass(frozen=True, slots=True)
class Command(Node):
    """Words of a pipeline between two bars: a value, or something callable and its arguments."""

    words: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Pipe(Node):
    """Commands, each given the result of the one before as its last argument; perhaps put into variables."""

    commands: tuple[Command, ...]
    variables: tuple[str, ...] = ()
    declares: bool = False


@dataclass(frozen=True, slots=True)
class Text(Node):
    """What stands between actions; `source` is it."""


@dataclass(frozen=True, slots=True)
class Block(Node):
    """if, with or range: which one is `keyword`."""

    keyword: str
    pipe: Pipe
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Jump(Node):
    """break or continue."""

    keyword: str
