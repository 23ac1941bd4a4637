"""Work in a forked child whose result, or exception, comes back: for what this process can't take back afterwards.

A child may enter other namespaces, or import and start what must not be there when this process forks again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from .errors import RootlessError

T = TypeVar("T")


def call(work: Callable[[], T], what: str) -> T:
    """Run `work` in a child, and give back what it returns or raise what it raises.

    The child inherits every descriptor and the working directory; its result travels by pickle. Only for a process with
    one thread.

    Args:
        what: names the child in the error that tells of its unexpected end.
    """
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(read)
        _answer(work, write)
    os.close(write)
    try:
        with open(read, "rb") as file:
            answer = file.read()
    finally:
        _, status = os.waitpid(pid, 0)
    if not answer:
        raise RootlessError(f"{what} ended without an answer (status {status})")
    import pickle

    succeeded, value = pickle.loads(answer)  # noqa: S301 - written by our own child, over our own pipe
    if not succeeded:
        raise value
    result: T = value
    return result


def _answer(work: Callable[[], object], write: int) -> None:
    """The child. Never returns."""
    import pickle

    code = 1
    try:
        answer = pickle.dumps((True, work()))
        code = 0
    except BaseException as problem:
        answer = pickle.dumps((False, problem))
    try:
        with open(write, "wb") as file:
            file.write(answer)
    finally:
        os._exit(code)
