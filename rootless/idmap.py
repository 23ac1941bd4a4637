"""Which ids a container has and whose they are outside: subordinate ranges (subuid(5)) and user namespace maps.

Container root is the caller; 1 .. 65536 are the caller's first subordinate range. Without a range or without the
set-uid helpers there is one id, container root, and it is the caller. Started by real root, container root is never
host root: the whole map lies in a subordinate range.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from functools import cached_property

import msgspec

from .errors import UnavailableError
from .hashes import sha256

RANGE = 65536
ROOT_DEFAULT_START = 1_000_000_000
"""Where real root's range starts when /etc/subuid grants it none: above the ranges that useradd hands out
(SUB_UID_MAX is 600,100,000 in login.defs(5)) and below systemd's dynamic container ranges' end (0x6fffffff)."""


class Extent(msgspec.Struct, frozen=True):
    """One line of a uid_map: `count` ids from `inside` stand for those from `outside` (user_namespaces(7))."""

    inside: int
    outside: int
    count: int


class IdMap(msgspec.Struct, frozen=True, dict=True):
    """The map of a room and of every container in it.

    Attributes:
        uids, gids: extents in ascending order of `inside`.
        reason: why there is only one id, with the line that would change it; empty when there is a range.
    """

    uids: tuple[Extent, ...]
    gids: tuple[Extent, ...]
    reason: str = ""

    @property
    def single(self) -> bool:
        """Whether container root is the only id: everything else shows as nobody."""
        return self.uids == (Extent(0, self.uids[0].outside, 1),)

    @cached_property
    def tag(self) -> str:
        """8 hexadecimal digits that name this map: in the directory of layers unpacked with it, and of its room."""
        return sha256(f"({_named(self.uids)}, {_named(self.gids)})".encode()).hexdigest()[:8]

    def holds(self, uid: int, gid: int) -> bool:
        """Whether a file of these container ids can belong to somebody under this map."""
        return _holds(self.uids, uid) and _holds(self.gids, gid)

    @property
    def ends(self) -> tuple[int, int]:
        """One more than the highest user id, and group id."""
        return max(e.inside + e.count for e in self.uids), max(e.inside + e.count for e in self.gids)

    def nested(self) -> IdMap:
        """The same ids for a namespace inside the room. The kernel refuses a line that spans two of the parent's lines
        (EPERM), so each line of the room's map gets one of its own."""
        return IdMap(
            tuple(Extent(e.inside, e.inside, e.count) for e in self.uids),
            tuple(Extent(e.inside, e.inside, e.count) for e in self.gids),
            self.reason,
        )


def keeping(room: IdMap, uid: int, gid: int) -> IdMap:
    """The map of a namespace inside `room` in which the caller, root of the room, has these ids.

    All the others keep their order: below the caller's they move down by one, so that container root is the first
    subordinate id. A line of the caller's own id stands between two of the subordinate ones.
    """
    return IdMap(_keeping(room.uids, uid), _keeping(room.gids, gid))


def _keeping(extents: tuple[Extent, ...], kept: int) -> tuple[Extent, ...]:
    count = extents[-1].inside + extents[-1].count - 1  # of the subordinate ids, 1 to `count` in the room
    below, above = min(kept, count), max(count - kept, 0)
    lines = Extent(0, 1, below), Extent(kept, 0, 1), Extent(kept + 1, kept + 1, above)
    return tuple(line for line in lines if line.count)


def _named(extents: tuple[Extent, ...]) -> str:
    """The text of which the tag is made. It stands on disk, in the names of layers: never to be changed."""
    lines = ", ".join(f"Extent(inside={e.inside}, outside={e.outside}, count={e.count})" for e in extents)
    return f"({lines},)" if len(extents) == 1 else f"({lines})"


def _holds(extents: tuple[Extent, ...], number: int) -> bool:
    return any(e.inside <= number < e.inside + e.count for e in extents)


