"""The grammar of the command line: Docker's, which is that of Go's pflag.

A boolean takes a value behind an equals sign only (`--rm=false`, `-t=true`). Short options bundle, and the last of a
bundle may take a value (`-itp 80`, `-itp80`, `-itp=80`). `--` ends the options, and so does the first argument where
what follows is not ours to read (`run IMAGE COMMAND ...`). A wrong line is told in Docker's words.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from ..errors import CommandError, RootlessError, UsageError

F = TypeVar("F", bound=Callable[..., object])

TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
"""What Go's strconv.ParseBool takes."""


class LineError(UsageError):
    """The line does not parse. `exit_code` is 125 for what is wrong with an option, 1 for all else."""

    def __init__(self, message: str, *, exit_code: int = 125) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class HelpWanted(Exception):
    """`--help` was read: nothing after it counts."""


class Option(msgspec.Struct, frozen=True):
    """One option.

    Attributes:
        names: as they are typed, short ones first.
        field: the function's argument that it fills.
        off: the name that switches a boolean off, where there is one.
        multiple: it may be given several times; the value is a tuple.
        choices: all the values it has; empty for any.
        metavar: what its value is called in the help.
        envvar: the variable that is asked when it is not given.
    """

    names: tuple[str, ...]
    field: str
    off: str = ""
    help: str = ""
    boolean: bool = False
    integer: bool = False
    multiple: bool = False
    choices: tuple[str, ...] = ()
    default: Any = None
    metavar: str = ""
    envvar: str = ""
    hidden: bool = False

    @property
    def title(self) -> str:
        """As pflag names it when it complains of a value."""
        long = [name for name in self.names if name.startswith("--")]
        return ", ".join([name for name in self.names if name not in long] + long[:1])

    def read(self, text: str) -> Any:
        """One value of it.

        Raises:
            LineError: it can't have this one.
        """
        if self.boolean:
            if text not in TRUE | FALSE:
                raise invalid(text, self.title, f'strconv.ParseBool: parsing "{text}": invalid syntax')
            return text in TRUE
        if self.integer:
            try:
                return int(text, 0)
            except ValueError:
                reason = f'strconv.ParseInt: parsing "{text}": invalid syntax'
                raise invalid(text, self.title, reason) from None
        if self.choices and text not in self.choices:
            raise invalid(text, self.title, f"must be one of {', '.join(self.choices)}")
        return text


class Argument(msgspec.Struct, frozen=True):
    """A positional argument: None where it is left out. `many` takes all that are left, as a tuple."""

    field: str
    many: bool = False


def option(*words: str, **given: Any) -> Callable[[F], F]:
    """Decorate a command's function with an option: its names, and the function's argument where that is called
    otherwise than the first long name. What else is given are the fields of `Option`."""
    names = tuple(word for word in words if word.startswith("-"))
    field = words[-1] if words[-1] not in names else next((name for name in names if name.startswith("--")), names[0])
    nothing = () if given.get("multiple") else False if given.get("boolean") else None
    default = given.pop("default", nothing)
    return _adder(Option(names, field.lstrip("-").replace("-", "_"), default=default, **given))


def argument(field: str, *, many: bool = False) -> Callable[[F], F]:
    """Decorate a command's function with a positional argument. How many there must be `command` says."""
    return _adder(Argument(field, many))


def _adder(parameter: Option | Argument) -> Callable[[F], F]:
    def add(function: F) -> F:
        function.__dict__.setdefault("parameters", []).append(parameter)
        return function

    return add


