"""`--opt` of `volume create`: Docker's options of its driver `local`, as far as they can be had without being root.

`type=none,o=bind,device=DIR` makes a name for a directory of the machine's. Mounting anything else (nfs, cifs, a disk)
takes an administrator, and a limit of size takes quotas that only an administrator may set.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from ..errors import InvalidError, UnavailableError

_KNOWN = ("device", "o", "size", "type")
_NEEDS = {"device": ("type",), "type": ("device",), "o": ("device", "type")}


_BIND = frozenset({"bind", "rbind"})
_FORBIDDING = frozenset({"nosuid", "nodev", "noexec"})
_USUAL = frozenset({"", "rw", "defaults"})
"""The words of `o` that a mount of a directory can have. What allows more (suid, dev) nobody but root may ask for."""


class Device(msgspec.Struct, frozen=True):
    """A directory of the machine's that a volume stands for.

    Attributes:
        flags: of `nosuid`, `nodev`, `noexec`.
    """

    path: str
    read_only: bool = False
    flags: tuple[str, ...] = ()


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
            hint="only an administrator may set a quota; -v with --storage-opt size=... limits a container's own layer",
        )
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


def _words(options: Mapping[str, str]) -> frozenset[str]:
    return frozenset(options.get("o", "").split(","))
