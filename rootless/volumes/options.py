"""`--opt` of `volume create`: Docker's options of its driver `local`, as far as they can be had without being root.

`type=none,o=bind,device=DIR` makes a name for a directory of the machine's, `type=tmpfs,device=tmpfs` one for files in
memory (memory.py). Mounting anything else (nfs, cifs, a disk) takes an administrator, and a limit of size elsewhere
than in memory takes quotas that only an administrator may set.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from ..errors import InvalidError, UnavailableError
from ..kernel import mount as m

_KNOWN = ("device", "o", "size", "type")
_NEEDS = {"device": ("type",), "type": ("device",), "o": ("device", "type")}

_BIND = frozenset({"bind", "rbind"})
_FORBIDDING = frozenset({"nosuid", "nodev", "noexec"})
_USUAL = frozenset({"", "rw", "defaults"})
"""The words of `o` that a mount of a directory can have. What allows more (suid, dev) nobody but root may ask for."""

_TMPFS_FLAGS = {
    "ro": (m.MS_RDONLY, True),
    "rw": (m.MS_RDONLY, False),
    "nosuid": (m.MS_NOSUID, True),
    "suid": (m.MS_NOSUID, False),
    "nodev": (m.MS_NODEV, True),
    "dev": (m.MS_NODEV, False),
    "noexec": (m.MS_NOEXEC, True),
    "exec": (m.MS_NOEXEC, False),
    "noatime": (m.MS_NOATIME, True),
    "relatime": (m.MS_RELATIME, True),
}
_TMPFS_DATA = ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "huge", "mpol")


class Device(msgspec.Struct, frozen=True):
    """A directory of the machine's that a volume stands for.

    Attributes:
        flags: of `nosuid`, `nodev`, `noexec`.
    """

    path: str
    read_only: bool = False
    flags: tuple[str, ...] = ()


class Memory(msgspec.Struct, frozen=True):
    """A tmpfs that a volume stands for.

    Attributes:
        namespace: a descriptor on its mount namespace (memory.py); -1 as long as no container has it.
    """

    namespace: int = -1


Backing = Device | Memory
"""What a volume stands for that has no directory of its own."""


def check(options: Mapping[str, str]) -> dict[str, str]:
    """The options, when they mean something that can be done.

    Raises:
        InvalidError: they don't; in Docker's words.
        UnavailableError: only an administrator can.
    """
    for name in options:
        if name not in _KNOWN:
            raise InvalidError(f'invalid option: "{name}"', hint=f"there are: {', '.join(_KNOWN)}")
    for name, needed in _NEEDS.items():
        for other in needed:
            if name in options and other not in options:
                raise InvalidError(f'missing required option: "{other}"')
    if "size" in options:
        raise UnavailableError(
            "quota size requested but no quota support",
            hint="only an administrator may set a quota; a volume in memory may have a limit: --opt type=tmpfs "
            "--opt device=tmpfs --opt o=size=...",
        )
    if is_tmpfs(options):
        parse_tmpfs(options.get("o", ""))
        return dict(options)
    if options and not device(options):
        raise UnavailableError(
            f'a volume of type "{options["type"]}" can only be mounted by an administrator',
            hint="have it mounted, and name that directory with --opt type=none --opt o=bind --opt device=DIR",
        )
    if options and not os.path.isabs(options["device"]):
        raise InvalidError(f'invalid device "{options["device"]}": an absolute path is needed')
    for word in _words(options) - _BIND - _FORBIDDING - _USUAL - {"ro"}:
        raise InvalidError(
            f'invalid option "{word}" in o={options["o"]}', hint="there are: bind,ro,nosuid,nodev,noexec"
        )
    return dict(options)


def device(options: Mapping[str, str]) -> Device | None:
    """What a volume of these options stands for; None when it has a directory of its own."""
    words = _words(options)
    if options.get("type") in ("none", "bind", "") and _BIND & words:
        return Device(options.get("device", ""), "ro" in words, tuple(sorted(_FORBIDDING & words)))
    return None


def is_tmpfs(options: Mapping[str, str]) -> bool:
    """Whether a volume of these options lies in memory."""
    return options.get("type") == "tmpfs"


def parse_tmpfs(options: str, flags: int = 0) -> tuple[int, list[str]]:
    """The options of a tmpfs as (mount flags, the file system's own options); tmpfs(5).

    Args:
        flags: those that it has unless the options say otherwise.

    Raises:
        InvalidError: an option that tmpfs does not have.
    """
    data = []
    for option in filter(None, options.split(",")):
        if option in _TMPFS_FLAGS:
            bit, on = _TMPFS_FLAGS[option]
            flags = flags | bit if on else flags & ~bit
        elif option.partition("=")[0] in _TMPFS_DATA and "=" in option:
            data.append(option)
        else:
            raise InvalidError(f'invalid tmpfs option "{option}"', hint="see tmpfs(5)")
    return flags, data


def _words(options: Mapping[str, str]) -> frozenset[str]:
    return frozenset(options.get("o", "").split(","))