class Line:
    """The words of one command, read one after the other.

    Attributes:
        values: what options were given, by field.
        arguments: all other words.
        waiting: the option whose value is the next word.
        ended: no more options are read.
    """

    def __init__(self, options: Iterable[Option], *, interspersed: bool) -> None:
        self.options = tuple(options)
        self.interspersed = interspersed
        self.values: dict[str, Any] = {}
        self.arguments: list[str] = []
        self.waiting: Option | None = None
        self.ended = False
        self._asked = ""
        self._names = {name: each for each in self.options for name in (*each.names, each.off) if name}

    def named(self, name: str) -> Option | None:
        """The option of this name."""
        return self._names.get(name)

    def feed(self, word: str) -> None:
        """Read the next word.

        Raises:
            LineError: no such option, or not such a value.
            HelpWanted: it asks for help.
        """
        if self.waiting is not None:
            waiting, self.waiting = self.waiting, None
            self._set(waiting, word)
        elif self.ended or word == "-" or not word.startswith("-"):
            self.arguments.append(word)
            self.ended = self.ended or not self.interspersed
        elif word == "--":
            self.ended = True
        elif word.startswith("--"):
            self._read_long(word)
        else:
            self._read_short(word[1:])

    def feed_all(self, words: Iterable[str]) -> None:
        """Read a whole line. Raises as `feed`, and where the last option lacks its value."""
        for word in words:
            self.feed(word)
        if self.waiting is not None:
            raise LineError(f"flag needs an argument: {self._asked}")

    def _read_long(self, word: str) -> None:
        name, equals, value = word.partition("=")
        found = self._names.get(name)
        if found is None:
            if name == "--help":
                raise HelpWanted
            raise LineError(f"bad flag syntax: {word}" if name == "--" else f"unknown flag: {name}{_why_not(name)}")
        if found.boolean:
            self._set(found, value if equals else "true", inverted=name == found.off)
        elif equals:
            self._set(found, value)
        else:
            self.waiting, self._asked = found, name

    def _read_short(self, letters: str) -> None:
        """A bundle, without its hyphen."""
        while letters:
            letter, rest = letters[0], letters[1:]
            found = self._names.get(f"-{letter}")
            if found is None:
                if letter == "h":
                    raise HelpWanted
                raise LineError(f"unknown shorthand flag: {letter!r} in -{letters}")
            if rest.startswith("="):
                return self._set(found, rest[1:])
            if not found.boolean:
                if rest:
                    return self._set(found, rest)
                self.waiting, self._asked = found, f"{letter!r} in -{letters}"
                return None
            self._set(found, "true")
            letters = rest
        return None

    def _set(self, found: Option, text: str, *, inverted: bool = False) -> None:
        value = found.read(text)
        if found.multiple:
            self.values.setdefault(found.field, []).append(value)
        else:
            self.values[found.field] = value != inverted if found.boolean else value

    def result(self, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
        """A value for every option: what was given, else what the environment says, else its default."""
        found: dict[str, Any] = {}
        for each in self.options:
            if each.field in self.values:
                value = self.values[each.field]
                found[each.field] = tuple(value) if each.multiple else value
            elif each.envvar and environment.get(each.envvar):
                found[each.field] = each.read(environment[each.envvar])
            else:
                found[each.field] = each.default
        return found


class Command:
    """A command: a function, its options and arguments, and how it fails.

    Attributes:
        usage: its arguments in the usage line, each way to call it on a line of its own.
        at_least, at_most: how many arguments it takes; None for any number.
        interspersed: options may stand behind arguments.
        failure: the exit code of the engine's failures: 1, and 125 where the command's own code is the container's.
        passes_code: the codes 126 and 127 of a container's command that can't be executed are this command's too.
    """

    def __init__(
        self,
        function: Callable[..., object],
        usage: str = "",
        *,
        at_least: int = 0,
        at_most: int | None = None,
        interspersed: bool = True,
        failure: int = 1,
        passes_code: bool = False,
    ) -> None:
        parameters: list[Option | Argument] = function.__dict__.get("parameters", [])
        self.function, self.usage = function, usage
        self.options = tuple(p for p in reversed(parameters) if isinstance(p, Option))
        self.arguments = tuple(p for p in reversed(parameters) if isinstance(p, Argument))
        self.at_least, self.at_most, self.interspersed = at_least, at_most, interspersed
        self.failure, self.passes_code = failure, passes_code

    def line(self) -> Line:
        """An empty line of this command."""
        return Line(self.options, interspersed=self.interspersed)

    def read(self, path: str, words: Iterable[str]) -> dict[str, Any]:
        """The function's arguments by name.

        Args:
            path: the words that led here.

        Raises:
            LineError: in Docker's words.
            HelpWanted: see there.
        """
        line = self.line()
        line.feed_all(words)
        given = len(line.arguments)
        if given < self.at_least or (self.at_most is not None and given > self.at_most):
            raise LineError(f"'{path}' {self._wanted()}", exit_code=1)
        return line.result() | self._bind(line.arguments)

    def _bind(self, words: list[str]) -> dict[str, Any]:
        bound: dict[str, Any] = {}
        for each in self.arguments:
            if each.many:
                bound[each.field], words = tuple(words), []
            else:
                bound[each.field], words = (words[0] if words else None), words[1:]
        return bound

    def _wanted(self) -> str:
        low, high = self.at_least, self.at_most
        if low == high:
            return f"requires {_arguments(low)}" if low else "accepts no arguments"
        if high is None:
            return f"requires at least {_arguments(low)}"
        if low == 0:
            return f"requires at most {_arguments(high)}"
        return f"requires at least {low} and at most {_arguments(high)}"

    def run(self, context: object, path: str, words: Iterable[str]) -> int:
        """Read the line and call the function; the exit code.

        Raises:
            RootlessError: with the code that this command ends with then.
            HelpWanted: see there.
        """
        try:
            given = self.read(path, words)
        except LineError as problem:
            problem.hint = f"see '{path} --help'"
            raise
        try:
            code = self.function(context, **given)
        except (UsageError, BrokenPipeError):
            raise
        except OSError as problem:
            error = RootlessError(describe(problem))
            error.exit_code = self.failure
            raise error from problem
        except RootlessError as problem:
            if not (self.passes_code and isinstance(problem, CommandError)):
                problem.exit_code = self.failure
            raise
        return code if isinstance(code, int) else 0


def command(usage: str = "", **settings: Any) -> Callable[[Callable[..., object]], Command]:
    """Turn a function into a `Command` with these settings. Its docstring is the text of its help."""
    return lambda function: Command(function, usage, **settings)


def _arguments(number: int | None) -> str:
    return f"{number} argument{'s' * (number != 1)}"


def _why_not(name: str) -> str:
    from .absent import no_option

    return no_option(name)


def describe(problem: OSError) -> str:
    """A failed system call that no room has a better word for: of what, and why."""
    paths = [str(path) for path in (problem.filename, problem.filename2) if path is not None]
    return ": ".join([*paths, problem.strerror or str(problem)])


def invalid(value: str, flag: str, reason: str) -> LineError:
    """Docker's form for an option's bad value."""
    return LineError(f'invalid argument "{value}" for "{flag}" flag: {reason}')
