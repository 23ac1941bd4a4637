"""Where images really come from: registries.conf, as the containers tools keep and read it, so that a machine that
was set up for them is set up for us.

containers-registries.conf(5). Read are `$CONTAINERS_REGISTRIES_CONF`, or the user's registries.conf, or else the
machine's; then the drop-ins of registries.conf.d, the machine's first. Used are short-name aliases, `[[registry]]` with
prefix, location, insecure, blocked and mirrors, and the older format's [registries.insecure] and [registries.block].
The list of unqualified-search-registries is not: a name without a registry that has no alias is docker.io's, as in
Docker.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ..errors import InvalidError, RootlessError

DOCKER = "docker.io"
_DOCKER_HOST = "registry-1.docker.io"


class BlockedError(RootlessError):
    """This machine's configuration forbids the registry."""


class _Mirror(msgspec.Struct, rename="kebab"):
    location: str = ""
    insecure: bool = False
    pull_from_mirror: str = ""


class _Registry(msgspec.Struct, rename="kebab"):
    prefix: str = ""
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    mirror_by_digest_only: bool = False
    mirror: list[_Mirror] = []


class _Listed(msgspec.Struct):
    registries: list[str] = []


class _File(msgspec.Struct):
    registry: list[_Registry] = []
    aliases: dict[str, str] = {}
    registries: dict[str, _Listed] = {}
    """The older format."""


@dataclass(frozen=True)
class Place:
    """A repository on a server.

    Attributes:
        host: name and port, as they stand in a URL.
        path: of the repository there.
        insecure: an unknown certificate, or no encryption at all, is put up with.
        mirror: it only stands in for another.
    """

    host: str
    path: str
    insecure: bool = False
    mirror: bool = False

    def __str__(self) -> str:
        return f"{self.host}/{self.path}"


@dataclass(frozen=True)
class Registries:
    """What the files say, merged."""

    registries: dict[str, _Registry] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)

    def alias(self, short: str) -> str:
        """The full name that stands for a short one (`fedora`, without tag); empty when there is none."""
        return self.aliases.get(short, "")

    def sources(self, name: str, *, digest: bool, verify: bool | None = None) -> list[Place]:
        """Where to look for the repository `name` (`docker.io/library/alpine`), in this order: mirrors, then itself.

        Args:
            digest: an image is wanted by its digest; some mirrors are only trusted with those.
            verify: `--tls-verify`, which goes before what the files say of the registry itself.

        Raises:
            BlockedError: the registry must not be used.
        """
        prefix, entry = self._entry(name)
        if entry.blocked:
            raise BlockedError(f"registry {prefix} is blocked by registries.conf", hint="an administrator can tell why")
        mirrors = [
            _place(_moved(name, prefix, mirror.location), mirror.insecure, mirror=True)
            for mirror in entry.mirror
            if _serves(mirror, entry, digest=digest)
        ]
        own = _place(_moved(name, prefix, entry.location), entry.insecure)
        insecure = (own.insecure or is_local(own.host)) if verify is None else not verify
        return [*mirrors, Place(own.host, own.path, insecure)]

    def home(self, name: str, *, verify: bool | None = None) -> Place:
        """The one place of a repository that may be written to."""
        return self.sources(name, digest=True, verify=verify)[-1]

    def _entry(self, name: str) -> tuple[str, _Registry]:
        """The entry whose prefix fits a name best, and the part of the name that it stands for."""
        best = "", _Registry()
        for prefix, entry in self.registries.items():
            matched = _matched(name, prefix)
            if len(matched) > len(best[0]):
                best = matched, entry
        return best


def is_local(host: str) -> bool:
    """Whether a server is on this machine: as in Docker, nobody has to certify that to us."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    return name in ("localhost", "[::1]") or name.startswith("127.")


def _place(name: str, insecure: bool, *, mirror: bool = False) -> Place:
    host, _, path = name.partition("/")
    return Place(_DOCKER_HOST if host == DOCKER else host, path, insecure, mirror)


def _matched(name: str, prefix: str) -> str:
    """How much of `name` a prefix covers: whole components, and `*.example.com` any one host below."""
    if prefix.startswith("*."):
        host = name.partition("/")[0]
        return host if host.partition(":")[0].endswith(prefix[1:]) else ""
    return prefix if f"{name}/".startswith(f"{prefix}/") else ""


def _moved(name: str, prefix: str, location: str) -> str:
    return location + name[len(prefix) :] if location and prefix else name


def _serves(mirror: _Mirror, entry: _Registry, *, digest: bool) -> bool:
    wanted = mirror.pull_from_mirror or ("digest-only" if entry.mirror_by_digest_only else "all")
    return bool(mirror.location) and wanted in ("all", "digest-only" if digest else "tag-only")


def load(environment: Mapping[str, str] = os.environ) -> Registries:
    """Read the files that are there.

    Raises:
        InvalidError: one of them is not what it should be.
    """
    found = Registries()
    for path in _files(environment):
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        _merge(found, _read(data, path))
    return found


def _files(environment: Mapping[str, str]) -> Iterator[Path]:
    home = Path(environment.get("HOME") or "/")
    own = Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "containers"
    cache = Path(environment.get("XDG_CACHE_HOME") or home / ".cache") / "containers"
    machine = Path("/etc/containers")
    named = environment.get("CONTAINERS_REGISTRIES_CONF") or environment.get("REGISTRIES_CONFIG_PATH")
    if named:
        yield Path(named)
    else:
        yield next((p for p in (own / "registries.conf",) if p.exists()), machine / "registries.conf")
    for directory in () if named else (machine, own):
        yield from sorted((directory / "registries.conf.d").glob("*.conf"))
    yield cache / "short-name-aliases.conf"


def _read(data: bytes, path: Path) -> _File:
    try:
        return msgspec.convert(tomllib.loads(data.decode()), _File)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError, RecursionError) as problem:
        raise InvalidError(f"{path} is not valid: {problem}", hint="see containers-registries.conf(5)") from None


def _merge(found: Registries, file: _File) -> None:
    for name in file.registries.get("insecure", _Listed()).registries:
        found.registries[name] = _Registry(location=name, insecure=True)
    for name in file.registries.get("block", _Listed()).registries:
        found.registries[name] = _Registry(location=name, blocked=True)
    for entry in file.registry:
        found.registries[entry.prefix or entry.location] = entry
    for short, full in file.aliases.items():
        found.aliases[short] = full
        if not full:
            del found.aliases[short]  # an empty one takes back what an earlier file said
    found.registries.pop("", None)
