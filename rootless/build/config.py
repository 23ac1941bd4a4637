"""The image that a stage comes to: its configuration and history, as its instructions change them one after the other.

Texts and rules are those that Docker's images show (BuildKit, frontend/dockerfile/dockerfile2llb/convert.go; moby's
image specification), so that `history` reads alike whoever built the image.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..container.spec import DEFAULT_PATH
from ..errors import InvalidError
from ..image import changes, spec
from ..image.spec import History, ImageConfig, Platform, RootFs, RunConfig
from ..image.store import Image, Layer
from . import instructions as ins
from .scope import StageScope

DEFAULT_SHELL = ("/bin/sh", "-c")
COMMENT = "buildkit.dockerfile.v0"
"""What Docker's images have as their histories' comment: programs tell by it that `created_by` is an instruction."""


@dataclass
class Draft:
    """What a stage has come to so far.

    Attributes:
        layers: lowest first.
        inherited: how many of them, and of the entries of `history`, are the base image's.
        keys: of each layer that a step of a build made, the step's key; empty for others.
        command_set: the stage has had a CMD of its own.
        arguments: the ARGs declared so far, which a stage that begins with this one has as well.
    """

    platform: Platform
    run: RunConfig = field(default_factory=RunConfig)
    layers: list[Layer] = field(default_factory=list)
    history: list[History] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    author: str = ""
    os_version: str = ""
    inherited: int = 0
    inherited_history: int = 0
    command_set: bool = False
    arguments: dict[str, str | None] = field(default_factory=dict)

    @classmethod
    def of_image(cls, image: Image, platform: Platform, keys: Sequence[str]) -> Draft:
        """The draft that begins with an image."""
        config = image.config
        layers, history = list(image.layers), list(config.history or [])
        found = Platform(architecture=config.architecture, os=config.os, variant=config.variant or platform.variant)
        return cls(
            platform=found if config.architecture else platform,
            run=config.run.changed(),
            layers=layers,
            history=history,
            keys=list(keys),
            author=config.author,
            os_version=config.os_version,
            inherited=len(layers),
            inherited_history=len(history),
        )

    @classmethod
    def of_nothing(cls, platform: Platform) -> Draft:
        """The draft that begins with `scratch`."""
        return cls(platform, RunConfig(working_dir="/"))

    def ready(self) -> Draft:
        """With what BuildKit gives every stage: a PATH; and without the triggers, which are the stage's by now."""
        environment = self.run.env or []
        if not any(line.startswith("PATH=") for line in environment):
            self.run.env = [*environment, DEFAULT_PATH]
        self.run.on_build = None
        return self

    def copy(self) -> Draft:
        """The draft of a stage that begins with this one."""
        return Draft(
            platform=self.platform,
            run=self.run.changed(),
            layers=list(self.layers),
            history=list(self.history),
            keys=list(self.keys),
            author=self.author,
            os_version=self.os_version,
            inherited=self.inherited,
            inherited_history=self.inherited_history,
            arguments=dict(self.arguments),
        )

    @property
    def chain_id(self) -> str:
        """Of the root file system; empty for one without layers."""
        return self.layers[-1].chain_id if self.layers else ""

    @property
    def workdir(self) -> str:
        return self.run.working_dir or "/"

    @property
    def shell(self) -> tuple[str, ...]:
        return tuple(self.run.shell or DEFAULT_SHELL)

    def resolve(self, path: str) -> str:
        """A path as the working directory makes it absolute; a slash at its end stays."""
        found = posixpath.normpath(posixpath.join("/", self.workdir, path))
        found = "/" + found.lstrip("/")
        is_directory = path == "" or path.endswith(("/", "/.")) or path == "."
        return found if not is_directory or found == "/" else found + "/"

    def add(self, layer: Layer, key: str, created_by: str, created: str) -> None:
        """A layer that a step has made.

        Raises:
            InvalidError: more than can be stacked.
        """
        if len(self.layers) >= spec.LAYER_LIMIT:
            raise InvalidError(
                f"the image would have more than {spec.LAYER_LIMIT} layers", hint="join some RUN or COPY, or use stages"
            )
        self.layers.append(layer)
        self.keys.append(key)
        self.history.append(History(created=created, created_by=created_by, comment=COMMENT))

    def note(self, created_by: str) -> None:
        """A change that makes no layer. Its time is told by the layers around it (`finished`)."""
        self.history.append(History(created_by=created_by, comment=COMMENT, empty_layer=True))


def command_line(command: ins.Command, shell: Sequence[str]) -> list[str]:
    """The words of a command: the shell form is one word for the stage's shell."""
    return [*shell, *command.command] if command.shell_form else list(command.command)


def apply(draft: Draft, instruction: ins.Instruction, scope: StageScope) -> bool:
    """Change the configuration as an instruction says whose variables are expanded.

    Returns:
        Whether it is one that changes nothing but the configuration.

    Raises:
        InvalidError: it says something that can't be.
    """
    return _variables(draft, instruction, scope) or _words(draft, instruction) or _rest(draft, instruction)


def _variables(draft: Draft, instruction: ins.Instruction, scope: StageScope) -> bool:
    run = draft.run
    match instruction:
        case ins.Arg(arguments=arguments):
            values = [(argument.name, scope.declare(argument)) for argument in arguments]
            draft.note("ARG " + " ".join(name if value is None else f"{name}={value}" for name, value in values))
        case ins.Env(pairs=pairs):
            for pair in pairs:
                run.env = changes.set_variable(run.env or [], pair.name, pair.value)
                scope.set(pair.name, pair.value)
            draft.note("ENV " + " ".join(f"{pair.name}={pair.value}" for pair in pairs))
        case ins.Label(pairs=pairs):
            run.labels = (run.labels or {}) | {pair.name: pair.value for pair in pairs}
            draft.note("LABEL " + " ".join(f"{pair.name}={pair.value}" for pair in pairs))
        case _:
            return False
    return True


