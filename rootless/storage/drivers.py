"""Which storage driver a container gets, and why."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

import msgspec

from ..errors import UnavailableError, UsageError
from ..idmap import IdMap
from ..kernel.mount import mountinfo
from .driver import LayerKind, Owners, StorageDriver

OVERLAY, COW = "overlay", "cow"
REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "lustre", "gpfs", "afs", "beegfs", "vboxsf"})
"""File systems without what an upper directory of real ids needs: whiteout devices, extended attributes,
RENAME_EXCHANGE, a chown(2) by whom the server does not know to be root."""

DRIVERS = {OVERLAY: ".overlay:Overlay", COW: ".cow:Cow", "fuse-overlayfs": ".fuse_overlayfs:FuseOverlayfs"}
"""Name to module:class. Most containers need one of them, and none of the others' imports."""


def get(name: str) -> StorageDriver:
    """The driver of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in DRIVERS:
        raise UsageError(f"unknown storage driver {name!r}", hint=f"there are: auto, {', '.join(DRIVERS)}")
    module, _, kind = DRIVERS[name].partition(":")
    driver: StorageDriver = getattr(import_module(module, __package__), kind)()
    return driver


class Choice(msgspec.Struct, frozen=True):
    """A driver, and why it was taken; `rootless info` shows both.

    Attributes:
        owners: how a new container's writable layer keeps whose its files are.
    """

    driver: StorageDriver
    reason: str
    owners: Owners = "mapped"

    @property
    def layer_kind(self) -> LayerKind:
        """How an image's layers are unpacked for it. A server that reads them as the caller needs them to be his."""
        return "owned" if self.owners == "owned" else self.driver.layer_kind


class Wish(msgspec.Struct, frozen=True):
    """What a container wants of its storage that only `cow` has.

    Attributes:
        size: bytes that the writable layer may hold; 0 for no limit.
        owners: how it shall keep whose its files are; None where nothing was said.
        host: the machine's own root is its image.
        keep_id: its ids are in another order than the layers' files have them: real ones would mean somebody else.
    """

    size: int = 0
    owners: Owners | None = None
    host: bool = False
    keep_id: bool = False

    def __str__(self) -> str:
        """What of it needs `cow`; empty when nothing does."""
        if self.host:
            return "the image host"
        if self.size:
            return "--storage-opt size"
        if self.keep_id:
            return "--userns keep-id"
        return "--storage-opt ownership=owned" if self.owners == "owned" else ""


_NO_WISH = Wish()


def choose(name: str, store: Path, idmap: IdMap, wish: Wish = _NO_WISH) -> Choice:
    """The driver for a new container: the named one, or by `auto` the kernel's overlayfs where it can serve, else ours.

    Raises:
        UsageError: there is no driver of this name, or it can't do what is wished.
        UnavailableError: what is wished only `cow` can do, and that can't serve here.
    """
    if wish.host and wish.owners == "mapped":
        raise UsageError("--storage-opt ownership=mapped can't be had with the image host: only its caller may read it")
    if wish.keep_id and wish.owners == "mapped":
        raise UsageError(
            "--storage-opt ownership=mapped can't be had with --userns keep-id: real ids mean others there"
        )
    if os.geteuid() == 0 and (wish.host or wish.owners == "owned"):
        raise UnavailableError(
            f"{wish} is not for root, whose containers belong to a subordinate id: that may read nothing of root's",
            hint="run it as an ordinary user",
        )
    if str(wish):
        return _chosen_cow(_require_cow(name, str(wish)), store, idmap, wish)
    if name != "auto":
        driver, reason = get(name), "it was asked for"
        return _chosen_cow(reason, store, idmap, wish) if name == COW else Choice(driver, reason)
    against = _against_overlay(store) or _lost_by_overlay(idmap)
    if not against:
        return Choice(get(OVERLAY), "the kernel's overlayfs can serve here")
    if lacking := get(COW).unavailable():
        return Choice(get(OVERLAY), f"{against}, but the driver cow can't serve either: {lacking}")
    return _chosen_cow(against, store, idmap, wish)


def _require_cow(name: str, wished: str) -> str:
    """Why `cow` is taken, where nothing else will do."""
    if name not in ("auto", COW):
        get(name)
        raise UsageError(f"{wished} is not supported by the storage driver {name}", hint="take --storage-driver cow")
    if lacking := get(COW).unavailable():
        raise UnavailableError(f"{wished} needs the storage driver cow, which can't serve: {lacking}")
    return f"{wished} needs it" if name == "auto" else "it was asked for"


def _chosen_cow(reason: str, store: Path, idmap: IdMap, wish: Wish) -> Choice:
    return Choice(get(COW), reason, wish.owners or _owners(store, idmap, unreal=wish.host or wish.keep_id))


def _owners(store: Path, idmap: IdMap, *, unreal: bool) -> Owners:
    """Written down where other ids than the caller's can't be given to files: by whom, for want of ids, or where.

    Not under real root, whose containers are a subordinate id's: what belongs to root they could not even read.
    """
    if os.geteuid() == 0:
        return "mapped"
    return "owned" if unreal or idmap.single or _is_remote(file_system(store)) else "mapped"


def unavailable(name: str, store: Path) -> str:
    """Why a driver can't serve in this store; empty when nothing is known against it."""
    if name == OVERLAY:
        return _against_overlay(store)
    return get(name).unavailable()


def _against_overlay(store: Path) -> str:
    """Why overlayfs could not have its writable layer in this store; empty when nothing is known against it."""
    if lacking := get(OVERLAY).unavailable():
        return lacking
    kind = file_system(store)
    return f"the store lies on {kind}, where overlayfs can't write" if _is_remote(kind) else ""


def _lost_by_overlay(idmap: IdMap) -> str:
    """What overlayfs would do, and not as well."""
    return "there is only one id, and overlayfs would not write down whose files are" if idmap.single else ""


def _is_remote(kind: str) -> bool:
    return kind in REMOTE or kind == "fuse" or kind.startswith("fuse.")


def file_system(path: Path) -> str:
    """The type of the file system that `path`, or what exists of it, lies on."""
    text = os.path.realpath(path)
    best, kind = "", ""
    for point, fstype, _ in mountinfo():
        inside = text == point or text.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fstype
    return kind
