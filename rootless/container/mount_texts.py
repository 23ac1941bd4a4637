"""The texts of `-v`, `--mount` and `--volumes-from`, read as Docker's client and engine read them, in their words.

What the client refuses is a UsageError, what the engine refuses an InvalidError: they end with different codes.
Of podman's further modes of `-v` there are O, U, upperdir=, workdir=, and the flags of a mount.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable
from typing import Any

import msgspec

from ..errors import InvalidError, UsageError
from . import sizes
from .mounts import FLAGS, Mount, Recursion

PROPAGATIONS = ("private", "rprivate", "slave", "rslave", "shared", "rshared")
_MODES: tuple[tuple[str, ...], ...] = (
    ("ro", "rw"),
    ("z", "Z"),
    PROPAGATIONS,
    ("nocopy", "copy"),
    ("consistent", "cached", "delegated"),
    ("O",),
    ("U",),
    ("exec", "noexec"),
    ("suid", "nosuid"),
    ("dev", "nodev"),
    ("bind", "rbind"),
)
"""The words that a mode may have, at most one of each group. z and Z matter to SELinux, the fifth group to macOS."""


def parse_volume(text: str) -> Mount:
    """`[SOURCE:]TARGET[:MODE]`.

    Raises:
        UsageError, InvalidError: it means nothing.
    """
    parts = _split(text)
    if len(parts) == 1:
        _check_target(text, "volume", parts[0])
        return Mount(type="volume", target=normal(parts[0]), anonymous=True)
    source = _absolute(parts[0])
    text = ":".join([source, *parts[1:]])
    if len(parts) == 2 and _is_mode(parts[1]):
        raise _invalid(text)
    words = _mode(parts[2]) if len(parts) == 3 else []
    kind = "bind" if source.startswith("/") else "volume"
    _check_target(text, kind, parts[1])
    plain: dict[str, Any] = {
        "target": normal(parts[1]),
        "source": posixpath.normpath(source) if kind == "bind" else source,
        "text": text,
        "read_only": "ro" in words,
        "own": "U" in words,
        "flags": tuple(word for word in words if word in FLAGS),
    }
    if "O" in words:
        return _overlay(kind, words, plain)
    if kind == "volume":
        return Mount(type="volume", no_copy="nocopy" in words, **plain)
    if {"copy", "nocopy"} & set(words):
        raise _invalid(text, config_error("bind", "field VolumeOptions must not be specified").message)
    propagation = next((word for word in words if word in PROPAGATIONS), "")
    return Mount(
        type="bind",
        create=True,
        propagation="" if propagation == "rprivate" else propagation,
        recursive="disabled" if "bind" in words else "",
        **plain,
    )


def _split(text: str) -> list[str]:
    if not text:
        raise UsageError("invalid empty volume spec")
    parts = text.split(":")
    if "" in parts:
        raise UsageError(f"invalid spec: {text}: empty section between colons")
    if len(parts) > 3:
        raise UsageError(f"invalid spec: {text}: too many colons")
    return parts


def _absolute(source: str) -> str:
    """Docker's client makes a source absolute that begins with a dot, and no other."""
    return os.path.abspath(source) if source.startswith(".") else source


def normal(path: str) -> str:
    """An absolute path without "..", "." and empty parts."""
    return "/" + posixpath.normpath(path).lstrip("/")


def _invalid(text: str, reason: str = "") -> InvalidError:
    return InvalidError(f"invalid volume specification: '{text}'" + (f": {reason}" if reason else ""))


def _check_target(text: str, kind: str, target: str) -> None:
    try:
        check_target(kind, target)
    except InvalidError as problem:
        raise _invalid(text, problem.message) from None


def check_target(kind: str, target: str) -> None:
    """Raise the InvalidError that Docker's engine has for a target that can't be one."""
    if posixpath.normpath(target) in ("/", "//"):
        raise config_error(kind, "invalid specification: destination can't be '/'")
    if not target.startswith("/"):
        raise config_error(kind, f"invalid mount path: '{target}' mount path must be absolute")


def config_error(kind: str, reason: str) -> InvalidError:
    """Docker's form for a mount that makes no sense."""
    return InvalidError(f'invalid mount config for type "{kind}": {reason}')


def _is_mode(text: str) -> bool:
    words = [word for word in text.split(",") if not word.startswith(("upperdir=", "workdir="))]
    known = all(any(word in group for group in _MODES) for word in words)
    return known and all(sum(word in group for word in words) <= 1 for group in _MODES)


