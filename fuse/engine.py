"""How pyfuse3 is driven. The only file that imports it.

Stock pyfuse3 starts a trio task for each request, which costs several times what libfuse and the filesystem cost
together, and importing trio costs more time than a short container needs in all. None of it is wanted here: one
process serves one mount, no handler ever waits for another, and the kernel queues requests in the device. So:

The non-suspending drive. pyfuse3's own loop runs as one coroutine with a stand-in for the few names of trio that it
uses. The stand-in's wait for the device returns at once, and libfuse's read() blocks instead. The interpreter's lock
is held meanwhile: no other thread runs and no Python signal handler; the server is ended by unmounting. This assumes
that pyfuse3 looks these names up in its module's `trio` when it runs (as its own asyncio adapter does) and uses no
others.

The edits. pyfuse3 offers no way to set flags in the answer to FUSE_INIT, nor in that to FUSE_OPENDIR. So libfuse is
first given a socket pair; the kernel's INIT request is passed through it, the answer edited on its way back, and then
the device is put over the socket with dup2(2). An OPENDIR whose listing the kernel may keep (`listing`) puts a pipe
there for its answer, which is edited in the same way before the next request is read. This assumes that libfuse reads
one request at a time from whatever descriptor it was given as /dev/fd/N, and writes the answer there in one piece.

The check. The drive is watched until the first wait for a request: when pyfuse3 asks the stand-in for a name it
doesn't have, suspends, or ends before that, the session is made anew on the device itself and plain `pyfuse3.main`
runs under trio.
"""

from __future__ import annotations

import gc
import logging
import os
import socket
import struct
import sys
import types
from contextlib import suppress
from functools import partial
from typing import Any

from .operations import Operations
from .union import Union

log = logging.getLogger("rootless.fuse")

# linux/fuse.h
FUSE_INIT = 26
INIT_AUTO_INVAL_DATA = 1 << 12
INIT_CACHE_SYMLINKS = 1 << 23
INIT_EXPLICIT_INVAL_DATA = 1 << 25
INIT_HANDLE_KILLPRIV_V2 = 1 << 28

_OUT_HEADER = struct.Struct("<IiQ")
_FLAGS_IN_REQUEST = 52  # behind fuse_in_header (40) and major, minor, max_readahead
_FLAGS_IN_ANSWER = 28  # behind fuse_out_header (16) and major, minor, max_readahead
_ANSWER_SIZE = 80
_FLAGS_IN_OPEN_ANSWER = 24  # behind fuse_out_header (16) and fh
_OPEN_ANSWER_SIZE = 32


class AssumptionError(Exception):
    """pyfuse3 is not what the non-suspending drive takes it for."""


