"""`--tmpfs` and `--mount type=tmpfs`: what their options mean, and the mount."""

from __future__ import annotations

import os
import stat

import msgspec

from ..errors import RootlessError
from ..kernel import mount as m
from .mountpoint import MountPoint, Root

_TMPFS_FLAGS = {
    "ro": (m.MS_RDONLY, True),
    "rw": (m.MS_RDONLY, False),
    "nosuid": (m.MS_NOSUID, True),
    "suid": (m.MS_NOSUID, False),
    "nodev": (m.MS_NODEV, True),
    "dev": (m.MS_NODEV, False),
    "noexec": (m.MS_NOEXEC, True),
    "exec": (m.MS_NOEXEC, False),
    "noatime": (m.MS_NOATIME, True),
    "relatime": (m.MS_RELATIME, True),
}
_TMPFS_DATA = ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "huge", "mpol")


class Tmpfs(msgspec.Struct, frozen=True):
    """A tmpfs of the container's own at `target`, nosuid, nodev and noexec unless `options` say otherwise.

    Where nothing is said of its mode it has that of the directory that it covers, as with runc, else 1777.
    """

    target: str
    options: str

    def describe(self) -> str:
        return f"mount tmpfs on {self.target} {self.options}".rstrip()

    def execute(self, root: Root) -> None:
        flags, data = parse_tmpfs_options(self.options)
        with MountPoint(root, self.target, missing_ok=True) as point:
            if point.fd >= 0 and not any(word.startswith("mode=") for word in data):
                data = [f"mode={stat.S_IMODE(os.fstat(point.fd).st_mode):o}", *data]
        with MountPoint(root, self.target) as point:
            m.mount("tmpfs", point.path, "tmpfs", flags, ",".join(data) or None)


def parse_tmpfs_options(options: str) -> tuple[int, list[str]]:
    """The options of --tmpfs as (mount flags, the file system's own options); tmpfs(5).

    Raises:
        RootlessError: an option that tmpfs does not have.
    """
    flags = m.MS_NOSUID | m.MS_NODEV | m.MS_NOEXEC
    data = []
    for option in filter(None, options.split(",")):
        if option in _TMPFS_FLAGS:
            bit, on = _TMPFS_FLAGS[option]
            flags = flags | bit if on else flags & ~bit
        elif option.partition("=")[0] in _TMPFS_DATA and "=" in option:
            data.append(option)
        else:
            raise RootlessError(f'invalid tmpfs option "{option}"', hint="see tmpfs(5)")
    return flags, data
