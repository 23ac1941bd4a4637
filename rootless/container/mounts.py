"""What a container has mounted beside its image: one frozen `Mount` each, as it stands in config.json."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["bind", "volume", "tmpfs", "overlay"]

Recursion = Literal["", "disabled", "writable", "readonly"]
"""What becomes of the submounts of a bind mount: "" brings them along, read-only where it is; `writable` leaves them
as they are; `readonly` is an error where they can't be made so; `disabled` leaves them out."""


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
