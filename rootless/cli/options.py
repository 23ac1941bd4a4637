"""How options are read: click, with the habits of Docker's command line that click does not share.

A boolean takes a value behind an equals sign (`--rm=false`), also in its short form (`-t=true`); a wrong number of
arguments has Docker's words; nothing after the image of `run` is an option of ours.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, NoReturn

import click

from ..errors import CommandError, Interrupted, RootlessError, UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
"""What Go's strconv.ParseBool takes."""


class Command(click.Command):
    """A command of ours.

    Attributes:
        at_least, at_most: how many arguments it takes; None for any number.
        failure: the exit code of the engine's failures: 1, and 125 where the command's own code is the container's.
        passes_code: the codes 126 and 127 of a container's command that can't be executed are this command's too.
    """

    def __init__(
        self,
        *args: Any,
        at_least: int = 0,
        at_most: int | None = None,
        interspersed: bool = True,
        failure: int = 1,
        passes_code: bool = False,
        **kwargs: Any,
    ) -> None:
        settings = kwargs.setdefault("context_settings", {})
        settings.setdefault("help_option_names", ["--help"])
        settings.setdefault("max_content_width", 120)
        settings["allow_interspersed_args"] = interspersed
        settings["allow_extra_args"] = True  # to be counted here, and refused in Docker's words
        super().__init__(*args, **kwargs)
        _make_completable(self.params)
        self.at_least, self.at_most = at_least, at_most
        self.failure, self.passes_code = failure, passes_code

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            rest = super().parse_args(ctx, _Booleans(self, ctx).rewrite(args))
        except click.UsageError as problem:
            problem.ctx = problem.ctx or ctx  # click's parser does not always say whose options it reads
            raise
        if ctx.resilient_parsing:  # a shell completes a line that is not finished
            return rest
        given = _count_arguments(self, ctx) + len(rest)
        if given < self.at_least or (self.at_most is not None and given > self.at_most):
            self._complain(ctx)
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """As in Docker: what must be there stands without brackets, and `[OPTIONS]` only where there are some."""
        pieces = ["[OPTIONS]"] * any(isinstance(each, click.Option) for each in self.params)
        required = self.at_least
        for each in self.params:
            if isinstance(each, click.Argument):
                pieces.append(
                    each.metavar or _usage((each.name or "").removesuffix("s").upper(), each.nargs, required > 0)
                )
                required -= 1
        return pieces

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UsageError:
            raise
        except BrokenPipeError as problem:  # click would make it an exit with 1
            raise Interrupted(signal.SIGPIPE) from problem
        except OSError as problem:
            error = RootlessError(describe(problem))
            error.exit_code = self.failure
            raise error from problem
        except RootlessError as problem:
            if not (self.passes_code and isinstance(problem, CommandError)):
                problem.exit_code = self.failure
            raise

    def _complain(self, ctx: click.Context) -> NoReturn:
        if self.at_most == self.at_least:
            wanted = (
                f"requires {self.at_least} argument{'s' * (self.at_least != 1)}"
                if self.at_least
                else "accepts no arguments"
            )
        elif self.at_least == 0:
            wanted = f"requires at most {self.at_most} argument{'s' * (self.at_most != 1)}"
        elif self.at_most is None:
            wanted = f"requires at least {self.at_least} argument{'s' * (self.at_least != 1)}"
        else:
            wanted = f"requires at least {self.at_least} and at most {self.at_most} arguments"
        raise click.UsageError(f"'{ctx.command_path}' {wanted}", ctx)


def _usage(name: str, number: int, required: bool) -> str:
    if number == 1:
        return name if required else f"[{name}]"
    return f"{name} [{name}...]" if required else f"[{name}...]"


