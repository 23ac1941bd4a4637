"""One health check, as a program: `python -m rootless.runtime.probe STORE RUN ID`, started by the container's monitor.

The monitor works under trio and must not fork; this fresh process enters the container for it. It prints the beginning
of the check's output and ends with its exit code. When it is killed (at the check's timeout), so is the check: it is
this process's child, and dies with it (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path
from typing import NoReturn

import msgspec

from ..container.container import Container
from ..container.health import MAX_OUTPUT
from ..container.store import Containers
from ..errors import RootlessError
from ..idmap import detect
from ..paths import Paths
from . import enter
from .cgroup import forker
from .channel import Channel
from .main_program import main_program
from .program import Program, Stdio
from .start import Running, begin, end

NOT_EXECUTED = 126
"""What a check that could not be started counts as, unless 127 says more."""


def main(store: str, run: str, container_id: str) -> int:
    """Run the check of this container once."""
    paths = Paths(Path(store), Path(run))
    container = Containers(paths).load(container_id)
    try:
        running = _start(container)
    except RootlessError as problem:
        print(problem)
        return problem.exit_code if problem.exit_code in (126, 127) else NOT_EXECUTED
    output = _read(running)
    code = os.waitstatus_to_exitcode(_wait(running))
    sys.stdout.buffer.write(output[:MAX_OUTPUT])
    return code if code >= 0 else 128 - code


def _start(container: Container) -> Running:
    check = container.spec.health
    if check is None:
        raise RootlessError("the container has no health check")
    state = container.stored_state()
    program = _program(container, check.argv, state.cgroup)
    namespaces = enter.open_namespaces(state)

    def body(stdio: Stdio, channel: Channel) -> NoReturn:
        enter.run(program, namespaces, stdio, channel)

    return begin(body, program, None, keep_namespaces=False, fork=forker(state.cgroup))


def _program(container: Container, argv: tuple[str, ...], cgroup: str) -> Program:
    main_one = main_program(container.spec, container.paths, detect(), (24, 80), False, cgroup)
    return msgspec.structs.replace(main_one, argv=argv, tty=False, stdin_open=False, init=False, make_workdir=False)


def _read(running: Running) -> bytes:
    """The output up to its end; what is beyond the limit is read and dropped, or the check would wait for ever."""
    output = b""
    poll = select.poll()
    for fd in running.outputs.values():
        poll.register(fd, select.POLLIN)
    left = len(running.outputs)
    while left:
        for fd, _ in poll.poll():
            data = os.read(fd, 65536)
            output += data[: max(0, MAX_OUTPUT - len(output))]
            if not data:
                poll.unregister(fd)
                left -= 1
    return output


def _wait(running: Running) -> int:
    """The wait status of the check. Its output has ended; it itself may still work."""
    select.select([running.pidfd], [], [])
    return end(running.pid, running.pidfd)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
