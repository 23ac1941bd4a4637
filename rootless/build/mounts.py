"""`RUN --mount`: what is mounted for the time of one command (BuildKit, instructions/commands_runmount.go)."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, replace
from typing import Any

from ..container import sizes
from ..errors import InvalidError, UsageError
from ..image.expand import Expander
from .parser import quote
from .place import nearest

TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
SHARING = ("shared", "private", "locked")

_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly", "rw": "readwrite"}
_TEXTS = {"from": "origin", "source": "source", "target": "target", "id": "id", "env": "env"}
_NUMBERS = {"mode": 8, "uid": 10, "gid": 10}
_WITHOUT_VALUE = ("readonly", "readwrite", "required")
_KEYS = (*_ALIASES, *_TEXTS, *_NUMBERS, *_WITHOUT_VALUE, "type", "size", "sharing")
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
_WITH_OWNER = ("secret", "ssh", "cache")

SCRIPTS = "/dev/pipes"
"""Where a here-document with a line `#!` is, as in BuildKit. /dev is in memory."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One `--mount`, checked.

    Attributes:
        type: one of TYPES.
        origin: `from`, a stage or an image; empty for the build's context (bind) or an empty directory (cache).
        source: a path in `origin`; for a secret its id.
        target: where it is mounted, as given; empty for none given.
        read_only: as asked for, or by the type's default.
        size: bytes that a tmpfs may hold; 0 for no limit.
        id: of a cache, a secret or an SSH agent; empty for the default.
        sharing: of a cache, one of SHARING; empty when not given, which means shared.
        required: whether the secret or agent must be there.
        env: the variable that a secret is put into; None for none, empty for the secret's id.
        mode, uid, gid: of the secret's file, the socket, or a new cache's directory; None for the default.
    """

    type: str = "bind"
    origin: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = True
    size: int = 0
    id: str = ""
    sharing: str = ""
    required: bool = False
    env: str | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None


def check_early(text: str) -> None:
    """What can be said of a `--mount` before variables have values: that it can be read, and that `from` has none.

    Raises:
        InvalidError: it can't, or has.
    """
    for field in _fields(text):
        key, equals, value = field.partition("=")
        if key.lower() == "from" and equals and "$" in value[:-1]:
            raise InvalidError("'from' doesn't support variable expansion, define alias stage instead")


def origin_of(text: str) -> str:
    """The `from` of a `--mount` that `check_early` let pass; empty when it has none."""
    pairs = [field.partition("=") for field in _fields(text)]
    return next((value for key, _, value in reversed(pairs) if key.lower() == "from"), "")


def parse_mount(text: str, expander: Expander) -> Mount:
    """Read one `--mount`, its variables replaced.

    Raises:
        InvalidError: a key is unknown or makes no sense for the type, or a value is not of its kind.
    """
    mount = Mount()
    keys: set[str] = set()
    for field in _fields(text):
        written, equals, value = field.partition("=")
        key = _ALIASES.get(written.lower(), written.lower())
        if not equals and key not in _WITHOUT_VALUE:
            raise InvalidError(f"invalid field '{field}' must be a key=value pair")
        if key not in _KEYS:
            raise InvalidError(f"unexpected key '{key}' in '{field}'{nearest(key, _KEYS, case=True)}")
        mount = replace(mount, **_changes(mount, key, expander.word(value) if equals else "true"))
        keys.add(key)
    if not keys & {"readonly", "readwrite"}:
        mount = replace(mount, read_only=mount.type not in ("cache", "tmpfs"))
    _check(mount)
    return mount


def _fields(text: str) -> list[str]:
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as problem:
        raise InvalidError(f"failed to parse csv mounts: {problem}") from problem
    if len(rows) != 1:
        raise InvalidError("failed to parse csv mounts: it is empty")
    return rows[0]


def _truth(key: str, value: str) -> bool:
    if value not in (*_TRUE, *_FALSE):
        raise InvalidError(f"invalid value for {key}: {value}")
    return value in _TRUE


def _number(key: str, value: str, base: int) -> int:
    if not re.fullmatch(r"[0-7]+" if base == 8 else r"[0-9]+", value) or len(value) > 12 or int(value, base) >= 1 << 32:
        raise InvalidError(f"invalid value {value} for {key}")
    return int(value, base)


def _changes(mount: Mount, key: str, value: str) -> dict[str, Any]:
    """The fields that one key sets, in a mount of what the keys before it said."""
    if key in _TEXTS:
        return {_TEXTS[key]: value}
    if key in _NUMBERS:
        return {key: _number(key, value, _NUMBERS[key])}
    match key:
        case "readonly":
            return {"read_only": _truth(key, value)}
        case "readwrite":
            return {"read_only": not _truth(key, value)}
        case "type":
            return {"type": _choice(value, TYPES, "mount type")}
        case "sharing":
            return {"sharing": _choice(value, SHARING, "sharing value")}
    if mount.type not in {"required": ("secret", "ssh"), "size": ("tmpfs",)}[key]:
        raise InvalidError(f"unexpected key '{key}' for mount type '{mount.type}'")
    return {key: _truth(key, value) if key == "required" else _size(value)}


def _choice(value: str, choices: tuple[str, ...], what: str) -> str:
    if value.lower() not in choices:
        raise InvalidError(f"unsupported {what} {quote(value)}{nearest(value, choices, case=True)}")
    return value.lower()


def _size(value: str) -> int:
    try:
        return sizes.parse(value)
    except UsageError as problem:
        raise InvalidError(f"invalid value for size: {value}") from problem


def _check(mount: Mount) -> None:
    """What the keys may not say together."""
    for key, value in ("mode", mount.mode), ("uid", mount.uid), ("gid", mount.gid):
        if value is not None and mount.type not in _WITH_OWNER:
            raise InvalidError(f"{key} not allowed for {quote(mount.type)} type mounts")
    if mount.type == "secret":
        if mount.origin:
            raise InvalidError("secret mount should not have a from")
        if mount.sharing:
            raise InvalidError("secret mount should not define sharing")
        if not (mount.source or mount.target or mount.id):
            raise InvalidError("invalid secret mount. one of source, target required")
        if mount.source and mount.id:
            raise InvalidError("both source and id can't be set")
    if mount.sharing and mount.type != "cache":
        raise InvalidError(f"invalid cache sharing set for {mount.type} mount")
