"""The instructions of a Dockerfile as frozen types, one each; `interpret` makes them of the parser's nodes.

Docker's reference of the Dockerfile says what each means. Values still have their variables in them: `expanded` gives a
copy without, for the instructions that Docker expands ("Environment replacement"), in the values that it expands.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from ..errors import InvalidError
from ..image.expand import Expander
from ..image.spec import Healthcheck as HealthcheckConfig
from .parser import Heredoc, Tree
from .place import DockerfileError, Place


@dataclass(frozen=True, slots=True)
class Pair:
    """A name and its value; `old` for the form without `=`."""

    name: str
    value: str
    old: bool = False


@dataclass(frozen=True, slots=True)
class Argument:
    """What ARG declares; `value` is None when it gives no default."""

    name: str
    value: str | None


@dataclass(frozen=True, slots=True)
class Inline:
    """A here-document as a source of COPY or ADD: a file called `name`; `expand` says that variables in it count."""

    name: str
    content: str
    expand: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """What every instruction has.

    Attributes:
        word: its name in capitals.
        text: as written, continuation lines joined, for progress and history.
        place: its lines, here-documents included.
    """

    word: ClassVar[str] = ""
    expands: ClassVar[tuple[str, ...]] = ()
    """The fields whose variables are replaced."""

    text: str
    place: Place = field(compare=False, repr=False)

    def expanded(self, expander: Expander) -> Self:
        """A copy with variables, quotes and escapes replaced where Docker does that.

        Raises:
            DockerfileError: a word is malformed, or wants a variable that isn't there.
        """
        try:
            changed: dict[str, Any] = {name: _expanded(getattr(self, name), expander) for name in self.expands}
        except DockerfileError:
            raise
        except InvalidError as problem:
            raise self.place.error(problem.message, hint=problem.hint) from problem
        return replace(self, **changed)


def _expanded(value: Any, expander: Expander) -> Any:
    """A field's value, whatever its type, with the words in it expanded."""
    if isinstance(value, str):
        return expander.word(value)
    if isinstance(value, tuple):
        return tuple(_expanded(item, expander) for item in value)
    if isinstance(value, Pair):
        return replace(value, name=expander.word(value.name), value=expander.word(value.value))
    if isinstance(value, Inline):
        return replace(value, content=expander.document(value.content)) if value.expand else value
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class From(Instruction):
    """The beginning of a stage. `image` and `platform` are expanded with the arguments before the first FROM only.

    Attributes:
        image: an image, an earlier stage, or `scratch`.
        platform: `os/architecture[/variant]`, empty for the target's.
        name: the stage's, in small letters; empty when it has none.
    """

    word = "FROM"
    expands = ("image", "platform")

    image: str
    platform: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg(Instruction):
    """Variables that exist during the build, from here to the end of the stage; `--build-arg` sets their values.

    Their defaults are expanded one after the other, as they are declared (`scope`).
    """

    word = "ARG"

    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Env(Instruction):
    """Variables of the rest of the stage and of the image."""

    word = "ENV"
    expands = ("pairs",)

    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(Instruction):
    """Metadata of the image."""

    word = "LABEL"
    expands = ("pairs",)

    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintainer(Instruction):
    """The image's author; deprecated in favour of a label."""

    word = "MAINTAINER"

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Instruction):
    """A command line.

    Attributes:
        command: words; in the shell form at most one, the line that the stage's SHELL is given.
        shell_form: whether it is for the shell, not a JSON array.
    """

    command: tuple[str, ...]
    shell_form: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Command):
    """A command that is run now. Its words are not expanded: the shell in the container does that.

    Attributes:
        heredocs: those that follow the shell form, in order.
        mounts: each `--mount`, as written; `mounts.parse_mount` reads one, with the variables of the moment.
        network: default, none or host.
        security: sandbox or insecure.
    """

    word = "RUN"

    heredocs: tuple[Heredoc, ...] = ()
    mounts: tuple[str, ...] = ()
    network: str = "default"
    security: str = "sandbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd(Command):
    """What the image's containers run when they are given nothing else."""

    word = "CMD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint(Command):
    """What the image's containers always run, with CMD or their arguments after it."""

    word = "ENTRYPOINT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer(Instruction):
    """What COPY and ADD have in common.

    Attributes:
        sources: paths in the context (or where `--from` says), with wildcards.
        inline: here-documents that are sources.
        destination: below the working directory unless it is absolute. A directory when it ends in a slash.
        chown: `user[:group]`, names or numbers.
        chmod: octal or symbolic.
        link: whether the layer may not depend on what is below it.
        exclude: patterns of what not to take from the sources.
    """

    sources: tuple[str, ...]
    inline: tuple[Inline, ...]
    destination: str
    chown: str = ""
    chmod: str = ""
    link: bool = False
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(Transfer):
    """Files from the context, a stage or an image.

    Attributes:
        origin: `--from`: a stage's name or number, or an image; empty for the context.
        parents: whether the sources' directories are made too.
    """

    word = "COPY"
    expands = ("sources", "inline", "destination", "chown", "chmod")

    origin: str = ""
    parents: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Transfer):
    """Files from the context, unpacked when they are archives; from URLs too.

    Attributes:
        checksum: what a download must have, `sha256:...`.
        keep_git_dir: whether a repository's .git stays; None when not said.
        unpack: whether archives are unpacked; None for local ones only.
    """

    word = "ADD"
    expands = ("sources", "inline", "destination", "chown", "chmod", "checksum")

    checksum: str = ""
    keep_git_dir: bool | None = None
    unpack: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir(Instruction):
    """The working directory from here on, below the one before unless it is absolute."""

    word = "WORKDIR"
    expands = ("path",)

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Instruction):
    """Who runs what follows, and the image's containers."""

    word = "USER"
    expands = ("user",)

    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume(Instruction):
    """Directories that get a volume in the image's containers."""

    word = "VOLUME"
    expands = ("paths",)

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose(Instruction):
    """Ports that the image's containers listen on; a variable may hold several."""

    word = "EXPOSE"

    ports: tuple[str, ...]

    def expanded(self, expander: Expander) -> Self:
        """As `Instruction.expanded`; blanks in a value part ports."""
        try:
            return replace(self, ports=tuple(port for word in self.ports for port in expander.words(word)))
        except InvalidError as problem:
            raise self.place.error(problem.message, hint=problem.hint) from problem


@dataclass(frozen=True, slots=True, kw_only=True)
class StopSignal(Instruction):
    """The signal that asks the image's containers to end."""

    word = "STOPSIGNAL"
    expands = ("signal",)

    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck(Instruction):
    """How to find out whether the image's containers are well."""

    word = "HEALTHCHECK"

    config: HealthcheckConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell(Instruction):
    """What the shell form of later instructions is given to."""

    word = "SHELL"

    command: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnBuild(Instruction):
    """An instruction for the builds that start from the image, as the image's configuration keeps it."""

    word = "ONBUILD"

    expression: str


@dataclass(frozen=True, slots=True)
class Stage:
    """FROM and what follows it."""

    origin: From
    instructions: tuple[Instruction, ...]

    @property
    def name(self) -> str:
        """In small letters; empty when it has none."""
        return self.origin.name


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """A Dockerfile, read whole.

    Attributes:
        arguments: the ARGs before the first FROM.
        stages: in order; never empty.
        tree: what it was made of, with directives and warnings.
    """

    arguments: tuple[Arg, ...]
    stages: tuple[Stage, ...]
    tree: Tree

    @property
    def escape(self) -> str:
        """The character that escapes, for an Expander."""
        return self.tree.directives.escape
