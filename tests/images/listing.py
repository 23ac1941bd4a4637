"""Everything that can be told of a tree, a line a file: run by itself inside a user namespace where all of it can be
read."""

from __future__ import annotations

import hashlib
import os
import stat
import sys


def lines(top: str) -> list[str]:
    found = []
    names: dict[tuple[int, int], str] = {}
    for directory, subdirectories, files in os.walk(top):
        subdirectories.sort()
        for name in sorted([*files, *subdirectories, ""] if directory == top else [*files, *subdirectories]):
            path = os.path.join(directory, name) if name else top
            found.append(describe(path, os.path.relpath(path, top), names))
    return found


def describe(path: str, shown: str, names: dict[tuple[int, int], str]) -> str:
    status = os.lstat(path)
    kind = stat.filemode(status.st_mode)
    parts = [shown, kind, f"{status.st_uid}:{status.st_gid}", str(status.st_mtime_ns)]
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            parts.append(hashlib.file_digest(file, "sha256").hexdigest())
        parts.append(f"{status.st_nlink} names")
        parts.append("first of them " + names.setdefault((status.st_dev, status.st_ino), shown))
    elif stat.S_ISLNK(status.st_mode):
        parts.append(os.readlink(path))
    elif not stat.S_ISDIR(status.st_mode):
        parts.append(str(status.st_rdev))
    attributes = [name for name in sorted(os.listxattr(path, follow_symlinks=False)) if ".overlay." not in name]
    parts += [f"{name}={os.getxattr(path, name, follow_symlinks=False).hex()}" for name in attributes]
    return " ".join(parts)


if __name__ == "__main__":
    print("\n".join(lines(sys.argv[1])))