class Group(click.Group):
    """A group whose unknown commands are told in Docker's words."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        settings = kwargs.setdefault("context_settings", {})
        settings.setdefault("help_option_names", ["-h", "--help"] if not args else ["--help"])
        settings.setdefault("max_content_width", 120)
        super().__init__(*args, **kwargs)
        _make_completable(self.params)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, _Booleans(self, ctx).rewrite(args))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            from .absent import no_command

            raise click.UsageError(f"unknown command: {ctx.command_path} {args[0]}{no_command(args[0])}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """The group's options, or its words: those of the table, without loading any."""
        from .completion import commands

        return [*commands(ctx, incomplete), *click.Command.shell_complete(self, ctx, incomplete)]


class _Text(click.types.StringParamType):
    """A text of which a shell may ask how it could go on."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        from .completion import parameter

        return parameter(ctx, param, incomplete)


def _make_completable(parameters: list[click.Parameter]) -> None:
    for parameter in parameters:
        if parameter.type in (click.STRING, click.UNPROCESSED):
            parameter.type = _Text()


def _count_arguments(command: click.Command, ctx: click.Context) -> int:
    count = 0
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            value = ctx.params.get(parameter.name or "")
            count += len(value) if isinstance(value, tuple) else value is not None
    return count


class _Booleans:
    """Rewrites `--flag=VALUE` and `-f=VALUE` of boolean options into what click reads."""

    def __init__(self, command: click.Command, ctx: click.Context) -> None:
        self.command, self.ctx = command, ctx
        self.flags: dict[str, click.Option] = {}
        self.takes_value: set[str] = set()
        self.off: set[str] = set()
        for parameter in command.get_params(ctx):
            if isinstance(parameter, click.Option):
                for name in parameter.opts:
                    if parameter.is_flag:
                        self.flags[name] = parameter
                    else:
                        self.takes_value.add(name)

    def rewrite(self, args: list[str]) -> list[str]:
        result: list[str] = []
        words = iter(args)
        for word in words:
            if word == "--" or (not word.startswith("-") and not self.ctx.allow_interspersed_args):
                return [*result, word, *words]
            rewritten = self._one(word)
            if self.off:  # --rm --rm=false
                result = [earlier for earlier in result if earlier not in self.off]
                self.off.clear()
            result += rewritten
            if self._wants_next(word):
                result += [value for value in [next(words, None)] if value is not None]
        return result

    def _one(self, word: str) -> list[str]:
        """A word in click's form: `--flag=true` is `--flag`, `--flag=false` nothing, `-n=value` is `-nvalue`."""
        name, equals, value = word.partition("=")
        if not equals or not name.startswith("-") or name == "-":
            return [word]
        last = name if name.startswith("--") else f"-{name[-1]}"
        if not name.startswith("--") and last in self.takes_value and not self._takes_earlier(name):
            return [name + value] if value else [name, ""]
        if last not in self.flags:
            return [word]
        if value not in TRUE | FALSE:
            names = ", ".join(sorted(self.flags[last].opts, key=len))
            reason = f'strconv.ParseBool: parsing "{value}": invalid syntax'
            raise click.BadParameter(f'invalid argument "{value}" for "{names}" flag: {reason}', self.ctx)
        before = [name[:-1]] if not name.startswith("--") and len(name) > 2 else []
        if value in TRUE:
            return [*before, last]
        self.off.update(self.flags[last].opts)
        return before + self.flags[last].secondary_opts[:1]

    def _takes_earlier(self, cluster: str) -> bool:
        """Whether a letter before the last one of `-abc` takes the rest as its value."""
        return any(f"-{letter}" in self.takes_value for letter in cluster[1:-1])

    def _wants_next(self, word: str) -> bool:
        if word.startswith("--"):
            return word in self.takes_value
        for position, letter in enumerate(word[1:], 2):
            if letter == "=":
                break
            if f"-{letter}" in self.takes_value:
                return position == len(word)
        return False


def describe(problem: OSError) -> str:
    """A failed system call that no room has a better word for: of what, and why."""
    paths = [str(path) for path in (problem.filename, problem.filename2) if path is not None]
    return ": ".join([*paths, problem.strerror or str(problem)])


def invalid(value: str, flag: str, reason: str) -> UsageError:
    """Docker's form for an option's bad value."""
    return UsageError(f'invalid argument "{value}" for "{flag}" flag: {reason}')
