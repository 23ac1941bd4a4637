"""Work in a forked child whose result, or exception, comes back: for what this process can't take back afterwards.

A child may enter other namespaces, or import and start what must not be there when this process forks again.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, Generic, TypeVar

from .errors import RootlessError

T = TypeVar("T")

MAX_DESCRIPTORS = 16


def call(work: Callable[[], T], what: str) -> T:
    """Run `work` in a child, and give back what it returns or raise what it raises.

    The child inherits every descriptor and the working directory; its result travels by pickle. Only for a process with
    one thread.

    Args:
        what: names the child in the error that tells of its unexpected end.
    """
    return Child(work, what).result()


class Child(Generic[T]):
    """Work that goes on in a child, while its parent does something else. As `call`."""

    def __init__(self, work: Callable[[], T], what: str) -> None:
        self._what = what
        self._answer, write = os.pipe2(os.O_CLOEXEC)
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._answer)
            _answer(work, write)
        os.close(write)

    def result(self) -> T:
        """Wait for its end; what `work` returned, or raise what it raised. To be called once."""
        try:
            answer = _read(self._answer)
        finally:
            _, status = os.waitpid(self._pid, 0)
        result: T = _result(answer, status, self._what)
        return result


def descriptors(work: Callable[[], list[int]], what: str) -> list[int]:
    """As `call`, for work that opens descriptors: copies of them, close-on-exec, in the caller."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def send() -> None:
        socket.send_fds(theirs, [b"."], work())

    with ours, theirs:
        call(send, what)
        _, fds, _, _ = socket.recv_fds(ours, 1, MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    return fds


@contextmanager
def stream(work: Callable[[BinaryIO], object], what: str) -> Iterator[BinaryIO]:
    """Run `work` in a child whose writing is what is read in the block; otherwise as `call`.

    At the end of the block, where everything must have been read, what the child raised is raised here. A block that
    fails ends the child.
    """
    read, write = os.pipe2(os.O_CLOEXEC)
    with _beside(lambda: _written(work, write), what, theirs=write, ours=read), open(read, "rb", buffering=0) as file:
        yield file


@contextmanager
def feed(work: Callable[[BinaryIO], object], what: str) -> Iterator[BinaryIO]:
    """Run `work` in a child that reads what is written in the block; otherwise as `stream`.

    A child that needs no more may end before everything was written: the rest of the block is then left out.
    """
    read, write = os.pipe2(os.O_CLOEXEC)
    with (
        _beside(lambda: _fed(work, read), what, theirs=read, ours=write),
        suppress(BrokenPipeError),
        open(write, "wb") as sink,
    ):
        yield sink


@contextmanager
def _beside(work: Callable[[], object], what: str, *, theirs: int, ours: int) -> Iterator[None]:
    """A child at work while the block runs, each with its end of a pipe. A block that fails ends the child."""
    answers, answer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(answers)
        os.close(ours)
        _answer(work, answer)
    os.close(answer)
    os.close(theirs)
    with open(answers, "rb") as file:
        try:
            yield
            told = file.read()
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
    _result(told, os.waitpid(pid, 0)[1], what)


def _fed(work: Callable[[BinaryIO], object], read: int) -> None:
    with open(read, "rb") as file:
        work(file)


def _written(work: Callable[[BinaryIO], object], write: int) -> None:
    with open(write, "wb") as file:
        work(file)


def _read(fd: int) -> bytes:
    with open(fd, "rb") as file:
        return file.read()


def _result(answer: bytes, status: int, what: str) -> Any:
    if not answer:
        raise RootlessError(f"{what} ended without an answer (status {status})")
    import pickle

    succeeded, value = pickle.loads(answer)  # noqa: S301 - written by our own child, over our own pipe
    if not succeeded:
        raise value
    return value


def _answer(work: Callable[[], object], write: int) -> None:
    """The child. Never returns."""
    code = 1
    try:
        import pickle

        try:
            answer = pickle.dumps((True, work()))
            code = 0
        except BaseException as problem:
            answer = _pickled(problem)
        with open(write, "wb") as file:
            file.write(answer)
    finally:
        os._exit(code)


def _pickled(problem: BaseException) -> bytes:
    import pickle

    try:
        return pickle.dumps((False, problem))
    except Exception:  # whatever its class makes of pickling
        return pickle.dumps((False, RootlessError(repr(problem))))
