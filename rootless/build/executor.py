"""The stages of a build, those at once that do not need each other.

A stage goes on in this process as long as all of its steps are known. The first one that is not is worked on in a
process of its own, forked from here with everything that is known so far: containers are started by fork(2), and a
process that waits for several stages at once could not do that while it waits. No trio: `import trio` costs more than
all of a cached build. What the workers tell comes as messages over a socket each; a worker whose parent dies is killed
by the kernel.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

from ..errors import Interrupted, RootlessError
from ..kernel import process
from .builder import Builder, Common, WorkError
from .config import Draft
from .events import AnyEvent, Began, Ended, Tell
from .stages import Planned

PIECE = 1 << 16
"""Bytes of one message: SOCK_SEQPACKET keeps their bounds, and the kernel refuses larger ones (EMSGSIZE)."""

PATIENCE = 30.0
"""Seconds that a worker which was asked to end has for it: it kills a container and removes its directory."""

TICK = 0.1
"""Seconds between two calls of `tick`."""


class _CancelledError(BaseException):
    """The build is given up: raised in a worker by SIGTERM."""


@dataclass
class _Worker:
    index: int
    pid: int
    connection: socket.socket
    received: bytes = b""


class Executor:
    """Builds stages."""

    def __init__(self, common: Common, planned: Sequence[Planned], tell: Tell, tick: object = None) -> None:
        self._common = common
        self._waiting = {stage.index: stage for stage in planned}
        self._tell = tell
        self._tick = tick if callable(tick) else lambda: None
        self._running: set[str] = set()
        self._most = max(2, os.cpu_count() or 1)
        self._ready: list[Builder] = []
        self._workers: dict[int, _Worker] = {}
        self.results: dict[int, Draft] = {}

    def run(self) -> dict[int, Draft]:
        """Build all of them; what each has come to.

        Raises:
            StepError, DockerfileError: of the first one that fails; the others are given up.
            Interrupted: by SIGTERM or SIGHUP, as KeyboardInterrupt by ctrl-c; all are given up.
        """
        with _heeding_signals():
            return self._run()

    def _run(self) -> dict[int, Draft]:
        try:
            while self._waiting or self._ready or self._workers:
                self._begin_ready()
                self._start_workers()
                if self._workers:
                    self._listen()
        except BaseException:
            self._give_up()
            raise
        return self.results

    def _begin_ready(self) -> None:
        """Go as far as everything is known, with each stage whose needs are there, until there is none."""
        progress = True
        while progress:
            progress = False
            for index, stage in list(self._waiting.items()):
                if stage.needs <= self.results.keys():
                    del self._waiting[index]
                    builder = Builder.begin(self._common, stage, self.results)
                    try:
                        self.results[index] = builder.advance(working=False)
                        progress = True
                    except WorkError:
                        self._ready.append(builder)

    def _start_workers(self) -> None:
        while self._ready and len(self._workers) < self._most:
            builder = self._ready.pop(0)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            parent = os.getpid()
            sys.stdout.flush()
            sys.stderr.flush()
            pid = os.fork()
            if pid == 0:
                ours.close()
                for worker in self._workers.values():
                    worker.connection.close()
                _work(builder, theirs, parent)
            theirs.close()
            self._workers[ours.fileno()] = _Worker(builder.planned.index, pid, ours)

    def _listen(self) -> None:
        poll = select.poll()
        for fd in self._workers:
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(TICK * 1000):
            self._receive(self._workers[fd])
        self._tick()

    def _receive(self, worker: _Worker) -> None:
        try:
            packet = worker.connection.recv(PIECE + 1)
        except ConnectionResetError:
            packet = b""
        if not packet:
            raise self._lost(worker)
        worker.received += packet[1:]
        if packet[:1] == b"+":  # there is more of this message
            return
        message = pickle.loads(worker.received)  # noqa: S301 - written by our own child, over our own socket
        worker.received = b""
        if isinstance(message, AnyEvent):
            self._note(message)
        else:
            self._reap(worker)
            if isinstance(message, BaseException):
                raise message
            self.results[worker.index] = message

    def _note(self, event: AnyEvent) -> None:
        if isinstance(event, Began):
            self._running.add(event.vertex)
        elif isinstance(event, Ended):
            self._running.discard(event.vertex)
        self._tell(event)

    def _lost(self, worker: _Worker) -> RootlessError:
        status = self._reap(worker)
        return RootlessError(f"the process that builds a stage was killed (status {status})", hint="try again")

    def _reap(self, worker: _Worker) -> int:
        del self._workers[worker.connection.fileno()]
        worker.connection.close()
        return os.waitpid(worker.pid, 0)[1]

    def _give_up(self) -> None:
        """End the workers, each of which takes its container along."""
        for worker in self._workers.values():
            os.kill(worker.pid, signal.SIGTERM)
        for worker in list(self._workers.values()):
            pidfd = os.pidfd_open(worker.pid)
            if not select.select([pidfd], [], [], PATIENCE)[0]:
                os.kill(worker.pid, signal.SIGKILL)
            os.close(pidfd)
            self._reap(worker)
        for vertex in sorted(self._running):
            self._tell(Ended(vertex, time.monotonic(), canceled=True))


@contextmanager
def _heeding_signals() -> Iterator[None]:
    """For the block, those that ask to end raise Interrupted: once, so that what is undone is undone whole."""

    def end(number: int, _: object) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    # One that is ignored stays so: nohup(1).
    before = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is signal.SIG_DFL]
    for each in before:
        signal.signal(each, end)
    try:
        yield
    finally:
        for each in before:
            signal.signal(each, signal.SIG_DFL)


def _work(builder: Builder, connection: socket.socket, parent: int) -> NoReturn:
    """The worker: builds one stage to its end, and tells what came of it."""
    code = 1
    try:
        process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        process.set_name("rootless-build")
        # These reach every process of a terminal: the parent decides what they mean.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, _cancel)
        builder.common.tell = lambda event: _send(connection, event)
        try:
            result: object = builder.advance(working=True)
        except RootlessError as problem:
            result = problem
        _send(connection, result)
        code = 0
    except (_CancelledError, BrokenPipeError):
        pass
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def _cancel(number: int, _: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough; what is undone now must not be undone by half
    raise _CancelledError


def _send(connection: socket.socket, message: object) -> None:
    data = pickle.dumps(message)
    for start in range(0, len(data), PIECE):
        piece = data[start : start + PIECE]
        connection.send((b"+" if start + PIECE < len(data) else b".") + piece, socket.MSG_NOSIGNAL)
