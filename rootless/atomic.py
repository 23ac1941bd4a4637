"""Publish by rename: a reader, or the next boot after a power cut, finds the old file or the new one, nothing else."""

from __future__ import annotations

import os
from pathlib import Path


def write(path: Path, data: bytes, *, tmp: Path, mode: int = 0o600, durable: bool = True) -> None:
    """Replace the file at `path` by one that holds `data`.

    It is written under `tmp` (same file system), flushed to the disk when `durable`, and renamed over `path`; a kill
    leaves at most a file under `tmp`, which the store's next cleaning takes.

    Raises:
        OSError: of the step that failed; `path` is then as before.
    """
    draft = new_name(tmp, path.name)
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(fd, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(fd)
        os.rename(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the directory's entries durable: fsync(2) of a file does not flush the name it was given."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def new_name(tmp: Path, stem: str) -> Path:
    """A name under `tmp` that nobody else has: the writer's pid, so that a cleaner can tell whether it still lives, and
    a random part, because pids of two hosts on one shared home may be equal."""
    return tmp / f"{stem[:64]}.{os.getpid()}.{os.urandom(4).hex()}"
