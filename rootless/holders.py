"""A namespace that lives as long as somebody holds a descriptor on it, and how others find it through one of those.

Below a directory of the run directory each holder has a file, called by its pid: its start time, the number of its
descriptor, and the namespace's inode, which tell a dead holder's file from a living one's. No daemon keeps the
namespace; when it is gone, the next one who needs it makes it again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from . import locks
from .kernel import process
from .paths import private_directory


def any_one(_: int) -> bool:
    """Every namespace that is found is the right one."""
    return True


def find_or_make(
    base: Path, tag: str, make: Callable[[], int], *, hold: bool, fits: Callable[[int], bool] = any_one
) -> int:
    """A descriptor on the namespace that is called `tag` below `base`.

    Args:
        make: makes it, and gives the first descriptor.
        hold: register the calling process as one that keeps it, so that others find it here.
        fits: whether one that was found is the one that is meant.
    """
    private_directory(base)
    directory = base / tag
    # Two who come first at once must not make two: what is in one could not be reached from the other.
    with _lock(base, tag):
        directory.mkdir(mode=0o700, exist_ok=True)
        fd = _find(directory, fits)
        if fd is None:
            try:
                fd = make()
            except BaseException:
                with suppress(OSError):
                    directory.rmdir()
                raise
        if hold:
            _register(directory, fd)
    return fd


def find(base: Path, tag: str, fits: Callable[[int], bool] = any_one) -> int | None:
    """A descriptor on the namespace, or None when there is none."""
    with suppress(FileNotFoundError), _lock(base, tag):
        return _find(base / tag, fits)
    return None


def hold(base: Path, tag: str, fd: int) -> None:
    """Register the calling process as one that keeps a namespace, of which it has been given a descriptor."""
    with _lock(base, tag):
        (base / tag).mkdir(mode=0o700, exist_ok=True)
        _register(base / tag, fd)


def _register(directory: Path, fd: int) -> None:
    record = f"{process.start_time(os.getpid())} {fd} {os.fstat(fd).st_ino}"
    (directory / str(os.getpid())).write_text(record)


def forget(base: Path, tag: str) -> None:
    """Take the calling process off the list of holders; the directory of a namespace without holders goes too."""
    with suppress(FileNotFoundError), _lock(base, tag):
        directory = base / tag
        (directory / str(os.getpid())).unlink(missing_ok=True)
        with suppress(OSError):  # others hold it
            directory.rmdir()


def has_dead(base: Path) -> bool:
    """Whether a holder was killed: it left its name on a list. Costs a look at each holder and no lock."""
    try:
        return any(
            not _is_alive(entry) for directory in base.iterdir() if directory.is_dir() for entry in directory.iterdir()
        )
    except OSError:
        return False


def sweep(base: Path) -> None:
    """Take holders that were killed off the lists."""
    with suppress(FileNotFoundError):
        for directory in base.iterdir():
            if directory.is_dir():
                with _lock(base, directory.name):
                    for entry in directory.iterdir():
                        _check(entry)


def _lock(base: Path, tag: str) -> AbstractContextManager[int]:
    return locks.lock(base / f"{tag}.lock")


def _is_alive(entry: Path) -> bool:
    try:
        return process.start_time(int(entry.name)) == int(entry.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return False


def _check(entry: Path) -> None:
    fd = _open_held(entry)
    if fd is None:
        entry.unlink(missing_ok=True)
    else:
        os.close(fd)


def _find(directory: Path, fits: Callable[[int], bool]) -> int | None:
    for entry in directory.iterdir():
        fd = _open_held(entry)
        if fd is None:
            entry.unlink(missing_ok=True)  # its holder is dead
        elif fits(fd):
            return fd
        else:
            os.close(fd)
    return None


def _open_held(entry: Path) -> int | None:
    """The namespace through the holder that `entry` names, or None when that is gone or its pid is another's now."""
    try:
        started, number, inode = map(int, entry.read_text().split())
        if process.start_time(int(entry.name)) != started:
            return None
        fd = os.open(f"/proc/{entry.name}/fd/{number}", os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    if os.fstat(fd).st_ino == inode:
        return fd
    os.close(fd)
    return None
