"""The process that serves one container's root filesystem.

It is forked inside the container's user namespace and outside its mount and pid namespaces: inside the mount namespace
it would outlive its clients, because each would keep the other. The monitor watches it; unmounting (or the end of the
container's mount namespace) ends it. It never ends by an exception of a request. SIGUSR1 writes every thread's stack
to the log, even while the loop holds the interpreter's lock.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import traceback
from dataclasses import dataclass
from typing import NoReturn

from rootless.kernel import process

from .layer import LayerSpec
from .union import Config as UnionConfig
from .union import Union

__all__ = ["Config", "LayerSpec", "mount_options", "prepare", "serve"]


@dataclass(frozen=True)
class Config(UnionConfig):
    """A union, and the process around it.

    Attributes:
        log: a descriptor to which failures are written; standard error when None.
    """

    log: int | None = None


def mount_options(device: int) -> str:
    """The data argument of mount(2) for a filesystem of type "fuse" on this descriptor of /dev/fuse.

    allow_other lets every user of the container's user namespace in; default_permissions has the kernel check modes.
    """
    return f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"


def prepare() -> None:
    """Load what serving takes: to be called while whoever mounts is not that far yet.

    Raises:
        ImportError: pyfuse3 is not installed.
    """
    from .engine import import_pyfuse3

    import_pyfuse3()


def serve(device: int, config: Config) -> NoReturn:
    """Serve the mount behind `device` until it is unmounted, and end the process: 0, or 1 after a failure.

    To be called in a process forked for it. The descriptor must be the only one: a duplicate kept elsewhere would
    leave the container's processes hanging, instead of failing with ENOTCONN, should this process be killed.
    """
    code = 1
    try:
        _settle(config)
        from .engine import run

        run(Union(config), device)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        logging.shutdown()
        sys.stderr.flush()
        os._exit(code)


def _settle(config: Config) -> None:
    """Signals, log and umask of a process that is nobody's terminal job."""
    if config.log is not None:
        os.dup2(config.log, 2)
    # Whoever forked us may have put something else in its place.
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s cow[%(process)d] %(message)s", force=True)
    faulthandler.enable(file=2)
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    os.umask(0)
    process.set_name("rootless-cow")
