"""One stage, instruction by instruction.

A builder goes on as long as every step is known from an earlier build, which costs a key each, and stops before the
first one that must be worked on. The work is done by the same builder in a process of its own (executor.py), which
inherits it as it stands.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ..container.lifecycle import Engine
from ..errors import RootlessError
from ..image import spec
from ..image.pins import Pin
from ..image.store import Image, Layer
from ..network import choice
from . import cache as caching
from . import config, events, instructions
from .cache import Cache, Known
from .config import Draft
from .events import Began, Cached, Ended, Output, Tell
from .place import DockerfileError, Place
from .request import Request
from .running import Command, FailedCommand, Runner
from .scope import GlobalScope, StageScope, platform_text
from .secrets import Masker
from .stages import STEPS, Planned
from .transfer import Chosen, Transfer, make_directory
from .tree import Tree


class WorkError(Exception):
    """The next step is not known: it must be worked on, and this process may not."""


class StepError(RootlessError):
    """A step failed.

    Attributes:
        vertex: which one, as progress names it.
        code: the exit code of its command; None when it failed otherwise.
        stage, position: the stage's number and the instruction's in it.
    """

    def __init__(self, problem: RootlessError, vertex: str, place: Place, stage: int, position: int) -> None:
        super().__init__(problem.message, hint=problem.hint)
        self.vertex = vertex
        self.picture = place.picture()
        self.code = problem.code if isinstance(problem, FailedCommand) else None
        self.stage, self.position = stage, position


@dataclass
class Common:
    """What all stages of a build share.

    Attributes:
        files: gives the context's.
    """

    engine: Engine
    request: Request
    cache: Cache
    pin: Pin
    outer: GlobalScope
    files: Callable[[], Tree]
    tell: Tell = events.silence


@dataclass
class Builder:
    """The building of one stage.

    Attributes:
        draft: what it has come to.
        position: the number of the next instruction.
        step: the number of the last step shown.
    """

    common: Common
    planned: Planned
    draft: Draft
    scope: StageScope
    position: int = 0
    step: int = 1
    working: bool = False
    chosen: dict[int, Chosen] = field(default_factory=dict)
    results: Mapping[int, Draft] = field(default_factory=dict)

    @classmethod
    def begin(cls, common: Common, planned: Planned, results: Mapping[int, Draft]) -> Builder:
        """A builder at the first instruction of a stage, whose base and origins have been built."""
        platform = common.request.platform
        match planned.base:
            case None:
                draft = Draft(platform)
            case int(index):
                draft = results[index].copy()
            case image:
                draft = Draft.of_image(image, platform)
        draft.run.on_build = None
        scope = StageScope(common.outer, draft.run.env or [])
        builder = cls(common, planned, draft, scope, results=results)
        if isinstance(planned.base, Image):
            with events.vertex(common.tell, builder.label(1, f"FROM {planned.base_name}"), builder.vertex(1)):
                pass
        return builder

    def label(self, number: int, text: str) -> str:
        """`[stage 2/5] RUN make`."""
        name = f"{self.planned.name} " if self.planned.name else ""
        return f"[{name}{number}/{self.planned.steps}] {text}"

    def vertex(self, number: int) -> str:
        return f"{self.planned.index}:{number}"

    def advance(self, *, working: bool) -> Draft:
        """Go on to the end of the stage.

        Args:
            working: whether this process may do what is not known.

        Raises:
            WorkError: it may not, and would have to.
            StepError: a step failed.
            DockerfileError: an instruction can't be meant.
        """
        self.working = working
        while self.position < len(self.planned.instructions):
            instruction = self.planned.instructions[self.position]
            number = self.step + isinstance(instruction, STEPS)
            try:
                self._instruction(instruction, number)
            except (WorkError, DockerfileError):
                raise
            except RootlessError as problem:
                if not isinstance(instruction, STEPS):
                    raise instruction.place.error(problem.message, hint=problem.hint) from problem
                vertex = self.vertex(number)
                self.common.tell(Ended(vertex, time.monotonic(), error=problem.message))
                raise StepError(problem, vertex, instruction.place, self.planned.index, self.position) from problem
            self.step = number
            self.position += 1
        return self.draft

    def _instruction(self, written: instructions.Instruction, number: int) -> None:
        instruction = written.expanded(self.scope.expander())
        match instruction:
            case instructions.Run():
                self._run(instruction, number)
            case instructions.Copy() | instructions.Add():
                Transfer(self, instruction, number).take()
            case instructions.Workdir():
                self._workdir(instruction, number)
            case _:
                config.apply(self.draft, instruction, self.scope)

    # --- the steps -----------------------------------------------------------------------------------------------

    def take(self, key: str, number: int, text: str, created_by: str, work: Callable[[], Layer]) -> None:
        """The layer of a step: known by its key, or made by `work`."""
        label, vertex = self.label(number, text), self.vertex(number)
        known = self.common.cache.find(key, self.draft.layers)
        if known is not None:
            self.common.tell(Cached(vertex, time.monotonic(), label))
        else:
            self.require_work()
            self.common.tell(Began(vertex, time.monotonic(), label))
            known = Known(work(), self._now())
            self.common.cache.note(key, known, label)
            self.common.tell(Ended(vertex, time.monotonic()))
        self.draft.add(known.layer, key, created_by, known.created)

    def require_work(self) -> None:
        """WorkError in a process that may not do any."""
        if not self.working:
            raise WorkError

    def origin(self, name: str) -> Image | Sequence[Layer]:
        """What a `--from` or `from=` means."""
        found = self.planned.origins[name]
        return self.results[found].layers if isinstance(found, int) else found

    def _now(self) -> str:
        epoch = self.common.request.epoch
        return spec.timestamp(datetime.now(UTC)) if epoch is None else config.epoch_text(epoch)

    def _workdir(self, instruction: instructions.Workdir, number: int) -> None:
        path = config.set_workdir(self.draft, instruction)
        created_by = f"WORKDIR {path}"
        if path == "/":
            self.draft.note(created_by)
            return
        user = self.draft.run.user or ""
        key = caching.key("workdir", self.draft.chain_id, path, user, self.common.request.epoch)
        below = tuple(self.draft.layers)
        self.take(key, number, instruction.text, created_by, lambda: make_directory(self.common, below, path, user))

    def _run(self, instruction: instructions.Run, number: int) -> None:
        _require_plain(instruction)
        argv = self._argv(instruction)
        declared = self.scope.visible()
        variables = [f"{name}={value}" for name, value in declared.items()]
        command = Command(
            argv=tuple(argv),
            env=(*self.draft.run.env, *variables) if self.draft.run.env else tuple(variables),
            workdir=self.draft.workdir,
            user=self.draft.run.user or "",
            network=self._network(instruction.network),
        )
        platform = platform_text(self.draft.platform)
        key = caching.key(
            "run",
            self.draft.chain_id,
            platform,
            argv,
            command.env,
            command.workdir,
            command.user,
            command.network,
            self.common.request.epoch,
        )
        prefix = f"|{len(variables)} {' '.join(variables)} " if variables else ""
        created_by = f"RUN {prefix}{' '.join(argv)} # buildkit"
        self.take(key, number, instruction.text, created_by, lambda: self._execute(command, number))

    def _network(self, asked: str) -> str:
        """What a RUN is connected to, as a container's specification says it."""
        mode = asked if asked != "default" else self.common.request.network
        return choice.default()[0] if mode == "default" else mode

    def _argv(self, instruction: instructions.Run) -> list[str]:
        return config.command_line(instruction, self.draft.shell)

    def _execute(self, command: Command, number: int) -> Layer:
        runner = Runner(self.common.engine, self.common.pin)
        masker = Masker(list(self.common.request.secrets.values()))
        vertex = self.vertex(number)

        def output(stream: int, data: bytes) -> None:
            if shown := masker.feed(stream, data):
                self.common.tell(Output(vertex, time.monotonic(), stream, shown))

        try:
            with runner.container(self.draft.layers, command) as container:
                try:
                    runner.execute(container, command, output)
                finally:
                    for stream, data in masker.rest():
                        self.common.tell(Output(vertex, time.monotonic(), stream, data))
                return runner.layer(container, self.draft.layers, self.common.request.epoch)
        finally:
            runner.close()


def _require_plain(instruction: instructions.Run) -> None:
    """Refuse what would else be left out without a word.

    Raises:
        DockerfileError: the instruction has mounts, here-documents or `--security=insecure`.
    """
    wanted = {
        "RUN --mount": bool(instruction.mounts),
        "RUN with a here-document": bool(instruction.heredocs),
        "RUN --security=insecure": instruction.security != "sandbox",
    }
    for what, asked in wanted.items():
        if asked:
            raise instruction.place.error(f"{what} is not available in this version", hint="COPY what it needs")