def _words(draft: Draft, instruction: ins.Instruction) -> bool:
    """What sets one thing anew."""
    run = draft.run
    match instruction:
        case ins.Cmd() | ins.Entrypoint():
            _set_command(draft, instruction)
        case ins.Maintainer(name=name):
            draft.author = name
            draft.note(f"MAINTAINER {name}")
        case ins.User(user=user):
            run.user = user
            draft.note(f"USER {user}")
        case ins.StopSignal(signal=signal):
            run.stop_signal = changes.check_signal(signal)
            draft.note(f"STOPSIGNAL {signal}")
        case ins.Healthcheck(config=config):
            run.healthcheck = config
            draft.note(f"HEALTHCHECK {_health_text(config)}")
        case ins.Shell(command=command):
            run.shell = list(command)
            draft.note(f"SHELL [{' '.join(command)}]")
        case _:
            return False
    return True


def _rest(draft: Draft, instruction: ins.Instruction) -> bool:
    """What adds to a list."""
    run = draft.run
    match instruction:
        case ins.Volume(paths=paths):
            run.volumes = (run.volumes or {}) | {path: {} for path in paths}
            draft.note(f"VOLUME [{' '.join(paths)}]")
        case ins.Expose(ports=words):
            ports = sorted(port for word in words for port in changes.parse_ports(word))
            run.exposed_ports = (run.exposed_ports or {}) | {port: {} for port in ports}
            draft.note(f"EXPOSE map[{' '.join(f'{port}:{{}}' for port in ports)}]")
        case ins.OnBuild(expression=expression):
            run.on_build = [*(run.on_build or []), expression]  # which no history tells, in BuildKit neither
        case _:
            return False
    return True


def _set_command(draft: Draft, instruction: ins.Cmd | ins.Entrypoint) -> None:
    words = command_line(instruction, draft.shell) if instruction.command else []
    if isinstance(instruction, ins.Cmd):
        draft.run.cmd = words
        draft.command_set = True
        # Docker's mark that the words need no escaping on Windows; its images for Linux have it, too.
        draft.run.args_escaped = True
    else:
        draft.run.entrypoint = words
        if not draft.command_set:
            draft.run.cmd = None  # one that was inherited was meant for another entry point
    draft.note(f"{instruction.word} {_quoted(words)}")


def finished(draft: Draft, epoch: int | None, labels: dict[str, str]) -> ImageConfig:
    """The configuration of the image that a stage has come to.

    Args:
        epoch: seconds since 1970 that take the place of every time of this build (SOURCE_DATE_EPOCH).
        labels: added last.
    """
    run = draft.run
    if labels:
        run = run.changed(labels=(run.labels or {}) | labels)
    history = _dated(draft, epoch)
    created = history[-1].created if history else None
    return ImageConfig(
        created=created,
        author=draft.author,
        architecture=draft.platform.architecture,
        variant=draft.platform.variant,
        os=draft.platform.os,
        os_version=draft.os_version,
        config=run,
        rootfs=RootFs(type="layers", diff_ids=[layer.diff_id for layer in draft.layers]),
        history=history,
    )


def _dated(draft: Draft, epoch: int | None) -> list[History]:
    """The history with a time at each of its new entries: those that made no layer have that of the one before, or of
    the first one after. So a build that is cached as a whole gives the same image once more."""
    if epoch is not None:
        moment = epoch_text(epoch)
        new = [entry.changed(created=moment) for entry in draft.history[draft.inherited_history :]]
        return [*draft.history[: draft.inherited_history], *new]
    own = [entry.created for entry in draft.history[draft.inherited_history :] if entry.created]
    inherited = [entry.created for entry in draft.history if entry.created]
    known = own[0] if own else (inherited[-1] if inherited else epoch_text(0))
    dated = []
    for entry in draft.history:
        known = entry.created or known
        dated.append(entry if entry.created else entry.changed(created=known))
    return dated


def epoch_text(seconds: int) -> str:
    """RFC 3339 of a moment in seconds since 1970."""
    from datetime import UTC, datetime

    return spec.timestamp(datetime.fromtimestamp(seconds, UTC))


def _quoted(words: Sequence[str]) -> str:
    """Words as Go's `%q` shows a list of them."""
    return f"[{' '.join(_go_string(word) for word in words)}]"


def _go_string(text: str) -> str:
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(escapes.get(c, c if c.isprintable() else f"\\x{ord(c):02x}") for c in text) + '"'


def _health_text(check: spec.Healthcheck) -> str:
    times = check.interval, check.timeout, check.start_period, check.start_interval
    shown = " ".join(f'"{_duration(time)}"' for time in times)
    return f"&{{{_quoted(check.test or [])} {shown} '\\x{check.retries:02x}'}}"


def _duration(nanoseconds: int) -> str:
    """A duration as Go writes it: `1m30s`, `500ms`."""
    if nanoseconds and abs(nanoseconds) < 10**9:
        unit, size = ("ms", 10**6) if nanoseconds >= 10**6 else ("µs", 10**3) if nanoseconds >= 10**3 else ("ns", 1)
        return f"{_number(nanoseconds / size)}{unit}"
    minutes, seconds = divmod(nanoseconds / 10**9, 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{hours}h" if hours else ""
    return text + (f"{minutes}m" if hours or minutes else "") + f"{_number(seconds)}s"


def _number(value: float) -> str:
    return f"{value:.9f}".rstrip("0").rstrip(".")