def _mode(text: str) -> list[str]:
    if not _is_mode(text):
        raise InvalidError(f"invalid mode: {text}")
    words = text.split(",")
    if "O" not in words and any("=" in word for word in words):
        raise InvalidError(f"invalid mode: {text}", hint="upperdir and workdir belong to O")
    return words


def _overlay(kind: str, words: list[str], plain: dict[str, Any]) -> Mount:
    given = dict(word.split("=", 1) for word in words if "=" in word)
    if kind != "bind":
        raise _invalid(plain["text"], "the mode O needs a directory of the machine's")
    if ("upperdir" in given) != ("workdir" in given):
        raise _invalid(plain["text"], "upperdir and workdir must be given together")
    paths = {name: os.path.abspath(path) for name, path in given.items() if path}
    return Mount(type="overlay", upper=paths.get("upperdir", ""), work=paths.get("workdir", ""), **plain)


def parse_volumes_from(text: str) -> tuple[str, bool]:
    """`CONTAINER[:ro|:rw]`: the container, and whether everything of it shall be read-only.

    Raises:
        InvalidError: another mode.
    """
    name, _, mode = text.partition(":")
    if not text:
        raise InvalidError("volumes-from specification cannot be an empty string")
    if mode and (not _is_mode(mode) or set(mode.split(",")) - {"ro", "rw", "z", "Z", "cached", "delegated"}):
        raise InvalidError(f"invalid mode: {mode}")
    return name, "ro" in mode.split(",")


def parse_mount(text: str) -> Mount:
    """`type=...,source=...,target=...`, the fields as a line of CSV.

    Raises:
        UsageError: what Docker's client refuses, without its mention of the option.
        InvalidError: what its engine refuses.
    """
    if not text.strip():
        raise UsageError("value is empty")
    fields = _Fields()
    for field in _csv(text.strip()):
        fields.read(field)
    fields.check()
    return fields.mount()


def _csv(text: str) -> list[str]:
    import csv

    try:
        return next(csv.reader([text], strict=True))
    except csv.Error as problem:
        raise UsageError(f"parse error on line 1: {problem}") from problem


_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly", "u": "chown"}
_FLAGS = ("readonly", "volume-nocopy", "bind-create-src", "chown")
_TEXTS = (
    *("type", "source", "target", "consistency", "bind-propagation", "bind-recursive", "volume-subpath"),
    *("volume-label", "volume-driver", "volume-opt", "tmpfs-size", "tmpfs-mode"),
)
_RECURSIONS: dict[str, Recursion] = {
    "enabled": "",
    "disabled": "disabled",
    "writable": "writable",
    "readonly": "readonly",
}


