"""`--userns`: who the caller is inside the container.

Usually container root. With `keep-id` the caller has inside the ids that it has outside, or those that are named, and
container root is one of its subordinate ids. That is podman's word; Docker, whose daemon is root, has only `host`.
"""

from __future__ import annotations

import os
import re

import msgspec

from ..errors import UnavailableError, UsageError
from ..idmap import IdMap, keeping

KEEP_ID = "keep-id"


class Ids(msgspec.Struct, frozen=True):
    """The caller's user and group inside."""

    uid: int
    gid: int


def parse(text: str) -> str:
    """The mode as it stands in a container's record: empty, `host`, or `keep-id:uid=N,gid=N`.

    Raises:
        UsageError: it is none of them; in Docker's words.
        UnavailableError: keep-id for real root, whose containers have nothing of its own ids.
    """
    if text in ("", "host"):
        if text and os.geteuid() == 0:
            raise UnavailableError(
                "--userns host would make root of the container root of the machine", hint="run it as an ordinary user"
            )
        return text
    found = re.fullmatch(r"keep-id(?::(.*))?", text)
    if found is None:
        raise UsageError("--userns: invalid USER mode", hint="there are host, keep-id and keep-id:uid=N,gid=N")
    if os.geteuid() == 0:
        raise UnavailableError("keep-id is only supported in rootless mode", hint="run it as an ordinary user")
    ids = {"uid": os.geteuid(), "gid": os.getegid()}
    for item in filter(None, (found[1] or "").split(",")):
        name, _, value = item.partition("=")
        if name not in ids or not re.fullmatch(r"[0-9]{1,10}", value, re.ASCII):
            raise UsageError(f'unknown option specified: "{item}"', hint="keep-id takes uid=N and gid=N")
        ids[name] = int(value)
    return f"{KEEP_ID}:uid={ids['uid']},gid={ids['gid']}"


def kept(mode: str) -> Ids | None:
    """The caller's ids inside under a mode that `parse` gave; None where the caller is container root."""
    found = re.fullmatch(r"keep-id:uid=(\d+),gid=(\d+)", mode)
    return Ids(int(found[1]), int(found[2])) if found else None


def default_user(mode: str) -> str:
    """Who a container runs as that was not told: with keep-id the caller, whatever the image says."""
    ids = kept(mode)
    return f"{ids.uid}:{ids.gid}" if ids is not None else ""


def nested(mode: str, room: IdMap) -> IdMap:
    """The map of a container's user namespace inside the room.

    Raises:
        UnavailableError: keep-id with no ids but the caller's own.
    """
    ids = kept(mode)
    if ids is None:
        return room.nested()
    if room.single:
        raise UnavailableError("--userns keep-id needs more ids than the one there is", hint=room.reason)
    return keeping(room, ids.uid, ids.gid)