def map_text(extents: tuple[Extent, ...]) -> str:
    """The extents as /proc/PID/uid_map takes them."""
    return "".join(f"{e.inside} {e.outside} {e.count}\n" for e in extents)


def detect() -> IdMap:
    """The map for the calling account on this machine.

    Raises:
        UnavailableError: real root without any usable range.
    """
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        return _map_of_root()
    name = account_name(uid)
    uids, gids = _subordinate("/etc/subuid", name, uid), _subordinate("/etc/subgid", name, uid)
    helpers = [name for name in ("newuidmap", "newgidmap") if not _is_on_path(name)]
    if uids is None or gids is None or helpers:
        return IdMap((Extent(0, uid, 1),), (Extent(0, gid, 1),), _why_single(name, uids, gids, helpers))
    return IdMap((Extent(0, uid, 1), Extent(1, *uids)), (Extent(0, gid, 1), Extent(1, *gids)))


def _is_on_path(program: str) -> bool:
    """What shutil.which tells; that module costs 5 ms to import, on the path of every start."""
    directories = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return any(os.access(os.path.join(directory, program), os.X_OK) for directory in directories)


def _why_single(account: str, uids: object, gids: object, helpers: list[str]) -> str:
    if helpers:
        return f"{' and '.join(helpers)} not found: an administrator can run: apt-get install uidmap"
    lacking = " and ".join(p for p, r in (("/etc/subuid", uids), ("/etc/subgid", gids)) if r is None)
    start = _first_free()
    fix = f"usermod --add-subuids {start}-{start + RANGE - 1} --add-subgids {start}-{start + RANGE - 1} {account}"
    return f"no subordinate ids for {account} in {lacking}: an administrator can run: {fix}"


def _first_free() -> int:
    """Where a range can start that nobody has: after the last one granted, as useradd looks for it (SUB_UID_MIN)."""
    ends = [100_000]
    for path in "/etc/subuid", "/etc/subgid":
        ends += [start + count for _, start, count in _lines(path)]
    return max(ends)


def _map_of_root() -> IdMap:
    uids = _subordinate("/etc/subuid", "root", 0) or (ROOT_DEFAULT_START, RANGE)
    gids = _subordinate("/etc/subgid", "root", 0) or (ROOT_DEFAULT_START, RANGE)
    outer_uids, outer_gids = _current("/proc/self/uid_map"), _current("/proc/self/gid_map")
    for (start, count), outer in (uids, outer_uids), (gids, outer_gids):
        if not (_holds(outer, start) and _holds(outer, start + count - 1)):
            # Root of a user namespace without such ids: its own id 0 is never given to a container.
            raise UnavailableError(
                f"root has no ids {start}-{start + count - 1} here (inside another container?)",
                hint="give root a range in /etc/subuid and /etc/subgid that this namespace holds",
            )
    return IdMap((Extent(0, *uids),), (Extent(0, *gids),))


def _current(path: str) -> tuple[Extent, ...]:
    with open(path) as file:
        return tuple(Extent(*map(int, line.split())) for line in file)


def account_name(uid: int) -> str:
    """The account of this id, by its name if it has one."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _subordinate(path: str, account: str, uid: int) -> tuple[int, int] | None:
    """The account's first range in a file of `name-or-uid:start:count` lines: (start, count), at most 65536 ids.

    One that begins with 0 is passed over, whoever granted it: nobody in a container is root of the machine. A range
    given elsewhere (nsswitch's `subid: sss`) is not seen here.
    """
    for name, start, count in _lines(path):
        if name in (account, str(uid)) and start > 0 and count > 0:
            return start, min(count, RANGE)
    return None


def _lines(path: str) -> Iterator[tuple[str, int, int]]:
    """(account or uid, start, count) of each well-formed line; what is not of this form newuidmap passes over, too."""
    try:
        with open(path, errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    for line in lines:
        fields = line.strip().split(":")
        if len(fields) == 3 and fields[1].isdecimal() and fields[2].isdecimal():
            yield fields[0], int(fields[1]), int(fields[2])
