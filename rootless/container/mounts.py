"""What a container has mounted beside its image: one frozen `Mount` each, as it stands in config.json."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Container, Iterable, Sequence
from typing import Literal

import msgspec

from ..errors import InvalidError, NotFoundError

Kind = Literal["bind", "volume", "tmpfs", "overlay"]

Recursion = Literal["", "disabled", "writable", "readonly"]
"""What becomes of the submounts of a bind mount: "" brings them along, read-only where it is; `writable` leaves them
as they are; `readonly` is an error where they can't be made so; `disabled` leaves them out."""

FLAGS = ("exec", "noexec", "suid", "nosuid", "dev", "nodev")
"""What a mount's own flags may be asked to be (mount(8)). A user namespace can only add the forbidding ones."""


class Mount(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One mount (docs/decisions/0013).

    Attributes:
        type: `overlay` is a directory of the machine's below a writable layer that goes with the container.
        target: an absolute path in the container, in normal form.
        source: bind, overlay: an absolute path of the machine's. volume: its name.
        text: the words of `-v`, with an absolute source; empty when it came from elsewhere.
        propagation: bind: `rslave` and the like (mount_namespaces(7)); empty for `rprivate`.
        create: bind: a source that is missing becomes a directory.
        no_copy: volume: it does not take over what the image holds at `target`.
        subpath: volume: a path in it; that directory or file is mounted.
        anonymous: volume: nobody gave it a name; it goes with its container when that was made with --rm.
        own: before each start what lies there is given to the container's user.
        options: tmpfs: as of --tmpfs.
        flags: bind, overlay, volume: `exec`, `noexec`, `suid`, `nosuid`, `dev`, `nodev`, as asked for.
        upper, work: overlay: the caller's own directories for it; empty for the container's.
        labels, volume_options: volume: what it is made with, when there is none of this name.
    """

    type: Kind
    target: str
    source: str = ""
    read_only: bool = False
    text: str = ""
    propagation: str = ""
    recursive: Recursion = ""
    create: bool = False
    no_copy: bool = False
    subpath: str = ""
    anonymous: bool = False
    own: bool = False
    options: str = ""
    flags: tuple[str, ...] = ()
    upper: str = ""
    work: str = ""
    labels: dict[str, str] = {}
    volume_options: dict[str, str] = {}


def combine(
    inherited: Sequence[Mount], wanted: Sequence[Mount], tmpfs: Container[str], volumes: Iterable[str]
) -> tuple[Mount, ...]:
    """All mounts of a container, one for each target.

    Args:
        inherited: of other containers; a later one takes an earlier one's target.
        wanted: of -v and --mount: they take any inherited one's target. Those of -v without a source come like the
            image's volumes.
        tmpfs: the targets of --tmpfs.
        volumes: the image's; each gets an anonymous volume where nothing else is mounted.

    Raises:
        InvalidError: two of `wanted` have one target; in Docker's words.
    """
    found = {mount.target: mount for mount in inherited}
    taken = set()
    bare = []
    for mount in wanted:
        if mount == Mount(type="volume", target=mount.target, anonymous=True):
            bare.append(mount.target)
            continue
        if mount.target in taken or mount.target in tmpfs:
            raise InvalidError(f"Duplicate mount point: {mount.target}")
        taken.add(mount.target)
        found[mount.target] = mount
    for target in (*bare, *volumes):
        if target not in found and target not in tmpfs:
            found[target] = Mount(type="volume", target=target, anonymous=True)
    return tuple(found.values())


EMULATED = frozenset(
    f"/proc/{name}"
    for name in (
        *("cpuinfo", "diskstats", "loadavg", "meminfo", "net/dev", "slabinfo", "stat", "swaps", "uptime"),
        *("sys/crypto/fips_enabled", "sys/kernel/ns_last_pid"),
    )
)
"""What may be covered in /proc, as in runc: files that lxcfs makes for containers."""


def require_outside_proc(target: str, source: str = "") -> None:
    """Raise runc's InvalidError for a mount on /proc or in it: the engine itself, and the C library, need it as it is.

    Args:
        source: a path of the machine's that shall be there; /proc itself may be.
    """
    target = posixpath.normpath(target)
    if target == "/proc" and os.path.realpath(source or "/") != "/proc":
        raise InvalidError(f'"{target}" cannot be mounted because it is not of type proc')
    if target.startswith("/proc/") and target not in EMULATED:
        raise InvalidError(f'"{target}" cannot be mounted because it is inside /proc')


def require_source(mount: Mount) -> None:
    """Raise Docker's NotFoundError when a path of the machine's that shall be mounted is not there, its InvalidError
    when that can't be found out."""
    try:
        os.stat(mount.source)
    except FileNotFoundError:
        raise NotFoundError(
            f'invalid mount config for type "bind": bind source path does not exist: {mount.source}'
        ) from None
    except OSError as problem:
        reason = (problem.strerror or "").lower()
        raise InvalidError(f'invalid mount config for type "bind": stat {mount.source}: {reason}') from problem
