"""Secrets and SSH agents for a build: what `--secret` and `--ssh` give to those RUN that ask for it.

A secret is read when the build begins and lives in memory: in none of the store's files, and in the output of a RUN it
is masked.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InvalidError, NotFoundError, UsageError

LARGEST = 500 << 10
"""Bytes of one secret, as in BuildKit (session/secrets)."""

SHORTEST = 4
"""Bytes from which on a secret is masked: shorter ones stand in every output by chance."""

MASK = b"*****"
_ID = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Secret:
    """One secret. Its value is shown nowhere, not even by repr()."""

    id: str
    value: bytes = field(repr=False)


@dataclass(frozen=True)
class Agent:
    """An SSH agent of the caller's, by its socket; or keys to be given to one that is started for the build."""

    id: str
    socket: str = ""
    keys: tuple[str, ...] = ()


def parse_secret(text: str) -> Secret:
    """`id=ID[,src=FILE|,env=NAME]`, or ID alone: the file of this name, or the variable where there is none.

    Raises:
        UsageError: malformed.
        NotFoundError: the file or variable is not there.
    """
    fields: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        name = name.strip().lower()
        if not equals:
            raise UsageError(f"invalid secret: '{part}' must be a key=value pair", hint="as --secret id=token,src=FILE")
        if name not in ("id", "src", "source", "env", "type"):
            raise UsageError(f"invalid secret: unexpected key '{name}'", hint="known are id, src, env and type")
        fields["src" if name == "source" else name] = value
    secret_id = fields.get("id", "")
    if not _ID.fullmatch(secret_id):
        raise UsageError(f"invalid secret: id {secret_id!r} is not a name")
    if fields.get("type", "file") not in ("file", "env"):
        raise UsageError(f"unsupported secret type {fields['type']!r}", hint="known are file and env")
    if "src" in fields and "env" in fields:
        raise UsageError(f"secret {secret_id}: src and env can't be given both")
    return Secret(secret_id, _value(secret_id, fields))


def _value(secret_id: str, fields: dict[str, str]) -> bytes:
    name = fields.get("env", "")
    if fields.get("type") == "env":
        name = name or fields.get("src", "") or secret_id
    if not name and "src" not in fields and secret_id in os.environ:
        name = secret_id
    if name:
        if name not in os.environ:
            raise NotFoundError(f"secret {secret_id}: the environment has no variable {name}")
        value = os.environb[os.fsencode(name)]
    else:
        value = _read(secret_id, Path(fields.get("src", secret_id)).expanduser())
    if len(value) > LARGEST:
        raise InvalidError(f"secret {secret_id} has {len(value)} bytes; {LARGEST} are allowed")
    return value


def _read(secret_id: str, path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(LARGEST + 1)
    except OSError as problem:
        raise NotFoundError(f"secret {secret_id}: {path}: {(problem.strerror or '').lower()}") from problem


def parse_agent(text: str) -> Agent:
    """`default`, `ID`, or `ID=SOCKET|KEY[,KEY]`.

    Raises:
        UsageError: malformed, or no agent runs.
        NotFoundError: no such file.
    """
    agent_id, equals, value = text.partition("=")
    if not _ID.fullmatch(agent_id):
        raise UsageError(f"invalid --ssh: {text!r}", hint="as --ssh default, or --ssh ID=SOCKET|KEY[,KEY]")
    if not equals:
        socket = os.environ.get("SSH_AUTH_SOCK", "")
        if not socket:
            raise UsageError(
                f"invalid empty ssh agent {agent_id}: SSH_AUTH_SOCK is not set", hint="start an agent, or name a key"
            )
        return Agent(agent_id, socket)
    paths = [str(Path(part).expanduser().absolute()) for part in value.split(",") if part]
    if not paths:
        raise UsageError(f"invalid --ssh: {text!r} names neither a socket nor a key")
    kinds = [_kind(path) for path in paths]
    if len(paths) == 1 and stat.S_ISSOCK(kinds[0]):
        return Agent(agent_id, paths[0])
    if any(stat.S_ISSOCK(kind) for kind in kinds):
        raise UsageError(f"invalid --ssh: {agent_id}: only one socket, or keys, can be given")
    return Agent(agent_id, keys=tuple(paths))


def _kind(path: str) -> int:
    try:
        return os.stat(path).st_mode
    except OSError as problem:
        raise NotFoundError(f"--ssh: {path}: {(problem.strerror or '').lower()}") from problem


class Masker:
    """Hides secrets in what a command writes. Whole lines are passed on, so that none slips through in two pieces."""

    def __init__(self, secrets: Sequence[Secret]) -> None:
        found = {value for secret in secrets for value in _masked(secret.value)}
        self._pattern = re.compile(b"|".join(map(re.escape, sorted(found, key=len, reverse=True)))) if found else None
        self._longest = max(map(len, found), default=0)
        self._held: dict[int, bytes] = {}

    def feed(self, stream: int, data: bytes) -> bytes:
        """What may be shown of `data` and of what was held back."""
        if self._pattern is None:
            return data
        data = self._held.pop(stream, b"") + data
        cut = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if len(data) - cut > 2 * LARGEST:
            cut = self._between(data, len(data) - self._longest + 1)
        if rest := data[cut:]:
            self._held[stream] = rest
        return self._pattern.sub(MASK, data[:cut])

    def _between(self, data: bytes, cut: int) -> int:
        """A place in a line without an end, at `cut` or after it, at which no secret is cut in two."""
        assert self._pattern is not None
        spans = (match.span() for match in self._pattern.finditer(data))
        return next((end for start, end in spans if start < cut < end), cut)

    def rest(self) -> list[tuple[int, bytes]]:
        """What was held back at the end."""
        held, self._held = self._held, {}
        return [(stream, self._pattern.sub(MASK, data) if self._pattern else data) for stream, data in held.items()]


def _masked(value: bytes) -> list[bytes]:
    """A secret as it could be seen: as a whole, and line by line."""
    return [part for part in {value.strip(), *(line.strip() for line in value.splitlines())} if len(part) >= SHORTEST]
