"""`--opt` of `volume create`: Docker's options of its driver `local`, as far as they can be had without being root.

`type=none,o=bind,device=DIR` makes a name for a directory of the machine's. Mounting anything else (nfs, cifs, a disk)
takes an administrator, and a limit of size takes quotas that only an administrator may set.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from ..errors import InvalidError, UnavailableError

_KNOWN = ("device", "o", "size", "type")
_NEEDS = {"device": ("type",), "type": ("device",), "o": ("device", "type")}


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
    return dict(options)


def device(options: Mapping[str, str]) -> str:
    """The directory of the machine's that a volume of these options stands for; empty when it has its own."""
    if options.get("type") in ("none", "bind", "") and {"bind", "rbind"} & set(options.get("o", "").split(",")):
        return options.get("device", "")
    return ""
