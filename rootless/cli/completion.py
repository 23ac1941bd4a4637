"""Shell completion: `rootless completion bash|zsh|fish` prints a script, which asks `rootless completion line TEXT`
with what was typed up to the cursor.

The answer's first line is `words`, `file` or `dir`; after `words` follow the candidates, each with a tab and its help
if there is one. Nothing slow is imported: a key was pressed, and somebody waits.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress

import msgspec

from ..errors import InvalidError, RootlessError
from ..paths import Paths, locate
from . import flags
from .completion_scripts import SCRIPTS
from .context import Context
from .table import COMMANDS, GROUPS

ARGUMENTS: dict[str, tuple[str, ...]] = {
    "apply": ("container",),
    "attach": ("running",),
    "commit": ("container", "image"),
    "completion": ("shell",),
    "create": ("image",),
    "diff": ("container",),
    "discard": ("container", "..."),
    "exec": ("running",),
    "export": ("container",),
    "history": ("image",),
    "images": ("repository",),
    "import": ("file", "image"),
    "inspect": ("object", "..."),
    "kill": ("running", "..."),
    "logs": ("container",),
    "network connect": ("network", "container"),
    "network disconnect": ("network", "container"),
    "network inspect": ("network", "..."),
    "network rm": ("network", "..."),
    "volume export": ("volume",),
    "volume import": ("volume", "file"),
    "volume inspect": ("volume", "..."),
    "volume rm": ("volume", "..."),
    "pause": ("running", "..."),
    "port": ("running",),
    "pull": ("image",),
    "push": ("image",),
    "rename": ("container",),
    "restart": ("container", "..."),
    "rm": ("container", "..."),
    "rmi": ("image", "..."),
    "run": ("image",),
    "save": ("image", "..."),
    "start": ("stopped", "..."),
    "stats": ("running", "..."),
    "stop": ("running", "..."),
    "tag": ("image", "image"),
    "top": ("running",),
    "unpause": ("paused", "..."),
    "update": ("container", "..."),
    "wait": ("running", "..."),
}
"""What a command's arguments are, by its name in the table; `...`: any number of the one before."""

OPTIONS: dict[str, str] = {
    "--cidfile": "file",
    "--env-file": "file",
    "--input": "file",
    "--label-file": "file",
    "--log-driver": "log driver",
    "--network": "network",
    "--volumes-from": "container",
    "--only": "file",
    "--output": "file",
    "--restart": "restart policy",
    "--root": "dir",
    "--signal": "signal",
    "--stop-signal": "signal",
    "--storage-driver": "storage driver",
    "--type": "type",
}
"""What the value of an option is."""

STATES: dict[str, frozenset[str]] = {
    "running": frozenset({"running", "paused", "restarting"}),
    "paused": frozenset({"paused"}),
    "stopped": frozenset({"created", "exited"}),
}
"""The containers that some commands can do something with."""


@flags.command("bash|zsh|fish", at_least=1, at_most=2)
@flags.argument("words", many=True)
def completion(_: Context, /, words: tuple[str, ...]) -> None:
    """Print what makes a shell complete commands, options, and names of containers and images.

    bash:  source <(rootless completion bash)       in ~/.bashrc
    zsh:   source <(rootless completion zsh)        in ~/.zshrc, after compinit
    fish:  rootless completion fish | source        in ~/.config/fish/config.fish
    """
    if words[0] == "line":
        print("\n".join(answer(words[-1])))
        return
    if words[0] not in SCRIPTS or len(words) > 1:
        raise InvalidError(f"unknown shell: {' '.join(words)}", hint=f"there are: {', '.join(SCRIPTS)}")
    print(SCRIPTS[words[0]], end="")


class Item(msgspec.Struct, frozen=True):
    """A word that may stand at the cursor, or (`kind`: file, dir) that the shell knows better."""

    word: str
    help: str = ""
    kind: str = ""


def answer(line: str) -> Iterator[str]:
    """What the scripts are told about a line of which the last word is unfinished."""
    words = _split(line)
    if not words or line[-1:].isspace():
        words.append("")
    items: list[Item] = []
    with suppress(RootlessError, OSError):
        items = list(_complete(words[1:-1], words[-1]))
    kinds = {item.kind for item in items} - {""}
    if kinds:
        yield kinds.pop()
        return
    yield "words"
    for item in items:
        yield f"{item.word}\t{' '.join(item.help.split())}" if item.help else item.word


