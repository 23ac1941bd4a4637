"""FUSE requests to calls on the union, and results to replies: it only translates.

pyfuse3 ends the mount on any exception but FUSEError. So every handler is guarded: an OSError becomes its errno,
anything else becomes EIO and a traceback in the log, and the filesystem goes on.
"""

from __future__ import annotations

import errno
import logging
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import wraps
from typing import Any

from .files import Change
from .listing import Listing
from .metadata import Caller
from .node import File, Node
from .union import Union

SOON = 1.0
"""Seconds that the kernel may keep what comes from a live layer."""

FOREVER = 1e6
"""Seconds that the kernel may keep a name or attributes: nobody else changes an image or this upper directory."""

FOPEN_KEEP_CACHE = 1 << 1
FOPEN_CACHE_DIR = 1 << 3
"""Of linux/fuse.h: leave alone what the kernel keeps of a directory; let this opening fill and read it."""

REPLIES = 200_000
"""How many replies may be made before all that are kept are dropped: the kernel has them for as long as it likes."""

log = logging.getLogger("rootless.fuse")


def answering(handler: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """Make a handler a coroutine that never suspends, and every failure of it an errno."""

    @wraps(handler)
    async def guarded(self: Operations, *arguments: Any) -> Any:
        try:
            if self.handles.excess:
                self.handles.trim()
            return handler(self, *arguments)
        except OSError as problem:
            raise self.failure(problem.errno or errno.EIO) from None
        except self.failure:
            raise
        except Exception:
            log.exception("%s%r", handler.__name__, arguments)
            raise self.failure(errno.EIO) from None

    return guarded


class Operations:
    """The handlers that pyfuse3 calls; `api` is that module, which only the engine imports.

    Attributes:
        listing_opened: told, before an OPENDIR is answered, of flags that pyfuse3 can't put into the answer.
    """

    supports_dot_lookup = False
    enable_writeback_cache = False
    enable_acl = False

    def __init__(self, union: Union, api: Any) -> None:
        self.union = union
        self.handles = union.handles
        self.failure: type[Exception] = api.FUSEError
        self._attributes_type = api.EntryAttributes
        self._file_info = api.FileInfo
        self._statfs_type = api.StatvfsData
        self._reply_entry = api.readdir_reply
        self._invalidate = api.invalidate_inode
        self._nodes = union.nodes
        self._files = union.files
        self._tree = union.tree
        self._ids = union.ids
        self._tree.announce = self._announce
        self._volatile = union.volatile
        self._listings: dict[int, Listing] = {}
        self._next_listing = 1
        self._replies = 0
        self.listing_opened: Callable[[int], None] | None = None
        self._absent = api.EntryAttributes()
        self._absent.st_ino = 0
        self._absent.entry_timeout = SOON if self._tree.live else FOREVER
        self._unknown = api.FUSEError(errno.ENOSYS)

    def init(self) -> None:
        """FUSE_INIT is being answered; there is nothing to prepare."""

    def stacktrace(self) -> None:
        """pyfuse3's own debugging door; SIGUSR1 does it here."""

    @answering
    def lookup(self, parent: int, name: bytes, context: Caller) -> Any:
        node = self._tree.child(self.union.directory(parent), name)
        if node is None:
            return self._absent  # an entry without a number: the kernel remembers that there is nothing
        node.lookups += 1
        return node.reply or self._attributes(node)

    @answering
    def forget(self, inodes: list[tuple[int, int]]) -> None:
        for ino, count in inodes:
            node = self._nodes.get(ino)
            if node is not None:
                self._tree.forget(node, count)

    @answering
    def getattr(self, ino: int, context: Caller) -> Any:
        node = self.union.node(ino)
        self._tree.expire(node)
        return node.reply or self._attributes(node)

    @answering
    def setattr(self, ino: int, new: Any, fields: Any, handle: int | None, context: Caller) -> Any:
        change = Change()
        if fields.update_mode:
            change.mode = stat.S_IMODE(new.st_mode)
        if fields.update_uid:
            change.uid = new.st_uid
        if fields.update_gid:
            change.gid = new.st_gid
        if fields.update_size:
            change.size = new.st_size
        if fields.update_atime:
            change.atime = new.st_atime_ns
        if fields.update_mtime:
            change.mtime = new.st_mtime_ns
        node = self.union.node(ino)
        self._files.setattr(node, change)
        return self._attributes(node)

    @answering
    def readlink(self, ino: int, context: Caller) -> bytes:
        return self._files.readlink(self.union.node(ino))

    @answering
    def mknod(self, parent: int, name: bytes, mode: int, device: int, context: Caller) -> Any:
        return self._new(self.union.mknod(self.union.directory(parent), name, mode, device, context))

    @answering
    def mkdir(self, parent: int, name: bytes, mode: int, context: Caller) -> Any:
        return self._new(self.union.mkdir(self.union.directory(parent), name, mode, context))

    @answering
    def symlink(self, parent: int, name: bytes, target: bytes, context: Caller) -> Any:
        return self._new(self.union.symlink(self.union.directory(parent), name, target, context))

    @answering
    def link(self, ino: int, parent: int, name: bytes, context: Caller) -> Any:
        return self._new(self.union.link(self.union.file(ino), self.union.directory(parent), name))

    @answering
    def unlink(self, parent: int, name: bytes, context: Caller) -> None:
        self.union.unlink(self.union.directory(parent), name)

    @answering
    def rmdir(self, parent: int, name: bytes, context: Caller) -> None:
        self.union.rmdir(self.union.directory(parent), name)

    @answering
    def rename(self, old: int, old_name: bytes, new: int, new_name: bytes, flags: int, context: Caller) -> None:
        directory = self.union.directory
        self.union.renames.rename(directory(old), old_name, directory(new), new_name, flags)

    @answering
    def open(self, ino: int, flags: int, context: Caller) -> Any:
        self._files.open(self.union.file(ino), flags)
        return self._file_info(fh=ino, keep_cache=not (self._tree.live and self._from_live_layer(ino)))

    @answering
    def create(self, parent: int, name: bytes, mode: int, flags: int, context: Caller) -> Any:
        node = self.union.create(self.union.directory(parent), name, mode, context)
        return self._file_info(fh=node.ino, keep_cache=True), self._new(node)

    @answering
    def read(self, handle: int, offset: int, size: int) -> bytes:
        return self._files.read(self._open_file(handle), offset, size)

    @answering
    def write(self, handle: int, offset: int, data: bytes) -> int:
        return self._files.write(self._open_file(handle), offset, data)

    @answering
    def flush(self, handle: int) -> None:
        raise self._unknown  # the kernel then no longer asks at every close

    @answering
    def release(self, handle: int) -> None:
        self._files.release(self._open_file(handle))

    @answering
    def fsync(self, handle: int, data_only: bool) -> None:
        if self._volatile:
            raise self._unknown  # the kernel then answers for us, and asks no more
        self._files.fsync(self._open_file(handle), data_only=data_only)

    @answering
    def opendir(self, ino: int, context: Caller) -> int:
        handle = self._next_listing
        self._next_listing += 1
        listing = self._listings[handle] = self.union.opendir(self.union.directory(ino))
        if self.listing_opened is not None and not self._tree.live:
            flags = FOPEN_KEEP_CACHE if listing.kept else 0
            if listing.keeps:
                flags |= FOPEN_CACHE_DIR
            if flags:
                self.listing_opened(flags)
        return handle

    @answering
    def readdir(self, handle: int, offset: int, token: object) -> None:
        listing = self._listings[handle]
        names = self.union.entries(listing, offset)
        directory = listing.node
        children = directory.children
        reply = self._reply_entry
        for place, name, node in ((0, b".", directory), (1, b"..", directory.parent or directory))[offset:]:
            if not reply(token, name, node.reply or self._attributes(node), place + 1):  # these hold no reference
                return
        for place in range(max(offset, 2), len(names) + 2):
            name = names[place - 2]
            entry = children.get(name) or self._tree.child(directory, name)  # it may have been forgotten, or be gone
            if entry is None:
                continue
            if not reply(token, name, entry.reply or self._attributes(entry), place + 1):
                break
            entry.lookups += 1

    @answering
    def releasedir(self, handle: int) -> None:
        self._listings.pop(handle).close()

    @answering
    def fsyncdir(self, handle: int, data_only: bool) -> None:
        if self._volatile:
            raise self._unknown
        self._files.fsync_directory(self._listings[handle].node)

    @answering
    def statfs(self, context: Caller) -> Any:
        space = self.union.statfs()
        reply = self._statfs_type()
        for name in ("bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree", "favail", "namemax"):
            setattr(reply, f"f_{name}", getattr(space, f"f_{name}"))
        return reply

    @answering
    def access(self, ino: int, mode: int, context: Caller) -> bool:
        raise self._unknown  # default_permissions: the kernel decides

    @answering
    def poll(self, ino: int, handle: int, wakeup: object, context: Caller) -> int:
        raise self._unknown  # regular files are always ready

    @answering
    def getxattr(self, ino: int, name: bytes, context: Caller) -> bytes:
        node = self.union.node(ino)
        if node.bare:  # asked for at each first write and each `ls -l`: one exception is enough
            raise self.failure(errno.ENODATA)
        return self._files.getxattr(node, name)

    @answering
    def setxattr(self, ino: int, name: bytes, value: bytes, context: Caller) -> None:
        self._files.setxattr(self.union.node(ino), name, value)

    @answering
    def removexattr(self, ino: int, name: bytes, context: Caller) -> None:
        self._files.removexattr(self.union.node(ino), name)

    @answering
    def listxattr(self, ino: int, context: Caller) -> list[bytes]:
        return self._files.listxattr(self.union.node(ino))

    def _open_file(self, handle: int) -> File:
        node = self._nodes[handle]
        assert isinstance(node, File)
        return node

    def _from_live_layer(self, ino: int) -> bool:
        return self._tree.layers[self._nodes[ino].layer].live

    def _announce(self, node: Node) -> None:
        """Have the kernel ask for attributes again."""
        if node.lookups:
            with suppress(FileNotFoundError):  # it has forgotten the file, and not said so yet
                self._invalidate(node.ino, attr_only=True)

    def _new(self, node: Node) -> Any:
        node.lookups += 1
        return node.reply or self._attributes(node)

    def _attributes(self, node: Node) -> Any:
        status = self._tree.status(node)
        reply = self._attributes_type()
        reply.st_ino = node.ino
        reply.st_mode = status.st_mode
        reply.st_nlink = self._tree.links(node, status)
        uids, gids = self._ids
        reply.st_uid = status.st_uid if status.st_uid < uids else 0
        reply.st_gid = status.st_gid if status.st_gid < gids else 0
        if status.st_rdev:
            reply.st_rdev = status.st_rdev
        reply.st_size = status.st_size
        reply.st_blocks = status.st_blocks
        reply.st_atime_ns = status.st_atime_ns
        reply.st_mtime_ns = status.st_mtime_ns
        reply.st_ctime_ns = status.st_ctime_ns
        if self._tree.live and self._from_live_layer(node.ino):
            reply.entry_timeout = reply.attr_timeout = SOON
        else:
            reply.attr_timeout = FOREVER
            reply.entry_timeout = SOON if self._tree.live and self._tree.living.merges(node) else FOREVER
            self._remember(node, reply)
        return reply

    def _remember(self, node: Node, reply: object) -> None:
        """Keep a reply, and not what it was made of: a million of both are a gigabyte."""
        node.reply = reply
        if node.orphan:
            return
        node.status = None
        self._replies += 1
        if self._replies > REPLIES:
            self._replies = 0
            for each in self._tree.table:
                each.reply = None
