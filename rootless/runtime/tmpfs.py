"""`--tmpfs` and `--mount type=tmpfs`."""

from __future__ import annotations

import os
import stat

import msgspec

from ..kernel import mount as m
from ..volumes.options import parse_tmpfs
from .mountpoint import MountPoint, Root

_FLAGS = m.MS_NOSUID | m.MS_NODEV | m.MS_NOEXEC
"""What one has unless its options say otherwise."""


class Tmpfs(msgspec.Struct, frozen=True):
    """A tmpfs of the container's own at `target`, nosuid, nodev and noexec unless `options` say otherwise.

    Where nothing is said of its mode it has that of the directory that it covers, as with runc, else 1777.
    """

    target: str
    options: str

    def describe(self) -> str:
        return f"mount tmpfs on {self.target} {self.options}".rstrip()

    def execute(self, root: Root) -> None:
        flags, data = parse_tmpfs(self.options, _FLAGS)
        with MountPoint(root, self.target, missing_ok=True) as point:
            if point.fd >= 0 and not any(word.startswith("mode=") for word in data):
                data = [f"mode={stat.S_IMODE(os.fstat(point.fd).st_mode):o}", *data]
        with MountPoint(root, self.target) as point:
            m.mount("tmpfs", point.path, "tmpfs", flags, ",".join(data) or None)
