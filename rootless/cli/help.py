"""The text of `--help`, laid out as Docker's."""

from __future__ import annotations

import inspect
import shutil
import textwrap
from collections.abc import Collection, Iterable, Iterator, Mapping

from .flags import Command, Option
from .table import COMMANDS, GROUPS


def of_command(command: Command, name: str, path: str) -> str:
    """The help of one command.

    Args:
        name: in the table.
        path: the words that it was called by.
    """
    options = " [OPTIONS]" if command.options else ""
    usage = "\n\t".join(f"{path}{options} {line}".rstrip() for line in command.usage.split("\n"))
    blocks = [f"Usage:  {usage}", inspect.cleandoc(command.function.__doc__ or "")]
    aliases = _aliases(name)
    if len(aliases) > 1:
        blocks.append("Aliases:\n  " + ", ".join(aliases))
    if command.options:
        blocks.append(_options(command.options))
    return "\n\n".join(blocks) + "\n"


def of_group(path: str, group: str) -> str:
    """The help of `rootless container` and its like."""
    title, members = GROUPS[group]
    known = {word: COMMANDS[name][1] for word, name in members.items()}
    return _with_commands(path, f"{path} COMMAND", [title], {"Commands": known})


def of_root(path: str, options: Iterable[Option], commands: Collection[str]) -> str:
    """The help of `rootless` itself."""
    texts = ["Containers for people who have no root: no daemon, no administrator."]
    parts = {
        "Management Commands": {name: title for name, (title, _) in GROUPS.items()},
        "Commands": {name: COMMANDS[name][1] for name in commands},
    }
    return _with_commands(path, f"{path} [OPTIONS] COMMAND", texts, parts, options)


def _with_commands(
    path: str, usage: str, texts: list[str], parts: Mapping[str, Mapping[str, str]], options: Iterable[Option] = ()
) -> str:
    blocks = [f"Usage:  {usage}", *texts]
    for title, known in parts.items():
        width = max(map(len, known))
        blocks.append(_block(title, ((f"  {name:{width}}   ", known[name]) for name in sorted(known))))
    if options:
        blocks.append(_options(options))
    blocks.append(f"Run '{path} COMMAND --help' for more information on a command.")
    return "\n\n".join(blocks) + "\n"


def _options(options: Iterable[Option]) -> str:
    shown = sorted((each for each in options if not each.hidden), key=lambda each: each.names[-1].lstrip("-"))
    heads = [_head(each) for each in shown]
    width = max(map(len, heads))
    rows = ((f"{head:{width}}   ", _text(each)) for head, each in zip(heads, shown, strict=True))
    return _block("Options", rows)


def _head(option: Option) -> str:
    """Its names, and what its value is called."""
    short = [name for name in option.names if not name.startswith("--")]
    long = next(name for name in option.names if name.startswith("--"))
    kind = "" if option.boolean else option.metavar.lower() or ("int" if option.integer else "string")
    return f"  {f'{short[0]}, ' if short else '    '}{long} {kind}".rstrip()


def _text(option: Option) -> str:
    """What it does, and its default where that is not nothing."""
    if not option.default or "default" in option.help:
        return option.help
    default = f'"{option.default}"' if isinstance(option.default, str) else str(option.default).lower()
    return f"{option.help} (default {default})"


def _block(title: str, rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join([f"{title}:", *(line for head, text in rows for line in _row(head, text))])


def _row(head: str, text: str) -> Iterator[str]:
    """Two columns, the second one wrapped to the width of the screen."""
    width = max(shutil.get_terminal_size().columns, len(head) + 24)
    lines = textwrap.wrap(text, width - len(head), break_on_hyphens=False) or [""]
    yield f"{head}{lines[0]}".rstrip()
    for line in lines[1:]:
        yield " " * len(head) + line


def _aliases(name: str) -> list[str]:
    """Every way to call a command, as Docker lists them: by its groups, then by itself."""
    grouped = [
        f"rootless {group} {word}" for group, (_, words) in GROUPS.items() for word, to in words.items() if to == name
    ]
    return [*grouped, f"rootless {name}"] if " " not in name else grouped