class Session:
    """The device, and the socket pair and the pipe that stand for it where an answer is to be edited.

    Attributes:
        device: the mounted /dev/fuse.
        descriptor: what libfuse reads requests from and writes answers to: one of these, or a duplicate of the device.
        started: pyfuse3 has come to its first wait for a request.
    """

    def __init__(self, device: int, *, live: bool) -> None:
        self.device = device
        self._live = live
        self._near, self._far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.descriptor = os.dup(self._near.fileno())
        self.started = False
        self._offered: int | None = None
        self._out, self._into = os.pipe()  # cheaper than the socket, and an OPENDIR only has to be answered there
        self._flags = 0
        self._waits: Any = None

    def watch(self, lowlevel: Any) -> None:
        """Have `lowlevel.wait_readable`, which pyfuse3 calls before it reads a request, see to the edits."""
        self._waits = lowlevel
        lowlevel.wait_readable = self._before_init

    def redirect(self, flags: int) -> None:
        """The answer that comes next is one to FUSE_OPENDIR, which shall have these flags."""
        self._flags = flags
        os.dup2(self._into, self.descriptor, inheritable=False)
        self._waits.wait_readable = self._after_opendir

    def close(self) -> None:
        """Close what libfuse does not close, but for the device."""
        self._near.close()
        self._far.close()
        os.close(self._out)
        os.close(self._into)

    def _before_init(self, descriptor: int) -> _Ready:
        self.started = True
        request = os.read(self.device, 1 << 20)
        if len(request) < _FLAGS_IN_REQUEST + 4 or struct.unpack_from("<I", request, 4)[0] != FUSE_INIT:
            raise AssumptionError("the first request is not FUSE_INIT")
        self._offered = struct.unpack_from("<I", request, _FLAGS_IN_REQUEST)[0]
        self._far.send(request)
        self._waits.wait_readable = self._after_init
        return READY

    def _after_init(self, descriptor: int) -> _Ready:
        assert self._offered is not None
        os.write(self.device, edited(self._far.recv(1 << 16), self._offered, live=self._live))
        return self._restore()

    def _after_opendir(self, descriptor: int) -> _Ready:
        answer = bytearray(os.read(self._out, _ANSWER_SIZE))
        add_flags(answer, self._flags)
        with suppress(FileNotFoundError):  # nobody waits for it any more
            os.write(self.device, answer)
        return self._restore()

    def _restore(self) -> _Ready:
        """Let libfuse read and write the device itself."""
        os.dup2(self.device, self.descriptor, inheritable=False)
        self._waits.wait_readable = at_once
        return READY


def add_flags(answer: bytearray, flags: int) -> None:
    """Set flags (struct fuse_open_out) in an answer to FUSE_OPENDIR, unless it says that this has failed."""
    if len(answer) != _OPEN_ANSWER_SIZE or _OUT_HEADER.unpack_from(answer)[1] != 0:
        return
    (given,) = struct.unpack_from("<I", answer, _FLAGS_IN_OPEN_ANSWER)
    struct.pack_into("<I", answer, _FLAGS_IN_OPEN_ANSWER, given | flags)


def edited(answer: bytes, offered: int, *, live: bool) -> bytes:
    """The answer to FUSE_INIT with the flags that pyfuse3 can't set, as far as the kernel `offered` them.

    HANDLE_KILLPRIV_V2: writes take the set-id bits away below (see `Files.write`), so the kernel need not ask for
    security.capability before each write. CACHE_SYMLINKS: targets don't change. Not AUTO_INVAL_DATA but
    EXPLICIT_INVAL_DATA: nobody else writes, so a new modification time is no reason to drop cached pages. Over a
    `live` layer it is one, and targets may change.
    """
    if len(answer) != _ANSWER_SIZE or _OUT_HEADER.unpack_from(answer)[1] != 0:
        return answer
    (flags,) = struct.unpack_from("<I", answer, _FLAGS_IN_ANSWER)
    flags |= offered & INIT_HANDLE_KILLPRIV_V2
    if not live:
        flags &= ~INIT_AUTO_INVAL_DATA
        flags |= offered & (INIT_CACHE_SYMLINKS | INIT_EXPLICIT_INVAL_DATA)
    changed = bytearray(answer)
    struct.pack_into("<I", changed, _FLAGS_IN_ANSWER, flags)
    return bytes(changed)


class _Ready:
    """Can be awaited and is done: what a coroutine that does nothing would be, without making one for each request."""

    __await__ = partial(iter, ())


READY = _Ready()


def at_once(descriptor: int) -> _Ready:  # noqa: ARG001
    """A wait_readable that leaves the waiting to libfuse's read()."""
    return READY


class _Lock:
    """Never contended: there is one task."""

    def __aenter__(self) -> _Ready:
        return READY

    def __aexit__(self, *problem: object) -> _Ready:
        return READY


