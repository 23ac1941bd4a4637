"""The processes of a running container, as the host sees them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress

import msgspec

from ..errors import ConflictError, InvalidError, UnavailableError
from ..kernel.process import is_running, machine_id
from .container import Container
from .record import State
from .state import ALIVE, Status, restarting

_RENAMED_COLUMN = re.compile(r"\s([^\s=]*)=\s*(PID\S*)")
"""`-o comm=PID`: another column under the name that the processes are told apart by."""


class Listing(msgspec.Struct, frozen=True):
    """What ps(1) told: the columns' titles, and a line for each process."""

    titles: list[str]
    rows: list[list[str]]


def pids(state: State) -> set[int]:
    """The process ids of a running container: all descendants of its PID 1, and all else in its pid namespace, as
    `exec` brings it in. Where that is somebody else's pid namespace, all else in its mount namespace. None where its
    PID 1 is not there, as between two runs."""
    if not is_running(state.pid, state.pid_started):
        return set()  # of pid 0 everything on this machine is a descendant, and a pid is given anew
    parents = dict(_parents())
    found = _descendants(state.pid, parents)
    kind = "pid" if _is_init(state) else "mnt"
    namespace = _held(state, kind)
    if namespace is not None:
        found |= {pid for pid in parents if _namespace(f"/proc/{pid}/ns/{kind}") == namespace}
    return found & parents.keys()


def _parents() -> Iterator[tuple[int, int]]:
    """(pid, parent) of each process on this machine (proc_pid_stat(5))."""
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                yield int(name), int(file.read().rpartition(b")")[2].split()[1])


def _descendants(pid: int, parents: dict[int, int]) -> set[int]:
    children: dict[int, list[int]] = {}
    for child, parent in parents.items():
        children.setdefault(parent, []).append(child)
    found, waiting = set(), [pid]
    while waiting:
        current = waiting.pop()
        found.add(current)
        waiting += children.get(current, ())
    return found


def _is_init(state: State) -> bool:
    """Whether the container's first process is the init of its pid namespace."""
    with suppress(OSError), open(f"/proc/{state.pid}/status") as file:
        return next(line.split()[-1] for line in file if line.startswith("NSpid:")) == "1"
    return False


def _held(state: State, kind: str) -> int | None:
    """A namespace of the container's. Its monitor holds a descriptor on each: one that leads through the process itself
    is refused where that is undumpable."""
    if kind not in state.namespaces:
        return None
    return _namespace(f"/proc/{state.monitor}/fd/{state.namespaces[kind]}")


def _namespace(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


def top(container: Container, options: Sequence[str]) -> Listing:
    """What the host's ps(1) tells of a container's processes.

    Args:
        options: ps's own; `-ef` where there are none. A column PID has to be among those they choose.

    Raises:
        ConflictError: the container does not run, or runs elsewhere.
        InvalidError: ps refused the options, or there is no way to tell the container's processes.
        UnavailableError: there is no ps.
    """
    options = list(options) or ["-ef"]
    for column, name in _RENAMED_COLUMN.findall(" " + " ".join(options)):
        if column != "pid":
            raise InvalidError(f'specifying "{column}={name}" is not allowed')
    state = container.state()
    if state.status not in ALIVE:
        raise ConflictError(f"container {container.id} is not running")
    if state.status == Status.RESTARTING:
        raise restarting(container.id)
    if state.machine_id != machine_id():
        raise ConflictError(f"container {container.name} is running on {state.host}", hint="look at it there")
    wanted = pids(state)
    # Of a machine's many processes only these are looked at; some options of ps don't go together with -q.
    chosen = f"-q{','.join(map(str, sorted(wanted)))}"
    return _select(_run_ps([*options, chosen]) or _run_ps(options, must=True), wanted)


def _run_ps(options: list[str], *, must: bool = False) -> str:
    """The output of ps; when it failed, empty, or an error with the first thing it said if it must not."""
    import subprocess

    # The lines go through a pipe, and must not be cut to the width of somebody's terminal.
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    try:
        done = subprocess.run(
            ["ps", *options], stdin=subprocess.DEVNULL, capture_output=True, env=environment, check=False
        )
    except FileNotFoundError:
        raise UnavailableError(
            "top needs the command ps", hint="an administrator can run: apt-get install procps"
        ) from None
    if done.returncode == 0:
        return done.stdout.decode(errors="replace")
    if must:
        said = next((line for line in done.stderr.decode(errors="replace").splitlines() if line), "it failed")
        raise InvalidError(f"ps: {said.removeprefix('error: ')}")
    return ""


def _select(output: str, wanted: set[int]) -> Listing:
    """The lines of the container's processes; a line without a pid (a thread, with `m`) belongs to the one before."""
    header, *lines = output.splitlines() or [""]
    titles = header.split()
    if "PID" not in titles:
        raise InvalidError("Couldn't find PID field in ps output", hint="let it show one, as -o pid,args does")
    column = titles.index("PID")
    listing, inside = Listing(titles, []), False
    for line in lines:
        # The last column may hold blanks.
        cells = line.split(maxsplit=len(titles) - 1)
        if len(cells) <= column:
            continue
        if cells[column] != "-":
            inside = cells[column].isdecimal() and int(cells[column]) in wanted
        if inside:
            listing.rows.append(cells)
    return listing
