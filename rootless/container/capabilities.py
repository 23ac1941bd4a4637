"""Which capabilities a container gets: Docker's default set, and its rules for --cap-add, --cap-drop, --privileged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import UsageError
from ..kernel.caps import Cap, supported

DEFAULT = frozenset(
    {
        Cap.CAP_CHOWN,
        Cap.CAP_DAC_OVERRIDE,
        Cap.CAP_FOWNER,
        Cap.CAP_FSETID,
        Cap.CAP_KILL,
        Cap.CAP_SETGID,
        Cap.CAP_SETUID,
        Cap.CAP_SETPCAP,
        Cap.CAP_NET_BIND_SERVICE,
        Cap.CAP_NET_RAW,
        Cap.CAP_SYS_CHROOT,
        Cap.CAP_MKNOD,
        Cap.CAP_AUDIT_WRITE,
        Cap.CAP_SETFCAP,
    }
)
"""What a container has without any option (https://docs.docker.com/engine/containers/run/#runtime-privilege-and-linux-capabilities)."""

_ALL = "ALL"


def resolve(add: Sequence[str], drop: Sequence[str], privileged: bool) -> frozenset[Cap]:
    """The capabilities of a container by its options.

    Names come in any case, with or without CAP_; ALL is every capability of this kernel. As in Docker: `privileged`
    gives all, whatever else is said. What is both added and dropped is added, ALL too. `--cap-add ALL` gives all but
    what is dropped, `--cap-drop ALL` only what is added; else the default set loses what is dropped and gets what is
    added.

    Raises:
        UsageError: a name that no capability has, or one that this kernel lacks.
    """
    available = supported()
    added, dropped = _parse(add, available), _parse(drop, available)
    if privileged:
        return available
    if _ALL in added:
        return available if _ALL in dropped else available - _caps(dropped)
    if _ALL in dropped:
        return _caps(added)
    return (DEFAULT & available) - _caps(dropped) | _caps(added)


def names(caps: Iterable[Cap]) -> list[str]:
    """Their names in the kernel's order, as `inspect` shows them."""
    return [cap.name for cap in sorted(caps)]


def _parse(words: Sequence[str], available: frozenset[Cap]) -> set[str | Cap]:
    return {_one(word, available) for word in words}


def _one(word: str, available: frozenset[Cap]) -> str | Cap:
    name = word.strip().upper()
    if name == _ALL:
        return _ALL
    cap = Cap.__members__.get(name if name.startswith("CAP_") else f"CAP_{name}")
    if cap is None:
        raise UsageError(f"unknown capability {word!r}", hint="capabilities(7) lists them, such as NET_ADMIN")
    if cap not in available:
        raise UsageError(f"this kernel does not know the capability {cap.name}")
    return cap


def _caps(parsed: set[str | Cap]) -> frozenset[Cap]:
    return frozenset(item for item in parsed if isinstance(item, Cap))
