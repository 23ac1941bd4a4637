"""What the suite does inside a container and how it compares: recorded actions, and manifests of trees."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

OLD = 1_000_000_000 * 10**9
"""The modification time, in nanoseconds, of everything in a lower layer: later ones are not compared."""

UNSTABLE = ("user.overlay.origin", "user.overlay.impure", "user.overlay.uuid", "user.overlay.nlink")
"""What the kernel notes in an upper directory for itself; a mount without it is the same."""


class Trial:
    """Runs actions and keeps what came of each: the value, or the errno's name."""

    def __init__(self) -> None:
        self.results: list[object] = []

    def do(self, action: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Run an action; its value counts when it can be compared."""
        import errno

        try:
            value = action(*arguments, **options)
        except OSError as problem:
            self.results.append((action.__name__, errno.errorcode.get(problem.errno or 0, str(problem.errno))))
            return None
        self.results.append((action.__name__, comparable(action.__name__, value)))
        return value

    def note(self, *values: object) -> None:
        """Keep values that must be the same on every driver."""
        self.results.append(values)

    def write(self, path: str, text: str = "x", mode: str = "w") -> None:
        """Open, write, close; counted as one action."""

        def write_file() -> None:
            with open(path, mode) as file:
                file.write(text)

        self.do(write_file)

    def read(self, path: str) -> None:
        """The contents."""

        def read_file() -> str:
            with open(path) as file:
                return file.read()

        self.do(read_file)

    def stat(self, path: str) -> None:
        """Attributes that don't depend on the clock or on inode numbers."""
        self.do(attributes, path)

    def list(self, path: str) -> None:
        """The names in a directory."""

        def list_directory() -> list[str]:
            return sorted(os.listdir(path))

        self.do(list_directory)


def comparable(name: str, value: object) -> object:
    """Descriptors and the like only count as success."""
    return value if isinstance(value, (str, bytes, list, tuple, bool)) or name in ("write", "pread") else None


def attributes(path: str, *, directory_links: bool = False) -> tuple[object, ...]:
    """(type and mode, uid, gid, size, links, device, old modification time) of one file."""
    status = os.lstat(path)
    is_directory = stat.S_ISDIR(status.st_mode)
    return (
        oct(status.st_mode),
        status.st_uid,
        status.st_gid,
        0 if is_directory else status.st_size,
        status.st_nlink if directory_links or not is_directory else 0,
        status.st_rdev,
        status.st_mtime_ns if status.st_mtime_ns <= OLD + 10**12 else "new",
    )


def manifest(top: str, *, links: bool = True) -> dict[str, object]:
    """Every file below `top`: attributes, contents, targets and extended attributes."""
    found: dict[str, object] = {}
    for directory, names, files in os.walk(top):
        for name in (*names, *files):
            path = os.path.join(directory, name)
            found[os.path.relpath(path, top)] = describe(path, links=links)
    return found


def describe(path: str, *, links: bool = True) -> tuple[object, ...]:
    """One line of a manifest."""
    parts = attributes(path)
    kind = stat.S_IFMT(os.lstat(path).st_mode)
    content: object = None
    if kind == stat.S_IFLNK:
        content = os.readlink(path)
    elif kind == stat.S_IFREG:
        content = hashlib.sha1(Path(path).read_bytes()).hexdigest()
    elif kind == stat.S_IFCHR and os.lstat(path).st_rdev == 0:
        return ("whiteout",)  # the kernel's are shared by hard links, and their mode is whatever mknod gave
    names = sorted(name for name in os.listxattr(path, follow_symlinks=False) if name not in UNSTABLE)
    extended = [(name, os.getxattr(path, name, follow_symlinks=False)) for name in names]
    if not links:
        parts = parts[:4] + parts[5:]
    return (*parts, content, extended)
