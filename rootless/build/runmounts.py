"""The mounts of one RUN: what of them stands in its key, and how they come to be in its container."""

from __future__ import annotations

import itertools
import os
import posixpath
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from .. import room
from ..container import changed
from ..container.container import Container
from ..errors import InvalidError, NotFoundError, StoreError, UnavailableError
from ..image.store import Image, Layer
from ..kernel import mount as m
from ..paths import private_directory
from ..runtime.rootfs import FileSystem, Operation
from ..storage.overlay import Overlay
from . import sources
from .cachemounts import CacheMount, CacheMounts, joined
from .mountplan import File, Layers, Memory, Place
from .mountpoints import remove_made
from .mounts import SCRIPTS, Mount
from .packing import Packer, Rules, pass_on
from .root import Root
from .tree import Tree

if TYPE_CHECKING:
    from .builder import Builder


@dataclass
class Prepared:
    """What a RUN's container gets beside its image.

    Attributes:
        operations: steps for its plan, those of deeper targets last.
        variables: `NAME=value` that must not be written down.
    """

    operations: list[Operation] = field(default_factory=list)
    variables: list[str] = field(default_factory=list)


class RunMounts:
    """The mounts of one RUN.

    Attributes:
        mounts: with their targets absolute.
    """

    def __init__(self, builder: Builder, mounts: Sequence[Mount], script: tuple[str, str] | None) -> None:
        """
        Args:
            script: the name and content of a file that is the command.

        Raises:
            NotFoundError: a secret or an agent that has to be there is not.
        """
        self._builder, self._script = builder, script
        self._request = builder.common.request
        agents = itertools.count()
        self.mounts = [(mount, self._target(mount, next(agents) if mount.type == "ssh" else 0)) for mount in mounts]
        for mount, _ in self.mounts:
            self._require(mount)

    def _target(self, mount: Mount, number: int) -> str:
        """The absolute target; empty for a secret that becomes a variable only. `number` counts agents."""
        target = mount.target
        if not target and mount.type == "secret":
            return "" if mount.env is not None else f"/run/secrets/{posixpath.basename(_secret_id(mount))}"
        if not target and mount.type == "ssh":
            return f"/run/buildkit/ssh_agent.{number}"
        found = self._builder.draft.resolve(target).rstrip("/")
        if not found:
            raise InvalidError('invalid mount target "/"', hint="target= names a directory below it")
        return found

    def _require(self, mount: Mount) -> None:
        if mount.type == "secret" and mount.required and _secret_id(mount) not in self._request.secrets:
            name = _secret_id(mount)
            raise NotFoundError(f"secret {name}: not found", hint=f"give it with --secret id={name},src=FILE")
        if mount.type == "cache" and mount.source.strip("/") and not self._origin(mount):
            raise NotFoundError(
                f'"/{mount.source.lstrip("/")}": not found', hint="a cache without from= begins with nothing"
            )
        if mount.type == "ssh" and mount.required and _agent_id(mount) not in self._request.agents:
            raise NotFoundError(
                f"ssh agent {_agent_id(mount)}: not found", hint=f"give it with --ssh {_agent_id(mount)}"
            )

        idmap = self._builder.common.engine.idmap
        if not idmap.holds(mount.uid or 0, mount.gid or 0):
            ids = f"{mount.uid or 0}:{mount.gid or 0}"
            raise UnavailableError(f"{mount.type} mount: {ids} lies outside the container's ids", hint=idmap.reason)

    def key(self) -> list[object]:
        """What of the mounts the command's result depends on. Of secrets that is where they are, never what."""
        return [self._part(mount, target) for mount, target in self.mounts]

    def _part(self, mount: Mount, target: str) -> list[object]:
        common = [mount.type, target, mount.mode, mount.uid, mount.gid, mount.read_only]
        match mount.type:
            case "bind":
                origin = self._origin(mount)
                chain = self._context_digest(mount) if origin is None else _chain(origin)
                return [*common, chain, mount.source]
            case "cache":
                return [*common, self._cache(mount).name, mount.sharing or "shared"]
            case "tmpfs":
                return [*common, mount.size]
            case "secret":
                return [*common, _secret_id(mount), mount.env]
            case _:
                return [*common, _agent_id(mount)]

    def _origin(self, mount: Mount) -> tuple[Layer, ...] | None:
        """The layers of `from`; None for the context."""
        if not mount.origin:
            return None
        found = self._builder.origin(mount.origin)
        return tuple(found.layers if isinstance(found, Image) else found)

    def _context_digest(self, mount: Mount) -> str:
        """Of the part of the context that is mounted."""
        return " ".join(sources.digest(source, ids=False, top=True) for source in self._bound(mount))

    def _bound(self, mount: Mount) -> list[sources.Source]:
        """What of the context is mounted, chosen once: what is copied is what stands in the key."""
        memo = self._builder.bound
        place = self._builder.position, mount.source
        if place not in memo:
            tree = self._builder.common.files()
            found = sources.select(
                tree, [_literal(mount.source or "/")], parents=False, exclude=(), where="the context"
            )
            sources.fill(tree, found)
            memo[place] = found
        return memo[place]

    # --- in the worker -------------------------------------------------------------------------------------------

    def prepare(self, container: Container, links: Callable[[Sequence[Layer]], list[str]], held: ExitStack) -> Prepared:
        """Get everything ready for the start of a container.

        Args:
            links: unpacks layers, as short links.
            held: locks and helpers that last as long as the container.
        """
        prepared = Prepared()
        scratch = container.directory / "mounts"
        _make(scratch)
        relative = f"containers/{container.id}/mounts"
        placed: list[tuple[str, list[Operation]]] = []
        if self._script is not None or any(mount.type == "secret" for mount, _ in self.mounts):
            _make(scratch / "memory")
            prepared.operations.append(Memory(f"{relative}/memory"))
        if self._script is not None:
            name, text = self._script
            target = f"{SCRIPTS}/{name}"
            placed.append((target, [File(f"{relative}/memory/script", target, 0o755, 0, 0, text.encode())]))
        caches = self._caches(held)
        agents = 0
        for number, (mount, target) in enumerate(self.mounts):
            place = scratch / str(number)
            match mount.type:
                case "tmpfs":
                    placed.append((target, [_tmpfs(mount, target)]))
                case "secret":
                    placed += self._secret(mount, target, f"{relative}/memory/{number}", prepared)
                case "ssh":
                    if agent := self._agent(mount, target, container, number, held):
                        placed.append((target, [agent]))
                        agents += 1
                        if agents == 1:
                            prepared.variables.append(f"SSH_AUTH_SOCK={target}")
                case "cache":
                    placed.append((target, [Place(str(caches[self._cache(mount).name]), target, mount.read_only)]))
                case _:
                    _make(place)
                    overlay = container.record.driver == Overlay.name
                    placed.append((target, [self._bind(mount, target, place, links if overlay else None)]))
        placed.sort(key=lambda pair: pair[0].count("/"))
        prepared.operations += [operation for _, operations in placed for operation in operations]
        return prepared

    def _secret(self, mount: Mount, target: str, path: str, prepared: Prepared) -> list[tuple[str, list[Operation]]]:
        secret = self._request.secrets.get(_secret_id(mount))
        if secret is None:
            return []
        if mount.env is not None:
            prepared.variables.append(f"{mount.env or secret.id}={os.fsdecode(secret.value)}")
        if not target:
            return []
        mode = 0o400 if mount.mode is None else mount.mode
        return [(target, [File(path, target, mode, mount.uid or 0, mount.gid or 0, secret.value)])]

    def _agent(self, mount: Mount, target: str, container: Container, number: int, held: ExitStack) -> Operation | None:
        agent = self._request.agents.get(_agent_id(mount))
        if agent is None:
            return None
        from . import agents

        engine = self._builder.common.engine
        socket = private_directory(engine.paths.run) / container.id[:12] / f"agent-{number}"
        socket.parent.mkdir(mode=0o711, exist_ok=True)
        held.enter_context(agents.forwarded(agent, socket))
        mode = 0o600 if mount.mode is None else mount.mode
        self._inside(lambda: _own(socket, mode, mount.uid or 0, mount.gid or 0))
        return Place(str(socket), target, read_only=False)

    def _inside(self, work: Callable[[], None]) -> None:
        engine = self._builder.common.engine
        room_fd = room.open_room(engine.paths, engine.idmap)
        try:
            room.call(room_fd, work)
        finally:
            os.close(room_fd)

    def _caches(self, held: ExitStack) -> dict[str, Path]:
        """The directories of all the caches, by name."""
        engine = self._builder.common.engine
        wanted = [self._cache(mount) for mount, _ in self.mounts if mount.type == "cache"]
        mounts = CacheMounts(engine.paths, engine.idmap)
        return {each.name: held.enter_context(mounts.use(each)) for each in joined(wanted)}

    def _cache(self, mount: Mount) -> CacheMount:
        origin = self._origin(mount) or ()
        return CacheMount(
            id=mount.id or posixpath.normpath(mount.target),
            sharing=mount.sharing or "shared",
            mode=mount.mode,
            uid=mount.uid,
            gid=mount.gid,
            origin=_chain(origin),
            source=posixpath.normpath(f"/{mount.source}").strip("/"),
            fill=(lambda path: self._fill_cache(origin, mount, path)) if origin else None,
        )

    def _bind(
        self, mount: Mount, target: str, place: Path, links: Callable[[Sequence[Layer]], list[str]] | None
    ) -> Operation:
        """
        Args:
            links: see `prepare`; None where the kernel's overlayfs is not what this machine uses.
        """
        origin = self._origin(mount)
        if origin is None:
            return self._bind_context(mount, target, place)
        if not origin:
            raise NotFoundError(f'"/{mount.source.lstrip("/")}": not found', hint="that stage has no files")
        if links is None:
            name = self._copy_layers(origin, mount, place)
            return Place(str(place / name), target, mount.read_only)
        for name in "merged", "upper", "work":
            _make(place / name)
        self._give(place / "upper", place / "work")
        relative = place.relative_to(self._builder.common.engine.paths.store)
        upper, work = ("", "") if mount.read_only else (f"{relative}/upper", f"{relative}/work")
        return Layers(tuple(links(origin)), f"{relative}/merged", target, mount.source, upper, work)

    def _bind_context(self, mount: Mount, target: str, place: Path) -> Operation:
        """A copy, of which nothing comes back."""
        from . import snapshot

        found = self._bound(mount)
        owner = self._foreign()
        try:
            left = snapshot.copy(self._builder.common.files(), found, place, owner)
        except OSError as problem:
            raise StoreError(f"the context can't be copied for a RUN: {problem.strerror}") from problem
        if left:
            directory = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._inside(lambda: snapshot.set_attributes(directory, left))
            finally:
                os.close(directory)
        return Place(str(place / _name_of(found)), target, mount.read_only)

    def _copy_layers(self, origin: tuple[Layer, ...], mount: Mount, path: Path) -> str:
        """Put what a stage has at a path into a directory: its contents, or the file, whose name is returned."""
        root = Root(self._builder.common.engine, origin)
        name = root.call(lambda tree: _name_of(_selected(tree, mount)))
        with root.stream(lambda tree, sink: _pack(tree, _selected(tree, mount), sink)) as stream:
            self._fill(path, lambda sink: pass_on(stream, sink))
        return name

    def _fill_cache(self, origin: tuple[Layer, ...], mount: Mount, path: Path) -> None:
        if self._copy_layers(origin, mount, path):
            raise InvalidError(f"a cache begins with a directory, and {mount.source} is none")

    def _fill(self, path: Path, write: Callable[[BinaryIO], None]) -> None:
        """Unpack what is written as an archive into an empty directory, with the owners that it names."""
        from ..storage.lower import Lower
        from ..storage.owners import MappedOwners
        from ..storage.tarstream import TarStream
        from ..storage.untar import unpack

        engine = self._builder.common.engine
        self._give(path)
        with open(os.open(engine.paths.tmp, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600), "w+b") as file:
            write(file)
            file.flush()
            file.seek(0)
            directory = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

            def work() -> None:
                os.umask(0)
                here = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
                chunks = iter(lambda: os.read(file.fileno(), 1 << 18), b"")
                unpack(TarStream(chunks), here, MappedOwners(engine.idmap), Lower())

            try:
                self._inside(work)
            finally:
                os.close(directory)

    def _foreign(self) -> tuple[int, int] | None:
        """(uid, gid) of what a container's root owns; None for the caller's. Real root's has a subordinate id."""
        idmap = self._builder.common.engine.idmap
        owner = idmap.uids[0].outside, idmap.gids[0].outside
        return owner if os.geteuid() != owner[0] else None

    def _give(self, *paths: Path) -> None:
        if owner := self._foreign():
            for path in paths:
                os.chown(path, *owner)

    def clean(self, container: Container) -> None:
        """Take away what was made in the root file system to mount something there, if it is as it was made."""
        targets = [target for _, target in self.mounts if target]
        if targets:
            reader = changed.reader(container, self._builder.common.engine.idmap)
            reader.call(lambda trees: remove_made(trees, targets))


