"""The networks of a store: one document each, and beside it the leases of those who are on it.

Everybody who writes either holds `lock`. A reader needs none: each is replaced by rename.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from .. import atomic, events, locks
from ..container.links import Names
from ..container.network import RESERVED as MODES
from ..errors import ConflictError, InvalidError, NotFoundError, StoreError
from ..paths import Paths
from .record import Lease, Network, decode_leases, decode_network

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
PREDEFINED = ("bridge", "host", "none")
"""What `--network` means something of its own by; Docker lists them as networks."""

RESERVED = frozenset({*PREDEFINED, *MODES})
"""Names that a network can't have, because `--network` understands them otherwise."""


class Networks:
    """The directory of networks."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.directory = paths.networks

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Alone with all networks: whether subnets overlap is a question about all of them."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locks.lock(self.directory / ".lock"):
            yield

    # --- reading -----------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Of all of them, damaged ones too, in order."""
        try:
            found = os.listdir(self.directory)
        except FileNotFoundError:
            return []
        return sorted(name.removesuffix(".json") for name in found if name.endswith(".json"))

    def all(self) -> list[Network]:
        """Every readable network, by name."""
        found = []
        for name in self.names():
            with suppress(NotFoundError, StoreError):
                found.append(self.load(name))
        return found

    def load(self, name: str) -> Network:
        """The network of this name.

        Raises:
            NotFoundError: there is none; in Docker's words.
            StoreError: its document is damaged.
        """
        path = self._path(name)
        try:
            network = decode_network(path.read_bytes(), str(path))
        except FileNotFoundError:
            raise NotFoundError(f"network {name} not found") from None
        if network.name != name:
            raise StoreError(f"{path} names another network", hint="remove it, and make the network anew")
        return network

    def resolve(self, text: str) -> Network:
        """The network of a name, an id, or the beginning of an id that no other shares.

        Raises:
            NotFoundError: there is none; in Docker's words.
            ConflictError: several ids begin so.
        """
        if NAME.fullmatch(text) and self._path(text).exists():
            return self.load(text)
        matches = [network for network in self.all() if text and network.id.startswith(text)]
        if not matches:
            raise NotFoundError(f"network {text} not found")
        if len(matches) > 1:
            raise ConflictError(f"network {text} is ambiguous ({len(matches)} matches found based on ID prefix)")
        return matches[0]

    # --- making and removing -----------------------------------------------------------------------------------------

    def add(self, network: Network) -> None:
        """Write a new network down, whose name nobody has. The caller holds the lock."""
        path = self._path(network.name)
        atomic.write(path, msgspec.json.encode(network), tmp=self.paths.tmp)
        self.emit("create", network)

    def remove(self, network: Network) -> None:
        """Remove a network on which nobody is. The caller holds the lock.

        Raises:
            ConflictError: somebody is; in Docker's words.
        """
        if used := self.leases(network.name):
            who = ", ".join(f'name:"{self.container_name(lease)}" id:"{lease.endpoint[:12]}"' for lease in used)
            raise ConflictError(
                f"error while removing network: network {network.name} has active endpoints ({who})",
                hint="stop those containers, or disconnect them from it",
            )
        self._path(network.name).unlink(missing_ok=True)
        self._leases_path(network.name).unlink(missing_ok=True)
        atomic.sync_directory(self.directory)
        self.emit("destroy", network)

    def emit(self, action: str, network: Network, **attributes: str) -> None:
        """Note what happened to a network, for `events`."""
        known = {"name": network.name, "type": network.driver}
        events.emit(self.paths, "network", action, network.id, known | attributes)

    # --- who is on it ------------------------------------------------------------------------------------------------

    def leases(self, name: str) -> list[Lease]:
        """The leases of a network whose containers live."""
        return [lease for lease, _ in self._entries(name)]

    def _entries(self, name: str) -> list[tuple[Lease, msgspec.Raw]]:
        """Those leases, each with what stands in the file of it: a newer version may have written more."""
        try:
            data = self._leases_path(name).read_bytes()
        except FileNotFoundError:
            return []
        return [(lease, raw) for lease, raw in decode_leases(data) if not lease.is_void()]

    def put_lease(self, name: str, lease: Lease) -> None:
        """Note a container's lease, in the place of the one it had. The caller holds the lock."""
        self._change_leases(name, lease.container, [msgspec.Raw(msgspec.json.encode(lease))])

    def drop_lease(self, name: str, container_id: str) -> None:
        """A container is not on a network any more. The caller holds the lock."""
        self._change_leases(name, container_id, [])

    def _change_leases(self, name: str, without: str, new: list[msgspec.Raw]) -> None:
        """Not flushed: no lease outlives a boot.

        Raises:
            StoreError: no room, or a store that can't be written.
        """
        path = self._leases_path(name)
        kept = [raw for lease, raw in self._entries(name) if lease.container != without]
        try:
            atomic.write(path, msgspec.json.encode([*kept, *new]), tmp=self.paths.tmp, durable=False)
        except OSError as problem:
            raise StoreError(f"{path}: {problem.strerror}", hint="`rootless rm` makes room") from problem

    def container_name(self, lease: Lease) -> str:
        """What the container of a lease is called now; its short id when its document can't be read."""
        return Names(self.paths).name_of(lease.container) or lease.container[:12]

    def _path(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise NotFoundError(f"network {name} not found")
        return self.directory / f"{name}.json"

    def _leases_path(self, name: str) -> Path:
        return self.directory / f"{name}.leases"


def check_name(name: str) -> None:
    """Whether a new network can be called so.

    Raises:
        InvalidError: it can't be a name.
        ConflictError: `--network` understands it as something else.
    """
    if name in PREDEFINED:
        raise ConflictError(f"operation is not permitted on predefined {name} network")
    if not NAME.fullmatch(name):
        raise InvalidError(
            f'invalid network name "{name}"', hint="letters, digits, '_', '.' and '-', beginning with a letter or digit"
        )
    if name in RESERVED:
        raise ConflictError(f"a network can't be called {name}: --network understands that otherwise")


def refuse_predefined(name: str) -> None:
    """ConflictError for a network that is always there."""
    if name in PREDEFINED:
        raise ConflictError(f"{name} is a pre-defined network and cannot be removed")