def _split(line: str) -> list[str]:
    """The words of a shell's line; the last one as far as it goes, its quotes open perhaps."""
    import shlex

    lexer = shlex.shlex(line, posix=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    try:
        words.extend(lexer)
    except ValueError:
        words.append(lexer.token)
    return words


def _complete(given: list[str], cursor: str) -> Iterable[Item]:
    """What may stand at the cursor after these words: first of the engine, then of a group, then of a command."""
    from .main import OPTIONS as GLOBAL
    from .main import SINGLE, load

    engine = _read(flags.Line(GLOBAL, interspersed=False), given)
    paths = locate(engine.values.get("root"))
    if not engine.arguments:
        known = {name: COMMANDS[name][1] for name in SINGLE} | {name: title for name, (title, _) in GROUPS.items()}
        return _option(engine, paths, cursor) or _words(known, cursor)
    group, (name, *rest) = "", engine.arguments
    if name in GROUPS:
        group, members = name, GROUPS[name][1]
        if not rest:
            return _words({word: COMMANDS[to][1] for word, to in members.items()}, cursor)
        name, *rest = members.get(rest[0], ""), *rest[1:]
    if name not in COMMANDS:
        return []
    line = _read(load(name).line(), rest)
    return _option(line, paths, cursor) or _argument(line, name, group, paths, cursor)


def _read(line: flags.Line, words: Iterable[str]) -> flags.Line:
    """As much of the words as can be read: they may not be finished."""
    for word in words:
        with suppress(flags.LineError, flags.HelpWanted):
            line.feed(word)
    return line


def _words(known: Mapping[str, str], cursor: str) -> list[Item]:
    return [Item(word, known[word]) for word in sorted(known) if word.startswith(cursor)]


def _option(line: flags.Line, paths: Paths, cursor: str) -> list[Item]:
    """An option at the cursor, or its value."""
    name, equals, value = cursor.partition("=")
    found = line.waiting or (line.named(name) if equals and not line.ended else None)
    if found is not None:
        kind = OPTIONS.get(found.names[-1], "")
        taken = line.values.get(found.field, ()) if found.multiple else ()
        return _values(kind, paths, value if line.waiting is None else cursor, taken)
    if line.ended or not cursor.startswith("-"):
        return []
    known: dict[str, str] = {}
    for each in line.options:
        if not each.hidden and (each.multiple or each.field not in line.values):
            known |= {name: each.help for name in (*each.names, each.off) if name}
    return _words(known | {"--help": "Show what the command does and its options"}, cursor)


def _argument(line: flags.Line, name: str, group: str, paths: Paths, cursor: str) -> list[Item]:
    """The next argument of a command. After the image of `run` stands a command that is found inside."""
    kinds = ARGUMENTS.get(name, ())
    if name == "inspect" and group:
        kinds = (group, "...")
    position = len(line.arguments)
    kind = kinds[position] if position < len(kinds) else "..." if "..." in kinds else ""
    return _values(kinds[-2] if kind == "..." else kind, paths, cursor, line.arguments)


def _values(kind: str, paths: Paths, cursor: str, taken: Iterable[str]) -> list[Item]:
    if kind in ("file", "dir"):
        return [Item(cursor, kind=kind)]
    found = set(_candidates(kind, paths, cursor)).difference(taken)
    return [Item(word) for word in sorted(found) if word.startswith(cursor)]


def _candidates(kind: str, paths: Paths, incomplete: str) -> Iterable[str]:
    if kind in ("container", *STATES):
        return _containers(paths, STATES.get(kind), incomplete)
    if kind == "object":
        return (*_containers(paths, None, incomplete), *_images(paths), *_networks(paths), *_volumes(paths))
    if kind == "network":
        return ("bridge", "host", "none", "pasta", "slirp4netns", *_networks(paths))
    if kind == "volume":
        return _volumes(paths)
    if kind == "image":
        return _images(paths)
    if kind == "repository":
        return (name.rpartition(":")[0] for name in _images(paths))
    return _WORDS[kind]() if kind in _WORDS else ()


def _containers(paths: Paths, states: frozenset[str] | None, incomplete: str) -> Iterator[str]:
    """Names, and the short ids of those whose id begins so. A state is believed as it stands."""
    with suppress(FileNotFoundError):
        for name in os.listdir(paths.names):
            with suppress(OSError):
                if states is None or _status(paths, name) in states:
                    yield name
                    identifier = os.path.basename(os.readlink(paths.names / name))
                    if incomplete and identifier.startswith(incomplete):
                        yield identifier[:12]


def _status(paths: Paths, name: str) -> str:
    data = (paths.names / name / "state.json").read_bytes()
    match = re.search(rb'"status":\s*"([a-z]+)"', data)
    return match[1].decode() if match else ""


def _volumes(paths: Paths) -> Iterable[str]:
    from ..volumes.store import Volumes

    return (volume.name for volume in Volumes(paths).all())


def _images(paths: Paths) -> Iterator[str]:
    """The names of images as people write them, with their tags."""
    if not paths.index.exists():
        return  # and don't make a store because somebody pressed a key
    from ..image import index
    from ..image.store import ImageStore

    for name in index.names(ImageStore(paths).read_index()):
        if not name.digest:
            yield name.familiar


def _networks(paths: Paths) -> Iterator[str]:
    with suppress(FileNotFoundError):
        for name in os.listdir(paths.networks):
            if name.endswith(".json"):
                yield name.removesuffix(".json")


def _signals() -> Iterable[str]:
    import signal

    return (name.name.removeprefix("SIG") for name in signal.Signals)


_WORDS: dict[str, Callable[[], Iterable[str]]] = {
    "log driver": lambda: ("json-file", "none"),
    "restart policy": lambda: ("no", "on-failure", "always", "unless-stopped"),
    "shell": lambda: SCRIPTS,
    "signal": _signals,
    "storage driver": lambda: ("auto", "cow", "fuse-overlayfs", "overlay"),
    "type": lambda: ("container", "image", "network", "volume"),
}
