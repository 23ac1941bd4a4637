"""Which stages a build needs, and what each of them needs: the Dockerfile as a graph.

A stage is named by its number or its `AS`; a name that no earlier stage has is an image's. What the target does not
need, directly or by way of others, is not built.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import InvalidError, RootlessError
from ..image.store import Image
from . import instructions as ins
from . import interpret, mounts
from .instructions import Dockerfile, Instruction
from .place import DockerfileError, Place, nearest
from .scope import GlobalScope

SCRATCH = "scratch"


@dataclass(frozen=True)
class Planned:
    """A stage that is to be built.

    Attributes:
        index: its number in the Dockerfile.
        name: as progress shows it; empty for the only stage of a Dockerfile.
        base: the number of the stage, or the image, that it begins with; None for `scratch`.
        origins: what each `--from` and `from=` in it means: a stage's number or an image.
        needs: the numbers of the stages that must be built before it.
    """

    index: int
    name: str
    place: Place
    base: int | Image | None
    base_name: str
    platform: str
    instructions: tuple[Instruction, ...]
    origins: dict[str, int | Image]
    needs: frozenset[int]

    @property
    def steps(self) -> int:
        """How many of its instructions are shown with a number, FROM included."""
        return 1 + sum(isinstance(each, STEPS) for each in self.instructions)


STEPS = (ins.Run, ins.Copy, ins.Add, ins.Workdir)
"""The instructions that make a layer."""

Obtain = Callable[[str, str], Image]
"""Gives the image of a name for a platform (empty: the build's), pulled if need be."""


class Planner:
    """Finds out what is to be built."""

    def __init__(self, dockerfile: Dockerfile, outer: GlobalScope, obtain: Obtain) -> None:
        self._dockerfile = dockerfile
        self._outer = outer
        self._obtain = obtain
        self._bases = [stage.origin.expanded(outer.expander()) for stage in dockerfile.stages]
        self._planned: dict[int, Planned] = {}

    def target(self, text: str) -> int:
        """The number of the stage to be built: the last one, or the one that `--target` means.

        Raises:
            InvalidError: there is none of this name.
        """
        if not text:
            return len(self._bases) - 1
        found = self._stage_of(text, len(self._bases))
        if found is None:
            names = [stage.name for stage in self._dockerfile.stages if stage.name]
            raise InvalidError(f'target stage "{text}" could not be found{nearest(text, names)}')
        return found

    def plan(self, target: int) -> list[Planned]:
        """The stages that `target` needs and itself, in an order in which they could be built one after the other.

        Raises:
            DockerfileError: a FROM has no name, or a stage needs itself.
            RootlessError: an image can't be had.
        """
        self._visit(target)
        return [self._planned[index] for index in sorted(self._planned)]

    def _visit(self, index: int) -> Planned:
        if index in self._planned:
            return self._planned[index]
        origin = self._bases[index]
        if not origin.image:
            raise origin.place.error(
                f"base name ({self._dockerfile.stages[index].origin.image}) should not be blank",
                hint="give its ARG a default, or a value with --build-arg",
            )
        base = self._base(index, origin)
        triggers = self._triggers(base, origin)
        instructions = (*triggers, *self._dockerfile.stages[index].instructions)
        origins = self._origins(index, instructions)
        needs = frozenset(each for each in (base, *origins.values()) if isinstance(each, int))
        for need in sorted(needs):
            self._visit(need)
        planned = Planned(
            index=index,
            name=self._shown_name(index),
            place=origin.place,
            base=base,
            base_name=origin.image,
            platform=origin.platform,
            instructions=instructions,
            origins=origins,
            needs=needs,
        )
        self._planned[index] = planned
        return planned

    def _shown_name(self, index: int) -> str:
        if len(self._bases) == 1:
            return ""
        return self._bases[index].name or f"stage-{index}"

    def _base(self, index: int, origin: ins.From) -> int | Image | None:
        found = self._stage_named(origin.image, index)
        if found is not None:
            return found
        if origin.image == SCRATCH:
            return None
        return self._image(origin.image, origin.platform, origin)

    def _image(self, name: str, platform: str, where: Instruction) -> Image:
        try:
            return self._obtain(name, platform)
        except DockerfileError:
            raise
        except RootlessError as problem:
            raise where.place.error(problem.message, hint=problem.hint) from problem

    def _triggers(self, base: int | Image | None, origin: ins.From) -> tuple[Instruction, ...]:
        """The ONBUILD instructions of what a stage begins with."""
        if isinstance(base, int):
            expressions = [
                each.expression for each in self._dockerfile.stages[base].instructions if isinstance(each, ins.OnBuild)
            ]
        else:
            expressions = list(base.run.on_build or []) if base is not None else []
        return tuple(interpret.trigger(expression, origin.image) for expression in expressions)

    def _origins(self, index: int, instructions: Sequence[Instruction]) -> dict[str, int | Image]:
        found: dict[str, int | Image] = {}
        for each in instructions:
            for name in _names(each):
                if name in found:
                    continue
                stage = self._stage_of(name, index)
                if stage is None and self._stage_of(name, len(self._bases)) == index:
                    raise each.place.error(f"circular dependency detected on stage: {name}")
                if stage is None and name.isascii() and name.isdecimal():
                    raise each.place.error(f"invalid stage index {name}", hint="stages before this one count from 0")
                if stage is None and name == SCRATCH:
                    raise each.place.error(f"{name} has no files that could be taken from it")
                found[name] = stage if stage is not None else self._image(name, "", each)
        return found

    def _stage_named(self, name: str, before: int) -> int | None:
        """The last stage of this name among those before a number."""
        wanted = name.lower()
        return next((i for i in reversed(range(before)) if self._bases[i].name == wanted), None)

    def _stage_of(self, text: str, before: int) -> int | None:
        """The stage that a name or a number means, among those before a number."""
        found = self._stage_named(text, before)
        if found is None and text.isascii() and text.isdecimal() and int(text) < before:
            return int(text)
        return found


def _names(instruction: Instruction) -> list[str]:
    """What an instruction takes files from, other than the context."""
    if isinstance(instruction, ins.Copy):
        return [instruction.origin] if instruction.origin else []
    if isinstance(instruction, ins.Run):
        return [name for text in instruction.mounts if (name := mounts.origin_of(text))]
    return []
