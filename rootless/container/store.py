"""All containers on disk: one directory each, published by rename. One of them is container.py, names are links.py."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from .. import atomic, idmap, room
from ..errors import ConflictError, InvalidError, NotFoundError, RootlessError, StoreError
from ..kernel import process
from ..paths import Paths
from ..storage.remove import move_away, remove_tree
from ..storage.remove import sweep as sweep_drafts
from . import names
from .container import APPLYING, Container, Hold
from .links import Names
from .record import Record, Spec, State, decode_record, renamed, with_spec
from .state import Event, Status, step


class Containers:
    """The directory of all containers."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.names = Names(paths)

    def publish(self, record: Record, draft: Path, state: State) -> tuple[Container, Hold]:
        """Turn the finished directory `draft` (below tmp/) into a container with its name, or leave all as it was.

        The container's lock is held from before anybody can see it: a `run` that was given up is told from one that is
        about to start.

        Raises:
            ConflictError: the name is taken; in Docker's words.
        """
        durable = not record.spec.auto_remove  # a --rm container ends with the boot, its directory need not outlive it
        atomic.write(draft / "config.json", msgspec.json.encode(record), tmp=draft, durable=durable)
        atomic.write(draft / "state.json", msgspec.json.encode(state), tmp=draft, durable=False)
        hold = Hold.take(draft)
        assert hold is not None, "a lock that nobody else knows of"
        container = Container(self.paths, record)
        try:
            self._take_name(record.name, record.id, lambda: os.rename(draft, container.directory))
        except BaseException:
            hold.release()
            raise
        if durable:
            atomic.sync_directory(self.paths.containers)
        container.emit("create")
        return container, hold

    def _take_name(self, name: str, container_id: str, publish: Callable[[], None]) -> None:
        """Claim the name and, still alone with the names, do what makes it the container's."""
        for attempt in range(2):
            with self.names.lock():
                holder = self.names.claim(name, container_id)
                if holder is None:
                    try:
                        publish()
                    except BaseException:
                        if self.names.name_of(container_id) != name:
                            self.names.release(name, container_id)
                        raise
                    return
            if attempt == 0:
                self.sweep_one(holder)  # of a --rm container whose monitor was killed only the name may be left
        raise ConflictError(
            f'Conflict. The container name "/{name}" is already in use by container "{holder}"',
            hint="remove or rename that container to be able to reuse the name",
        )

    def rename(self, container: Container, new: str) -> None:
        """Call a container, running or not, by another name. A kill at any point leaves it the old one or the new one.

        Raises:
            InvalidError: the new name can't be one.
            ConflictError: it is taken, or the container's own already; all three in Docker's words.
            NotFoundError: the container is gone, or is being removed.
        """
        try:
            name = names.validate(new)
        except InvalidError as problem:
            raise InvalidError(f"Error when allocating new name: {problem.message}") from problem
        if name == self.names.name_of(container.id):
            raise ConflictError("Renaming a container with the same name as its current name")
        try:
            self._take_name(name, container.id, lambda: self._write_name(container, name))
        except ConflictError as problem:
            raise ConflictError(f"Error when allocating new name: {problem.message}", hint=problem.hint) from problem

    def _write_name(self, container: Container, name: str) -> None:
        """The caller holds the names' lock and has claimed the new one."""
        path = container.directory / "config.json"
        if container.stored_state().status == Status.REMOVING:
            raise NotFoundError(f"No such container: {container.name}")
        try:
            data = path.read_bytes()
            old = decode_record(data, str(path)).name
            atomic.write(path, renamed(data, name), tmp=self.paths.tmp, durable=not container.spec.auto_remove)
        except FileNotFoundError:
            raise NotFoundError(f"No such container: {container.name}") from None
        self.names.release(old, container.id)

    def change_spec(self, container: Container, change: Callable[[Spec], Spec]) -> None:
        """Write another spec of a container, running or not, and read it. What `change` raises leaves all as it was.

        Raises:
            NotFoundError: the container is gone, or is being removed.
            StoreError: its config.json is damaged.
        """
        path = container.directory / "config.json"
        with self.names.lock():  # as in `_write_name`: one writer of config.json at a time
            if container.stored_state().status == Status.REMOVING:
                raise NotFoundError(f"No such container: {container.name}")
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                raise NotFoundError(f"No such container: {container.name}") from None
            spec = change(decode_record(data, str(path)).spec)
            durable = not container.spec.auto_remove
            atomic.write(path, with_spec(data, spec), tmp=self.paths.tmp, durable=durable)
        container.refresh()

    def sweep(self) -> None:
        """Remove what killed processes left: abandoned and half-removed containers, links to nothing, and drafts."""
        self.survey()

    def survey(self, on_damage: Callable[[StoreError], None] | None = None) -> list[tuple[Container, State]]:
        """Every readable container with its true state, the newest first, after a sweep; without the steps of builds.

        Each document is read once, and a lock is tried only where a document tells of something to look after: this is
        the way of `ps`, which may have a thousand to show.

        Args:
            on_damage: told about each container that can't be read; it is left out.
        """
        found = []
        for container_id in self.ids():
            try:
                container = self.load(container_id)
            except NotFoundError:
                continue
            except StoreError as problem:
                if on_damage is not None:
                    on_damage(problem)
                continue
            state = container.state()
            if _is_abandoned(container.spec, state):
                self.sweep_one(container_id)
                if not container.directory.exists():
                    continue
            if not container.record.build:
                found.append((container, state))
        self.names.sweep(container.name for container, _ in found)
        sweep_drafts(self.paths.tmp, self._room)
        room.sweep(self.paths)
        return sorted(found, key=lambda pair: pair[0].record.created, reverse=True)

    def sweep_one(self, container_id: str) -> None:
        """Remove a container that nobody wants any more: a --rm container that ended without its monitor, a `run` that
        was given up before its start, a removal that was interrupted. All others stay, the damaged ones too."""
        with suppress(NotFoundError, StoreError):
            container = self.load(container_id)
            if container.state().machine_id not in ("", process.machine_id()):
                return
            hold = Hold.take(container.directory)
            if hold is None:
                return
            with hold:
                if _is_abandoned(container.spec, container.stored_state()):
                    self.remove(container)

    def ids(self) -> list[str]:
        """The ids of all containers, those of damaged ones too."""
        try:
            return [e for e in os.listdir(self.paths.containers) if len(e) == 64]
        except FileNotFoundError:
            return []

    def load(self, container_id: str) -> Container:
        """The container of this whole id.

        Raises:
            NotFoundError: it is not there (any more).
            StoreError: its config.json is damaged.
        """
        path = self.paths.container(container_id) / "config.json"
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise NotFoundError(f"No such container: {container_id}") from None
        record = decode_record(data, str(path))
        if record.id != container_id:
            raise StoreError(f"{path} names another container", hint="`rootless rm` still removes it")
        return Container(self.paths, record)

    def all(self) -> list[Container]:
        """Every readable container, the newest first. One that vanishes meanwhile is left out."""
        found = []
        for container_id in self.ids():
            with suppress(NotFoundError, StoreError):
                found.append(self.load(container_id))
        return sorted(found, key=lambda c: c.record.created, reverse=True)

    def resolve(self, text: str) -> Container:
        """The container of a name, an id, or the beginning of an id that no other shares.

        Raises:
            NotFoundError: in Docker's words.
            ConflictError: several ids begin so.
        """
        return self.load(self.id_of(text))

    def id_of(self, text: str) -> str:
        """The whole id behind a name, an id or the beginning of one; without a look at the container. See `resolve`."""
        bare = text.removeprefix("/")
        if bare and "/" not in bare and bare not in (".", ".."):
            holder = self.names.holder(bare)
            if holder is not None:
                return holder
        matches = [i for i in self.ids() if bare and i.startswith(bare)]
        if len(matches) > 1 and bare not in matches:
            raise ConflictError(f"multiple containers begin with {text}", hint="give more of the id")
        if not matches:
            raise NotFoundError(f"No such container: {text}")
        return bare if bare in matches else matches[0]

    def remove(self, container: Container, *, volumes: bool = False, force: bool = False) -> None:
        """Remove a container that does not run, with its writable layer. The caller holds its lock.

        Args:
            volumes: and its volumes that nobody named; those of a --rm container always go.
            force: also if what a killed `apply` has left on the machine has to stay there.

        Raises:
            IllegalTransitionError: its state does not allow it.
            StoreError, ConflictError: something of it can't be removed. What is left the next command tries again.
        """
        self.clear(self.retire(container, volumes=volumes, force=force))

    def retire(self, container: Container, *, volumes: bool = False, force: bool = False) -> Path:
        """The first half of `remove`, after which there is no such container: what is left of it, for `clear`.

        Raises:
            IllegalTransitionError: its state does not allow it.
            StoreError: it can't be moved; it is then dead, and can be tried again. Or what a killed `apply` has left
                on the machine can't be taken away; it is then as it was.
        """
        container.refresh()  # `destroy` is told when nobody can ask for its name any more
        state = container.end_if_lost()
        self.clear_machine(container.directory, force=force)
        removing = msgspec.structs.replace(state, status=step(state.status, Event.REMOVE))
        container.try_to_write_state(removing)
        self._forget(container)
        if volumes or container.spec.auto_remove:
            from . import volume_use

            volume_use.release(self, container)
        try:
            remains = move_away(container.directory, self.paths.tmp, self._room)
        except (OSError, RootlessError) as problem:
            status = step(removing.status, Event.REMOVE_FAILED)
            reason = problem.strerror if isinstance(problem, OSError) else problem
            error = StoreError(f"{container.directory} can't be removed: {reason}")
            container.try_to_write_state(msgspec.structs.replace(removing, status=status, error=str(error)))
            raise error from problem
        container.emit("destroy")
        return remains

    def clear(self, remains: Path) -> None:
        """The second half of `remove`, which takes time and is nobody's business. After a kill the next sweep does it.

        Raises:
            StoreError, ConflictError: not all of it can be removed.
        """
        remove_tree(remains, self._room)

    def clear_machine(self, directory: Path, *, force: bool = False) -> None:
        """Take away what a killed `apply` of a container has left on the machine. The caller holds its lock.

        Raises:
            StoreError: not all of it can be taken away. Not with `force`.
        """
        if not (directory / APPLYING).exists():
            return
        from ..storage import drafts

        try:
            drafts.clear(directory / APPLYING, self.paths.store, self._room)
        except StoreError:
            if not force:
                raise

    def remove_directory(self, container_id: str, *, force: bool = False) -> None:
        """Remove what is on disk of a container, without regard to its state and without reading its documents.

        Raises:
            StoreError: as `retire`, or something of it can't be removed.
        """
        self.clear_machine(self.paths.container(container_id), force=force)
        with self.names.lock():
            self.names.release_all(container_id)
        remove_tree(self.paths.container(container_id), self._room, tmp=self.paths.tmp)

    def _room(self) -> int:
        return room.open_room(self.paths, idmap.detect())

    def _forget(self, container: Container) -> None:
        """Take the name and the run directory away."""
        with self.names.lock():
            # It may have been renamed since the caller, its monitor perhaps, read its record.
            self.names.release(self.names.name_of(container.id) or container.name, container.id)
        control_directory = container.runtime_paths.runtime_of(container.id)
        with suppress(OSError):
            for path in control_directory.iterdir():
                path.unlink()
            control_directory.rmdir()


def _is_abandoned(spec: Spec, state: State) -> bool:
    """Whether nobody is left who would start or remove this container. Its lock is held by the caller."""
    match state.status:
        case Status.REMOVING:
            return True
        case Status.EXITED:
            return spec.auto_remove and not process.is_running(state.monitor, state.monitor_started)
        case Status.CREATED:
            return state.monitor != 0  # made by `run` for a monitor that is dead, or `create` would have left it at 0
        case _:
            return False