class _Nursery:
    """Runs what was started when its block ends, one after the other."""

    def __init__(self) -> None:
        self._started: list[tuple[Any, tuple[Any, ...]]] = []

    async def __aenter__(self) -> _Nursery:
        return self

    async def __aexit__(self, kind: object, value: object, trace: object) -> None:
        if kind is None:
            for function, arguments in self._started:
                await function(*arguments)

    def start_soon(self, function: Any, *arguments: Any, name: object = None) -> None:
        self._started.append((function, arguments))


class _Strict(types.ModuleType):
    """A module that says at once when it is asked for a name that it does not have."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AssumptionError(f"pyfuse3 uses {self.__name__}.{name}")


def stand_in(session: Session | None) -> types.ModuleType:
    """A `trio` with what pyfuse3's loop uses, none of which ever suspends."""
    task = types.SimpleNamespace(name="rootless.fuse")

    lowlevel: Any = _Strict("trio.lowlevel")

    lowlevel.current_task = lambda: task
    lowlevel.current_trio_token = lambda: None
    lowlevel.wait_readable = at_once
    if session is not None:
        session.watch(lowlevel)
    trio: Any = _Strict("trio")
    trio.lowlevel = lowlevel
    trio.Lock = _Lock
    trio.open_nursery = _Nursery
    trio.ClosedResourceError = type("ClosedResourceError", (Exception,), {})
    module: types.ModuleType = trio
    return module


def import_pyfuse3() -> Any:
    """Import pyfuse3 without trio and without importlib.metadata, which it wants for its version number only.

    Raises:
        ImportError: it is not installed.
    """
    metadata: Any = types.ModuleType("importlib.metadata")
    metadata.PackageNotFoundError = type("PackageNotFoundError", (Exception,), {})
    metadata.version = lambda name: "unknown"  # noqa: ARG005
    stand_ins = {"trio": stand_in(None), "importlib.metadata": metadata}
    saved = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        import pyfuse3
    finally:
        for name, module in saved.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
    return pyfuse3


def run(union: Union, device: int) -> None:
    """Serve `union` on the descriptor of a mounted /dev/fuse until it is unmounted. The descriptor is closed.

    Raises:
        ImportError: pyfuse3 is not installed.
        OSError: the device failed.
    """
    api = import_pyfuse3()
    operations = Operations(union, api)
    session = Session(device, live=union.tree.live)
    api.trio = stand_in(session)
    operations.listing_opened = session.redirect
    api.init(operations, f"/dev/fd/{session.descriptor}", {"fsname=cow"})
    _settle_memory()
    try:
        _drive(api, session)
    except ConnectionAbortedError:
        pass  # unmounted while a request was being read (fuse_dev_do_read answers ECONNABORTED then, and not ENODEV)
    except AssumptionError as problem:
        log.warning("plain pyfuse3 under trio: %s", problem)
        api.close(unmount=False)
        session.close()
        operations.listing_opened = None
        _run_under_trio(api, operations, device)
        return
    api.close(unmount=False)
    session.close()
    os.close(device)


def _drive(api: Any, session: Session) -> None:
    """Run pyfuse3's main() to its end without an event loop.

    Raises:
        AssumptionError: before the first request, when that does not work.
    """
    try:
        main = api.main(1, 1)
        main.send(None)
    except StopIteration:
        if session.started:
            return
        raise AssumptionError("pyfuse3.main() ended before the first request") from None
    except (AttributeError, TypeError) as problem:
        if session.started:
            raise
        raise AssumptionError(str(problem)) from problem
    raise AssumptionError("pyfuse3.main() suspended")


def _run_under_trio(api: Any, operations: Operations, device: int) -> None:
    import trio

    api.trio = trio
    api.init(operations, f"/dev/fd/{device}", {"fsname=cow"})
    trio.run(api.main, 1, 1)
    api.close(unmount=False)


def _settle_memory() -> None:
    """No cyclic collection of what lives as long as the process, and little of the rest.

    Nodes refer to their parents and these to them, and both are taken apart by hand when they are forgotten; a full
    collection would walk a million of them in the middle of a request.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
