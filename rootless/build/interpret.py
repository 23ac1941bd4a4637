"""The parser's nodes as typed instructions, each checked as far as it can be before variables have values.

The words of errors are BuildKit's (frontend/dockerfile/instructions/parse.go): people search for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from ..errors import InvalidError
from ..image import healthcheck
from ..image.expand import Lexer
from ..image.spec import Healthcheck as HealthcheckConfig
from . import mounts
from .flags import Flags, Kind
from .instructions import (
    Add,
    Arg,
    Argument,
    Cmd,
    Copy,
    Dockerfile,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Inline,
    Instruction,
    Label,
    Maintainer,
    OnBuild,
    Pair,
    Run,
    Shell,
    Stage,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from .parser import INSTRUCTIONS, Node, heredoc, parse, quote
from .place import DockerfileError, Place, nearest

_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*")
_TIMES = ("interval", "timeout", "start-period", "start-interval")
_TRANSFER = {"chown": Kind.TEXT, "chmod": Kind.TEXT, "link": Kind.TRUTH, "exclude": Kind.TEXTS}


def read(data: bytes, file: str = "Dockerfile") -> Dockerfile:
    """Read a Dockerfile whole.

    Args:
        file: its name, for errors.

    Raises:
        DockerfileError: with the place, for whatever is wrong with it.
    """
    tree = parse(data, file)
    arguments: list[Arg] = []
    stages: list[Stage] = []
    for node in tree.nodes:
        found = instruction(node)
        if isinstance(found, From):
            stages.append(Stage(found, ()))
        elif stages:
            stages[-1] = Stage(stages[-1].origin, (*stages[-1].instructions, found))
        elif isinstance(found, Arg):
            arguments.append(found)
        else:
            raise node.place.error("no build stage in current context", hint="only ARG may stand before the first FROM")
    if not stages:
        raise Place(tree.nodes[0].place.source, 0, 0).error("dockerfile contains no stages to build")
    return Dockerfile(tuple(arguments), tuple(stages), tree)


def trigger(expression: str, image: str) -> Instruction:
    """The instruction that an ONBUILD of `image` asks for.

    Raises:
        DockerfileError: it is none, or one that may not stand there; the place is in `image`'s configuration.
    """
    nodes = parse(expression.encode(), f"ONBUILD of {image}").nodes
    if len(nodes) != 1:
        raise nodes[1].place.error("onbuild trigger should be a single expression")
    _check_trigger(nodes[0])
    return instruction(nodes[0])


def instruction(node: Node) -> Instruction:
    """A node as its type. DockerfileError when it makes no sense."""
    make = _MAKERS.get(node.word.upper())
    if make is None:
        raise node.place.error(f"unknown instruction: {node.word}{nearest(node.word, INSTRUCTIONS)}")
    if any("\0" in word for word in node.words):
        raise node.place.error("an argument has a NUL character in it")
    try:
        return make(node)
    except DockerfileError:
        raise
    except InvalidError as problem:
        raise node.place.error(problem.message, hint=problem.hint) from problem


def _no_flags(node: Node) -> None:
    Flags(node.flags, {})


def _at_least_one(node: Node) -> None:
    if not node.words:
        raise InvalidError(f"{node.word.upper()} requires at least one argument")


def _exactly_one(node: Node) -> str:
    if len(node.words) != 1:
        raise InvalidError(f"{node.word.upper()} requires exactly one argument")
    _no_flags(node)
    return node.words[0]


def _from(node: Node) -> From:
    words = node.words
    name = ""
    if len(words) == 3 and words[1].lower() == "as":
        name = words[2].lower()
        if not _STAGE_NAME.fullmatch(name):
            raise InvalidError(
                f"invalid name for build stage: {quote(words[2])}, name can't start with a number or contain symbols"
            )
    elif len(words) != 1:
        raise InvalidError("FROM requires either one or three arguments")
    platform = Flags(node.flags, {"platform": Kind.TEXT}).text("platform")
    return From(text=node.text, place=node.place, image=words[0], platform=platform, name=name)


def _arg(node: Node) -> Arg:
    _at_least_one(node)
    _no_flags(node)
    arguments: list[Argument] = []
    for word in node.words:
        name, equals, value = word.partition("=")
        if not name:
            raise InvalidError("ARG names can not be blank")
        arguments.append(Argument(name, value if equals else None))
    return Arg(text=node.text, place=node.place, arguments=tuple(arguments))


def _pairs(node: Node) -> tuple[Pair, ...]:
    _no_flags(node)
    _at_least_one(node)
    words = iter(node.words)
    pairs = tuple(Pair(name, value, old=not equals) for name, value, equals in zip(words, words, words, strict=True))
    if not all(pair.name for pair in pairs):
        raise InvalidError(f"{node.word.upper()} names can not be blank")
    return pairs


def _env(node: Node) -> Env:
    return Env(text=node.text, place=node.place, pairs=_pairs(node))


def _label(node: Node) -> Label:
    return Label(text=node.text, place=node.place, pairs=_pairs(node))


def _maintainer(node: Node) -> Maintainer:
    return Maintainer(text=node.text, place=node.place, name=_exactly_one(node))


def _command(node: Node) -> tuple[tuple[str, ...], bool]:
    """The words, and whether they are a line for the shell."""
    return node.words, not node.json


def _run(node: Node) -> Run:
    known = {"mount": Kind.TEXTS, "network": Kind.TEXT, "security": Kind.TEXT}
    if any(flag.partition("=")[0] == "--device" for flag in node.flags):
        raise InvalidError("RUN --device is not available", hint="CDI devices need a daemon that hands them out")
    flags = Flags(node.flags, known)
    network, security = flags.text("network", "default"), flags.text("security", "sandbox")
    if network not in ("default", "none", "host"):
        raise InvalidError(f"invalid network mode {quote(network)}")
    if security not in ("sandbox", "insecure"):
        raise InvalidError(f"security {quote(security)} is not valid")
    for mount in flags.texts("mount"):
        mounts.check_early(mount)
    command, shell_form = _command(node)
    return Run(
        text=node.text,
        place=node.place,
        command=command,
        shell_form=shell_form,
        heredocs=node.heredocs,
        mounts=flags.texts("mount"),
        network=network,
        security=security,
    )


def _cmd(node: Node) -> Cmd:
    _no_flags(node)
    command, shell_form = _command(node)
    return Cmd(text=node.text, place=node.place, command=command, shell_form=shell_form)


def _entrypoint(node: Node) -> Entrypoint:
    _no_flags(node)
    command, shell_form = _command(node)
    return Entrypoint(text=node.text, place=node.place, command=command, shell_form=shell_form)


def _sources(node: Node) -> tuple[tuple[str, ...], tuple[Inline, ...], str]:
    """Paths, here-documents and the destination of COPY and ADD."""
    *sources, destination = node.words
    if not node.json and heredoc(destination):
        raise InvalidError(f"{node.word.upper()} cannot accept a heredoc as a destination")
    documents = {document.name: document for document in node.heredocs}
    paths: list[str] = []
    inline: list[Inline] = []
    for source in sources:
        announced = None if node.json else heredoc(source)
        if announced is None:
            paths.append(source)
        elif announced.name in documents:
            inline.append(Inline(announced.name, documents[announced.name].text, announced.expand))
    return tuple(paths), tuple(inline), destination


def _two(node: Node) -> None:
    if len(node.words) < 2:
        raise InvalidError(
            f"{node.word.upper()} requires at least two arguments, but only one was provided. "
            "Destination could not be determined"
        )


def _copy(node: Node) -> Copy:
    _two(node)
    flags = Flags(node.flags, _TRANSFER | {"from": Kind.TEXT, "parents": Kind.TRUTH})
    origin = flags.text("from")
    if origin and Lexer().expand(origin, {}).text != origin:
        raise InvalidError(
            "variable expansion is not supported for --from, "
            "define a new stage with FROM using ARG from global scope as a workaround"
        )
    sources, inline, destination = _sources(node)
    return Copy(
        text=node.text,
        place=node.place,
        sources=sources,
        inline=inline,
        destination=destination,
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=flags.truth("link") or False,
        exclude=flags.texts("exclude"),
        origin=origin,
        parents=flags.truth("parents") or False,
    )


def _add(node: Node) -> Add:
    _two(node)
    own = {"keep-git-dir": Kind.TRUTH, "checksum": Kind.TEXT, "unpack": Kind.TRUTH}
    flags = Flags(node.flags, _TRANSFER | own)
    sources, inline, destination = _sources(node)
    return Add(
        text=node.text,
        place=node.place,
        sources=sources,
        inline=inline,
        destination=destination,
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=flags.truth("link") or False,
        exclude=flags.texts("exclude"),
        checksum=flags.text("checksum"),
        keep_git_dir=flags.truth("keep-git-dir"),
        unpack=flags.truth("unpack"),
    )


def _workdir(node: Node) -> Workdir:
    return Workdir(text=node.text, place=node.place, path=_exactly_one(node))


def _user(node: Node) -> User:
    return User(text=node.text, place=node.place, user=_exactly_one(node))


def _stopsignal(node: Node) -> StopSignal:
    return StopSignal(text=node.text, place=node.place, signal=_exactly_one(node))


def _volume(node: Node) -> Volume:
    _at_least_one(node)
    _no_flags(node)
    paths = tuple(word.strip() for word in node.words)
    if "" in paths:
        raise InvalidError("VOLUME specified can not be an empty string")
    return Volume(text=node.text, place=node.place, paths=paths)


def _expose(node: Node) -> Expose:
    _at_least_one(node)
    _no_flags(node)
    return Expose(text=node.text, place=node.place, ports=tuple(sorted(node.words)))


def _shell(node: Node) -> Shell:
    _no_flags(node)
    _at_least_one(node)
    if not node.json:
        raise InvalidError("SHELL requires the arguments to be in JSON form")
    return Shell(text=node.text, place=node.place, command=node.words)


def _healthcheck(node: Node) -> Healthcheck:
    _at_least_one(node)
    kind, *command = node.words
    if kind.upper() == "NONE":
        if command:
            raise InvalidError("HEALTHCHECK NONE takes no arguments")
        return Healthcheck(text=node.text, place=node.place, config=HealthcheckConfig(test=["NONE"]))
    flags = Flags(node.flags, dict.fromkeys((*_TIMES, "retries"), Kind.TEXT))
    if kind.upper() != "CMD":
        raise InvalidError(f"Unknown type {quote(kind.upper())} in HEALTHCHECK (try CMD)")
    if not command:
        raise InvalidError("Missing command after HEALTHCHECK CMD")
    times = {name.replace("-", "_"): healthcheck.interval(name, flags.text(name) or "0") for name in _TIMES}
    test = ["CMD" if node.json else "CMD-SHELL", *command]
    config = HealthcheckConfig(test=test, retries=healthcheck.retries(flags.text("retries") or "0"), **times)
    return Healthcheck(text=node.text, place=node.place, config=config)


def _check_trigger(node: Node) -> None:
    word = node.word.upper()
    if word == "ONBUILD":
        raise node.place.error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if word in ("MAINTAINER", "FROM"):
        raise node.place.error(f"{word} isn't allowed as an ONBUILD trigger")


def _onbuild(node: Node) -> OnBuild:
    if node.child is None:
        raise InvalidError("ONBUILD requires at least one argument")
    _no_flags(node)
    _check_trigger(node.child)
    documents = "".join(f"\n{document.content}{document.name}" for document in node.heredocs)
    expression = node.child.text + documents
    instruction(replace(node.child, heredocs=node.heredocs, place=node.place))
    return OnBuild(text=node.text, place=node.place, expression=expression)


_MAKERS: dict[str, Callable[[Node], Instruction]] = {
    "ADD": _add,
    "ARG": _arg,
    "CMD": _cmd,
    "COPY": _copy,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "FROM": _from,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
