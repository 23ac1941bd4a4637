"""The variables of a build: which ARG and ENV are in sight at an instruction, and with which values.

Docker's Dockerfile reference, "ARG": an ARG before the first FROM is for FROM lines, and for those stages that declare
it again; one in a stage holds from its line to the stage's end, and in the stages that begin with that one. Of an ENV
and an ARG of one name the later one counts, and in a stage that begins with this one the ENV. Some are there without
being declared: the proxies everywhere, the platforms in FROM lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import InvalidError
from ..image.expand import Expander
from ..image.spec import Platform
from .instructions import Arg, Argument

PROXIES = frozenset(
    name
    for stem in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (stem, stem.lower())
)
"""Given to every RUN when `--build-arg` sets them; they change neither the cache nor the history unless declared."""

EPOCH = "SOURCE_DATE_EPOCH"
_QUIET = frozenset({EPOCH, *PROXIES})


@dataclass
class BuildArguments:
    """What `--build-arg` gave.

    Attributes:
        declared: the names that some instruction has asked for.
    """

    given: Mapping[str, str]
    declared: set[str] = field(default_factory=set)

    def value_of(self, argument: Argument, expander: Expander) -> str | None:
        """What was given, or the default, whose variables are those in sight: also the ARGs before it in its line."""
        given = self.given.get(argument.name)
        if given is None and argument.value is not None:
            return expander.word(argument.value)
        return given

    def unused(self) -> list[str]:
        """The names that nothing asked for: probably misspelt."""
        return sorted(name for name in self.given if name not in self.declared and name not in _QUIET)


def platforms(target: Platform, build: Platform, stage: str) -> dict[str, str]:
    """The platform arguments (Dockerfile reference, "Automatic platform ARGs in the global scope")."""
    found = {"TARGETSTAGE": stage or "default"}
    for prefix, platform in ("TARGET", target), ("BUILD", build):
        found[f"{prefix}PLATFORM"] = platform_text(platform)
        found[f"{prefix}OS"] = platform.os
        found[f"{prefix}ARCH"] = platform.architecture
        found[f"{prefix}VARIANT"] = platform.variant
    return found


def platform_text(platform: Platform) -> str:
    """`linux/arm/v7`."""
    return "/".join(filter(None, (platform.os, platform.architecture, platform.variant)))


class GlobalScope:
    """The arguments before the first FROM."""

    def __init__(self, arguments: Sequence[Arg], build: BuildArguments, automatic: dict[str, str], escape: str) -> None:
        self.build = build
        self.automatic = automatic
        self.escape = escape
        self.values: dict[str, str] = {}
        for instruction in arguments:
            for argument in instruction.arguments:
                try:
                    self._declare(argument)
                except InvalidError as problem:
                    raise instruction.place.error(problem.message, hint=problem.hint) from problem

    def _declare(self, argument: Argument) -> None:
        self.build.declared.add(argument.name)
        value = self.build.value_of(argument, self.expander())
        if value is None:
            value = self.automatic.get(argument.name)
        if value is not None:
            self.values[argument.name] = value

    def expander(self) -> Expander:
        """For FROM lines."""
        return Expander(self.automatic | self.values, escape=self.escape)


class StageScope:
    """The variables of one stage as its instructions go by.

    Attributes:
        declared: what each ARG came to, in the order of their first declarations; None for no value.
        values: of everything that is in sight.
    """

    def __init__(
        self, outer: GlobalScope, environment: Sequence[str], declared: dict[str, str | None] | None = None
    ) -> None:
        """
        Args:
            environment: the image's.
            declared: what the stage that this one begins with has declared.
        """
        self._outer = outer
        self.declared: dict[str, str | None] = {} if declared is None else declared
        self._environment = dict(item.partition("=")[::2] for item in environment)
        inherited = {name: value for name, value in self.declared.items() if value is not None}
        self.values = inherited | self._environment

    def declare(self, argument: Argument) -> str | None:
        """An ARG of the stage. Its value, None when it has none.

        Raises:
            InvalidError: its default is malformed, or wants a variable that isn't there.
        """
        outer = self._outer
        outer.build.declared.add(argument.name)
        value = outer.build.value_of(argument, self.expander())
        if value is None:
            value = outer.values.get(argument.name, outer.automatic.get(argument.name))
        self.declared[argument.name] = value
        if value is not None:
            self.values[argument.name] = value
        return value

    def set(self, name: str, value: str) -> None:
        """An ENV of the stage."""
        self._environment[name] = self.values[name] = value

    def expander(self) -> Expander:
        """For the instructions of the stage."""
        return Expander(self.values, escape=self._outer.escape)

    def visible(self) -> dict[str, str]:
        """The arguments that a RUN gets as variables beside the image's."""
        return {
            name: self.values[name]
            for name in self.declared
            if name in self.values and self.values[name] != self._environment.get(name)
        }

    def told(self) -> dict[str, str]:
        """The arguments as the history of a RUN tells them: all that are declared, with what the RUN sees of them."""
        return {name: self.values.get(name, "") for name in self.declared}

    def proxies(self) -> dict[str, str]:
        """The proxies that a RUN gets without a declaration."""
        known = self.declared.keys() | self._environment.keys()
        return {name: value for name, value in self._outer.build.given.items() if name in PROXIES - known}