def _secret_id(mount: Mount) -> str:
    return mount.id or mount.source or posixpath.basename(mount.target)


def _agent_id(mount: Mount) -> str:
    return mount.id or mount.source or "default"


def _own(path: Path, mode: int, uid: int, gid: int) -> None:
    os.chmod(path, mode)
    os.chown(path, uid, gid)


def _chain(layers: tuple[Layer, ...]) -> str:
    return layers[-1].chain_id if layers else ""


def _literal(path: str) -> str:
    """A path as a pattern that means nothing else."""
    return "".join(f"\\{c}" if c in "*?[\\" else c for c in path)


def _tmpfs(mount: Mount, target: str) -> Operation:
    size = f",size={mount.size}" if mount.size else ""
    flags = m.MS_NOSUID | m.MS_NODEV | (m.MS_RDONLY if mount.read_only else 0)
    return FileSystem("tmpfs", target, flags, f"mode=1777{size}")


def _make(directory: Path) -> None:
    directory.mkdir(mode=0o755)


def _selected(tree: Tree, mount: Mount) -> list[sources.Source]:
    where = f"stage or image {mount.origin}"
    found = sources.select(tree, [_literal(mount.source or "/")], parents=False, exclude=(), where=where)
    sources.fill(tree, found)
    return found


def _name_of(found: Sequence[sources.Source]) -> str:
    """Of the file that was selected; empty for a directory."""
    return "" if found[0].is_directory else found[0].name


def _pack(tree: Tree, found: Sequence[sources.Source], sink: BinaryIO) -> None:
    packer = Packer(sink, Rules(None, None, 0, clamp=False), {}, ids=True)
    for source in found:
        packer.source(tree, source, _name_of([source]), top=True)
    packer.close()