class _Fields:
    """The fields of one --mount, by their names."""

    def __init__(self) -> None:
        self._found: dict[str, Any] = {"type": "volume"}
        self._maps: dict[str, dict[str, str]] = {"volume-label": {}, "volume-opt": {}}

    def read(self, field: str) -> None:
        key, equals, value = field.partition("=")
        if key != key.strip():
            raise UsageError(f"invalid option '{key.strip()}' in '{field}': option should not have whitespace")
        if equals and not value.strip():
            raise UsageError(f"invalid value for '{key}': value is empty")
        if value != value.strip():
            raise UsageError(f"invalid value for '{key}' in '{field}': value should not have whitespace")
        key = key.lower()
        name = _ALIASES.get(key, key)
        if not equals and name not in (*_FLAGS, "bind-nonrecursive"):
            raise UsageError(f"invalid field '{field}' must be a key=value pair")
        if name == "bind-nonrecursive":
            raise UsageError("bind-nonrecursive is deprecated, use bind-recursive=disabled instead")
        if name in _FLAGS:
            self._found[name] = _boolean(key, value) if equals else True
        elif name in self._maps:
            label, _, content = value.partition("=")
            self._found[name] = True
            self._maps[name][label] = content
        elif name in _TEXTS:
            self._found[name] = _READERS[name](key, value) if name in _READERS else value
        else:
            raise UsageError(f"unknown option '{key}' in '{field}'")

    def check(self) -> None:
        """What the client checks of all fields together."""
        kind, found = self._found["type"], self._found
        for prefix in "bind", "volume", "tmpfs":
            if kind != prefix and any(name.startswith(f"{prefix}-") for name in found):
                raise UsageError(f"cannot mix '{prefix}-*' options with mount type '{kind}'")
        recursive = found.get("bind-recursive")
        if recursive in ("writable", "readonly") and not found.get("readonly"):
            raise UsageError(f"option 'bind-recursive={recursive}' requires 'readonly' to be specified in conjunction")
        if recursive == "readonly" and found.get("bind-propagation") != "rprivate":
            raise UsageError(
                "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction"
            )

    def mount(self) -> Mount:
        """The mount, if the engine takes it."""
        kind, found = self._found["type"], self._found
        target, source = found.get("target", ""), found.get("source", "")
        if not target:
            raise config_error(kind, "field Target must not be empty")
        check_target(kind, target)
        plain = {"target": normal(target), "read_only": found.get("readonly", False), "own": found.get("chown", False)}
        match kind:
            case "bind":
                return self._bind(source, plain)
            case "volume":
                return self._volume(source, plain)
            case "tmpfs":
                if source:
                    raise config_error(kind, "field Source must not be specified")
                words = ["ro"] if plain["read_only"] else []
                words += [f"{name}={found[f'tmpfs-{name}']}" for name in ("mode", "size") if f"tmpfs-{name}" in found]
                return Mount(type="tmpfs", options=",".join(words), **plain)
            case _:
                raise config_error(kind, "mount type unknown")

    def _bind(self, source: str, plain: dict[str, Any]) -> Mount:
        found = self._found
        if not source:
            raise config_error("bind", "field Source must not be empty")
        propagation = found.get("bind-propagation", "")
        if propagation and propagation not in PROPAGATIONS:
            raise config_error("bind", f"invalid propagation mode: {propagation}")
        if not source.startswith("/"):
            raise config_error("bind", f"invalid mount path: '{source}' mount path must be absolute")
        return Mount(
            type="bind",
            source=normal(source),
            propagation="" if propagation == "rprivate" else propagation,
            recursive=_RECURSIONS[found.get("bind-recursive", "enabled")],
            create=found.get("bind-create-src", False),
            **plain,
        )

    def _volume(self, source: str, plain: dict[str, Any]) -> Mount:
        found = self._found
        subpath, driver = found.get("volume-subpath", ""), found.get("volume-driver", "local")
        if subpath and not source:
            raise config_error("volume", "must not set Subpath when using anonymous volumes")
        if subpath and (subpath.startswith("/") or posixpath.normpath(subpath).startswith("..")):
            raise config_error("volume", "subpath must be a relative path within the volume")
        if driver != "local":
            raise plugin_missing(driver, source)
        return Mount(
            type="volume",
            source=source,
            anonymous=not source,
            no_copy=found.get("volume-nocopy", False),
            subpath=subpath,
            labels=self._maps["volume-label"],
            volume_options=self._maps["volume-opt"],
            **plain,
        )


def plugin_missing(driver: str, volume: str) -> InvalidError:
    """Docker's words for a volume driver that is not there. Here is one, and there are no plugins."""
    return InvalidError(
        f'create {volume}: error looking up volume plugin {driver}: plugin "{driver}" not found',
        hint="the driver is local",
    )


def _boolean(key: str, value: str) -> bool:
    if value in ("1", "true"):
        return True
    if value in ("0", "false"):
        return False
    raise UsageError(
        f"invalid value for '{key}': invalid boolean value (\"{value}\"): "
        'must be one of "true", "1", "false", or "0" (default "true")'
    )


def _recursion(key: str, value: str) -> str:
    if value not in _RECURSIONS:
        raise UsageError(f'invalid value for {key}: {value} (must be "enabled", "disabled", "writable", or "readonly")')
    return value


def _size(key: str, value: str) -> str:
    try:
        return str(sizes.parse(value))
    except UsageError as problem:
        raise UsageError(f"invalid value for {key}: {problem.message}") from None


def _octal(key: str, value: str) -> str:
    if not re.fullmatch(r"[0-7]{1,10}", value):
        raise UsageError(f'invalid value for {key}: strconv.ParseUint: parsing "{value}": invalid syntax')
    return value


_READERS: dict[str, Callable[[str, str], str]] = {
    "type": lambda _, value: value.lower(),
    "source": lambda _, value: _absolute(value),
    "bind-propagation": lambda _, value: value.lower(),
    "bind-recursive": _recursion,
    "tmpfs-size": _size,
    "tmpfs-mode": _octal,
}


def read_only(mount: Mount) -> Mount:
    """The same mount, read-only."""
    if mount.type == "tmpfs":
        return mount
    return msgspec.structs.replace(mount, read_only=True)
