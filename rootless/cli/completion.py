"""Shell completion: `rootless completion bash|zsh|fish` prints a script, which asks `rootless completion line TEXT`
with what was typed up to the cursor.

The answer's first line is `words`, `file` or `dir`; after `words` follow the candidates, each with a tab and its help
if there is one. click finds out what the cursor stands on (its own scripts are not used, because bash takes a tag's
colon for the end of a word). Nothing slow is imported: a key was pressed, and somebody waits.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

import click
from click.shell_completion import CompletionItem, ShellComplete, split_arg_string

from ..errors import InvalidError, RootlessError
from ..paths import Paths, locate
from .completion_scripts import SCRIPTS
from .options import Command
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


@click.command(cls=Command, at_least=1, at_most=2, short_help="Generate the autocompletion script for a shell")
@click.argument("words", nargs=-1, metavar="bash|zsh|fish")
@click.pass_context
def completion(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Print what makes a shell complete commands, options, and names of containers and images.

    \b
    bash:  source <(rootless completion bash)       in ~/.bashrc
    zsh:   source <(rootless completion zsh)        in ~/.zshrc, after compinit
    fish:  rootless completion fish | source        in ~/.config/fish/config.fish
    """
    if words[0] == "line":
        root = ctx.find_root().command
        click.echo("\n".join(answer(root, words[-1])))
        return
    if words[0] not in SCRIPTS or len(words) > 1:
        raise InvalidError(f"unknown shell: {' '.join(words)}", hint=f"there are: {', '.join(SCRIPTS)}")
    click.echo(SCRIPTS[words[0]], nl=False)


def answer(root: click.Command, line: str) -> Iterator[str]:
    """What the scripts are told about a line of which the last word is unfinished."""
    words = split_arg_string(line)
    if not words or line[-1:].isspace():
        words.append("")
    items: list[CompletionItem[str]] = []
    with suppress(click.ClickException, click.exceptions.Exit, RootlessError, OSError):
        items = ShellComplete(root, {}, "rootless", "").get_completions(words[1:-1], words[-1])
    kinds = {item.type for item in items} - {"plain"}
    if kinds:
        yield kinds.pop()
        return
    yield "words"
    for item in items:
        yield f"{item.value}\t{_one_line(item.help)}" if item.help else item.value


def _one_line(text: str) -> str:
    return " ".join(text.split())


def commands(ctx: click.Context, incomplete: str) -> Iterator[CompletionItem[str]]:
    """The words of a group, without an import of what they stand for."""
    if ctx.parent is None:
        known = {name: text for name, (_, text) in COMMANDS.items() if " " not in name}
        known |= {name: text for name, (text, _) in GROUPS.items()}
    else:
        known = {word: COMMANDS[name][1] for word, name in GROUPS[ctx.info_name or ""][1].items()}
    for word in sorted(known):
        if word.startswith(incomplete):
            yield CompletionItem(word, help=known[word])


def parameter(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """The values that an option or argument may have here."""
    kind = OPTIONS.get(param.opts[-1], "") if isinstance(param, click.Option) else _argument(ctx, param)
    if kind in ("file", "dir"):
        return [CompletionItem(incomplete, type=kind)]
    found = _candidates(kind, locate(ctx.find_root().params.get("root")), incomplete)
    given = ctx.params.get(param.name or "") or ()
    return [CompletionItem(word) for word in sorted(set(found).difference(given)) if word.startswith(incomplete)]


def _argument(ctx: click.Context, param: click.Parameter) -> str:
    """What the next argument of a command is. Only its first parameter is ours: after the image or the container of
    `run` and `exec` stands a command that is found inside."""
    group = ctx.parent.info_name if ctx.parent is not None and ctx.parent.parent is not None else None
    name = GROUPS[group][1].get(ctx.info_name or "", "") if group in GROUPS else ctx.info_name or ""
    arguments = [p for p in ctx.command.params if isinstance(p, click.Argument)]
    if name not in ARGUMENTS or param is not arguments[0]:
        return ""
    if name == "inspect" and group is not None:
        return group
    kinds = ARGUMENTS[name]
    given = ctx.params.get(param.name or "")
    position = len(given) if isinstance(given, tuple) else 0
    if position < len(kinds) and kinds[position] != "...":
        return kinds[position]
    return kinds[-2] if kinds[-1] == "..." else ""


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
