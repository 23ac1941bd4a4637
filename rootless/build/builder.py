"""One stage, instruction by instruction.

A builder goes on as long as every step is known from an earlier build, which costs a key each, and stops before the
first one that must be worked on. The work is done by the same builder in a process of its own (executor.py), which
inherits it as it stands.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..container.engine import Engine
from ..errors import RootlessError, StoreError, UnavailableError
from ..image import spec
from ..image.pins import Pin
from ..image.store import Image, Layer
from ..network import choice
from . import cache as caching
from . import config, events, instructions, parser
from .cache import Cache, Known
from .config import Draft
from .events import Began, Cached, Ended, Output, Tell
from .mounts import SCRIPTS, parse_mount
from .place import DockerfileError, Place
from .request import NETWORK_HOST, Request
from .running import Command, FailedCommand, Runner
from .scope import GlobalScope, StageScope, platform_text
from .secrets import Masker
from .sources import Source
from .stages import STEPS, Planned
from .transfer import Chosen, Transfer, make_directory
from .tree import Tree

if TYPE_CHECKING:
    from .runmounts import RunMounts


class WorkError(Exception):
    """The next step is not known: it must be worked on, and this process may not."""


class StepError(RootlessError):
    """A step failed.

    Attributes:
        vertex: which one, as progress names it.
        code: the exit code of its command; None when it failed otherwise.
        draft: the state before it.
        variables: the arguments that its command would have had beside that state's environment.
    """

    def __init__(
        self, problem: RootlessError, vertex: str, place: Place, draft: Draft, variables: Sequence[str]
    ) -> None:
        super().__init__(problem.message, hint=problem.hint)
        self.vertex = vertex
        self.picture = place.picture()
        self.code = problem.code if isinstance(problem, FailedCommand) else None
        self.draft, self.variables = draft, tuple(variables)


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
        working: whether this process may do what is not known.
        chosen: what each COPY and ADD takes of the context, by its position.
        bound: what a RUN binds of the context, by its position and the source.
    """

    common: Common
    planned: Planned
    draft: Draft
    scope: StageScope
    position: int = 0
    step: int = 1
    working: bool = False
    chosen: dict[int, Chosen] = field(default_factory=dict)
    bound: dict[tuple[int, str], list[Source]] = field(default_factory=dict)
    results: Mapping[int, Draft] = field(default_factory=dict)

    @classmethod
    def begin(cls, common: Common, planned: Planned, results: Mapping[int, Draft]) -> Builder:
        """A builder at the first instruction of a stage, whose base and origins have been built."""
        platform = common.request.platform
        match planned.base:
            case None:
                draft = Draft.of_nothing(platform)
            case int(index):
                draft = results[index].copy()
            case image:
                draft = Draft.of_image(image, platform, caching.keys_of(image))
        draft.ready()
        scope = StageScope(common.outer, draft.run.env or [], draft.arguments)
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
            except (WorkError, DockerfileError, BrokenPipeError):  # the last: nobody is there to be told
                raise
            except (RootlessError, OSError) as found:
                problem = found if isinstance(found, RootlessError) else _refused(found)
                if not isinstance(instruction, STEPS):
                    raise instruction.place.error(problem.message, hint=problem.hint) from problem
                vertex = self.vertex(number)
                self.common.tell(Ended(vertex, time.monotonic(), error=problem.message))
                raise StepError(problem, vertex, instruction.place, self.draft, self._variables()) from problem
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

    def take(
        self,
        key: str,
        number: int,
        text: str,
        created_by: str,
        work: Callable[[], Layer],
        closer: Callable[[], str] | None = None,
    ) -> None:
        """The layer of a step: known by its key, or made by `work`.

        Args:
            closer: finds a second key by looking closer, which takes work. What is known by it is used, too.
        """
        label, vertex = self.label(number, text), self.vertex(number)
        cache, second = self.common.cache, ""
        known = cache.find(key, self.draft.layers)
        if known is None and closer is not None:
            self.require_work()
            second = closer()
            known = cache.find(second, self.draft.layers)
            if known is not None:
                cache.note(key, known, label)
        if known is not None:
            self.common.tell(Cached(vertex, time.monotonic(), label))
        else:
            self.require_work()
            self.common.tell(Began(vertex, time.monotonic(), label))
            known = Known(work(), self._now())
            for each in filter(None, (key, second)):
                cache.note(each, known, label)
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
        path = self.draft.resolve(instruction.path).rstrip("/") or "/"
        created_by = f"WORKDIR {path}"
        if path == "/":
            self.draft.note(created_by)
        else:
            user, below = self.draft.run.user or "", tuple(self.draft.layers)
            key = caching.key("workdir", self.draft.chain_id, path, user, self.common.request.epoch)
            self.take(key, number, instruction.text, created_by, lambda: make_directory(self.common, below, path, user))
        # Not before it is there: whoever may not make it leaves the instruction to a worker, which begins it anew.
        self.draft.run.working_dir = path

    # --- RUN -----------------------------------------------------------------------------------------------------

    def _run(self, instruction: instructions.Run, number: int) -> None:
        if instruction.security != "sandbox":
            raise UnavailableError(
                "security.insecure is not allowed: an unprivileged user has no more to give to a RUN than it has",
                hint="leave --security out",
            )
        argv, script = self._argv(instruction)
        mounts = self._mounts(instruction, script)
        mode = self._mode(instruction.network)
        variables = self._variables()
        proxies = [f"{name}={value}" for name, value in self.scope.proxies().items()]
        command = Command(
            argv=tuple(argv),
            env=(*(self.draft.run.env or ()), *variables),
            workdir=self.draft.workdir,
            user=self.draft.run.user or "",
            network=choice.default()[0] if mode == "default" else mode,
            secrets=tuple(proxies),
        )
        what = [
            argv,
            script,
            command.env,
            command.workdir,
            command.user,
            mode,
            mounts.key() if mounts is not None else [],
        ]
        platform = platform_text(self.draft.platform)
        key = caching.key("run", self.draft.chain_id, platform, *what, self.common.request.epoch)
        told = [f"{name}={value}" for name, value in self.scope.told().items()]
        prefix = f"|{len(told)} {' '.join(told)} " if told else ""
        created_by = f"RUN {prefix}{' '.join(argv)} # buildkit"
        self.take(key, number, instruction.text, created_by, lambda: self._execute(command, mounts, number))

    def _mounts(self, instruction: instructions.Run, script: tuple[str, str] | None) -> RunMounts | None:
        """What is mounted for a RUN; None for nothing."""
        if not instruction.mounts and script is None:
            return None
        from .runmounts import RunMounts

        expander = self.scope.expander()
        return RunMounts(self, [parse_mount(text, expander) for text in instruction.mounts], script)

    def _variables(self) -> list[str]:
        """The arguments that a RUN gets as variables."""
        return [f"{name}={value}" for name, value in self.scope.visible().items()]

    def _mode(self, asked: str) -> str:
        """What a RUN is connected to: default, none or host, whatever the machine has for the first.

        Raises:
            UnavailableError: it asks for the machine's own network, and nobody has allowed that.
        """
        request = self.common.request
        if asked == "host" and request.network != "host" and NETWORK_HOST not in request.allowed:
            raise UnavailableError(
                f"{NETWORK_HOST} is not allowed: the Dockerfile asks for this machine's own network",
                hint=f"--allow {NETWORK_HOST} gives it",
            )
        return asked if asked != "default" else request.network

    def _argv(self, instruction: instructions.Run) -> tuple[list[str], tuple[str, str] | None]:
        """The command, and the file (name, content) that it is when a here-document begins with `#!`.

        As in BuildKit a single here-document without a command is the command; others are given to the shell with the
        line that they belong to.
        """
        if not instruction.heredocs:
            return config.command_line(instruction, self.draft.shell), None
        line, first = instruction.command[0], instruction.heredocs[0]
        if parser.heredoc(line) is None:
            line += "".join(f"\n{each.content}{each.name}" for each in instruction.heredocs)
            return [*self.draft.shell, line], None
        if first.text.startswith("#!"):
            return [*self.draft.shell, f"{SCRIPTS}/{first.name}"], (first.name, first.text)
        return [*self.draft.shell, first.text], None

    def _execute(self, command: Command, mounts: RunMounts | None, number: int) -> Layer:
        common = self.common
        runner = Runner(common.engine, common.pin)
        masker = Masker(list(common.request.secrets.values()))
        vertex = self.vertex(number)

        def output(stream: int, data: bytes) -> None:
            if shown := masker.feed(stream, data):
                common.tell(Output(vertex, time.monotonic(), stream, shown))

        with closing(runner), runner.container(self.draft.layers, command) as container:
            with ExitStack() as held:
                if mounts is not None:
                    prepared = mounts.prepare(container, runner.links, held)
                    variables, operations = prepared.variables, prepared.operations
                    command = replace(command, secrets=(*command.secrets, *variables), operations=tuple(operations))
                try:
                    runner.execute(container, command, output)
                finally:
                    for stream, data in masker.rest():
                        common.tell(Output(vertex, time.monotonic(), stream, data))
            if mounts is not None:
                mounts.clean(container)
            return runner.layer(container, self.draft.layers, common.request.epoch)


def _refused(problem: OSError) -> StoreError:
    """A system call that failed in the midst of a step: a disk that is full, a name that is too long."""
    paths = [os.fsdecode(path) for path in (problem.filename, problem.filename2) if isinstance(path, str | bytes)]
    full = problem.errno in (errno.ENOSPC, errno.EDQUOT)
    hint = "`rootless builder prune` makes room" if full else ""
    return StoreError(": ".join([*paths, problem.strerror or str(problem)]), hint=hint)
