"""Publish by rename: a reader, or the next boot after a power cut, finds the old file or the new one, nothing else."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

from .hashes import sha256
from .kernel import process


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
    """A name under `tmp` that nobody else has: who writes it, so that a cleaner can tell whether that process still
    lives (`is_abandoned`), and a random part, because a writer makes several."""
    return tmp / f"{stem[:64]}.{_origin()}.{os.getpid()}.{os.urandom(4).hex()}"


_NAME = re.compile(
    r".*\.(?P<machine>[0-9a-f]{6})-(?P<boot>[0-9a-f]{6})\.(?P<pid>[1-9][0-9]{0,6})\.[0-9a-f]{8}", re.DOTALL
)


def is_abandoned(name: str) -> bool:
    """Whether `name` was made by `new_name` on this machine, by a process that is dead.

    On a home that several machines share, another one's writers can't be judged from here: theirs are never abandoned.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return False
    machine, _, boot = _origin().partition("-")
    if match["machine"] != machine:
        return False
    return match["boot"] != boot or not _alive(int(match["pid"]))


def drafts(tmp: Path) -> list[str]:
    """What stands under `tmp` by the calling process's name, or by a dead one's."""
    mine = f".{_origin()}.{os.getpid()}."
    try:
        return sorted(name for name in os.listdir(tmp) if mine in name or is_abandoned(name))
    except FileNotFoundError:
        return []


@cache
def _origin() -> str:
    """This machine and this boot of it, in 13 characters."""
    return "-".join(sha256(text.encode()).hexdigest()[:6] for text in (process.machine_id(), process.boot_id()))


def _alive(pid: int) -> bool:
    """Whether the process can still write. One that waits for its parent to take note of its end can't (proc(5), Z)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except FileNotFoundError:
        return False
    except ProcessLookupError:
        return False
