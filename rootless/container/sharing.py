"""Whose namespaces a container has: the texts of `--pid`, `--ipc`, `--uts`, `--cgroupns` and `--network`.

In a record each is empty for one of its own, `host` for the caller's, or `container:ID` with the whole id; `--ipc` also
knows `private`, `shareable` and `none` (without /dev/shm), and `--network` has the names of networks.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import UsageError

HOST = "host"
CONTAINER = "container:"
SHAREABLE = "shareable"

_WORDS = {
    "pid": ("", HOST),
    "uts": ("", HOST),
    "cgroupns": ("", HOST, "private"),
    "ipc": ("", HOST, "none", "private", SHAREABLE),
}
_TITLES = {"pid": "PID", "uts": "UTS", "cgroupns": "CGROUP", "ipc": "IPC"}


def check(option: str, text: str) -> str:
    """The text of an option, as given.

    Raises:
        UsageError: it means nothing; in Docker's words.
    """
    if text in _WORDS[option] or (option in ("pid", "ipc") and text.startswith(CONTAINER) and donor(text)):
        return text
    if option == "ipc":
        raise UsageError(f"invalid IPC mode: {text}")
    raise UsageError(f"--{option}: invalid {_TITLES[option]} mode")


def donor(mode: str) -> str:
    """The container whose namespace it is; empty for every other mode."""
    return mode.removeprefix(CONTAINER) if mode.startswith(CONTAINER) else ""


def resolved(mode: str, id_of: Callable[[str], str]) -> str:
    """The mode with the whole id in the place of a name: whoever is renamed keeps those who share with it.

    Raises:
        NotFoundError, ConflictError: as `Containers.id_of`.
    """
    return CONTAINER + id_of(donor(mode)) if donor(mode) else mode
