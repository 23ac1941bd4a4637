"""The names of containers on disk: names/<name> is a symbolic link to the container's directory.

What a container is called stands in its config.json, and changes with that document, by one rename. The links only lead
there. So one that leads nowhere, or to a container of another name, is what a killed process left behind: it is passed
over by who reads, and taken away by the next one who wants the name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from .. import locks
from ..paths import Paths
from . import names


class _Named(msgspec.Struct):
    """The one field of config.json that is of interest here."""

    name: str


class Names:
    """The directory of names. Whoever changes it holds `lock`."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Alone with the names, and with the `name` of every config.json."""
        with locks.lock(self._paths.containers / ".names.lock"):
            yield

    def holder(self, name: str) -> str | None:
        """The id of the container that has this name now."""
        try:
            container_id = Path(os.readlink(self._paths.names / name)).name
        except OSError:
            return None
        return container_id if self._leads(name, container_id) else None

    def _leads(self, name: str, container_id: str) -> bool:
        """Whether a link is true. A container that can't tell its name is believed to have the link's: it was made for
        it, and `rm` needs it."""
        if self.name_of(container_id) in (name, None):
            return (self._paths.containers / container_id).is_dir()
        return False

    def name_of(self, container_id: str) -> str | None:
        """What a container's own document calls it; None when it is gone or damaged."""
        try:
            data = (self._paths.container(container_id) / "config.json").read_bytes()
            return msgspec.json.decode(data, type=_Named).name
        except (OSError, msgspec.MsgspecError):
            return None

    def claim(self, name: str, container_id: str) -> str | None:
        """Take a name: None, or the id of the container that has it."""
        link = self._paths.names / name
        while True:
            try:
                os.symlink(f"../containers/{container_id}", link)
                return None
            except FileExistsError:
                holder = self.holder(name)
                if holder is not None:
                    return holder
                link.unlink(missing_ok=True)

    def release(self, name: str, container_id: str) -> None:
        """Give a name back, if it is this container's."""
        link = self._paths.names / name
        with suppress(OSError):
            if Path(os.readlink(link)).name == container_id:
                link.unlink()

    def release_all(self, container_id: str) -> None:
        """Take every link to this container away."""
        for name in os.listdir(self._paths.names):
            self.release(name, container_id)

    def sweep(self, known: Iterable[str]) -> None:
        """Take away the links that lead nowhere.

        Args:
            known: names that were just read from containers' documents: their links need no look.
        """
        with suppress(FileNotFoundError):
            doubtful = set(os.listdir(self._paths.names)).difference(known)
            if doubtful:
                with self.lock():
                    for name in doubtful:
                        if self.holder(name) is None:
                            (self._paths.names / name).unlink(missing_ok=True)

    def free(self) -> str:
        """A generated name that nobody has now."""
        for _ in range(100):
            name = names.generate()
            if not os.path.lexists(self._paths.names / name):
                return name
        return f"{names.generate()}_{os.urandom(3).hex()}"
