"""The image named `host`: the machine's own root, as the caller sees it, below the container's own changes."""

from __future__ import annotations

import os

import msgspec

from ..image.spec import RunConfig

NAME = "host"
"""This word alone always means the machine, whatever has been pulled; an image of that name is `host:latest`."""

OWN = ("/proc", "/sys", "/dev", "/run")
"""What the container has instead of the machine's."""

_KEPT = ("LANG", "PATH", "SHELL")


class HostImage(msgspec.Struct, frozen=True):
    """What takes the place of an image; it has no digest and no documents."""

    run: RunConfig
    id: str = ""


def image() -> HostImage:
    """The machine as an image: the caller's shell as its command, in the directory that the caller is in."""
    environment = [f"HOME={_home()}", *(f"{name}={os.environ[name]}" for name in _KEPT if os.environ.get(name))]
    return HostImage(RunConfig(cmd=[_shell()], env=environment, working_dir=_directory()))


def command(words: tuple[str, ...]) -> tuple[str, ...]:
    """The command after the image's name, where a first `--` may stand before it.

    Docker would look for a program called `--`, or give it to the image's entry point. There is none here, and whoever
    writes `run host -- sh -c '...'` means what sudo(8), env(1) and nsenter(1) mean by it.
    """
    return words[1:] if words[:1] == ("--",) else words


def _shell() -> str:
    shell = os.environ.get("SHELL", "")
    return shell if os.path.isabs(shell) and os.access(shell, os.X_OK) else "/bin/sh"


def _home() -> str:
    home = os.path.expanduser("~")
    return home if os.path.isabs(home) else "/"


def _directory() -> str:
    """Where the caller is, unless that is no more or is nothing that the container shows."""
    try:
        here = os.getcwd()
    except OSError:
        return "/"
    hidden = any(here == own or here.startswith(f"{own}/") for own in OWN)
    return here if here.startswith("/") and not hidden else "/"
