"""The verbs of a container's life, for the command line and for whoever calls the engine as a library."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from .. import atomic, idmap
from ..errors import ConflictError, NotFoundError
from ..idmap import IdMap
from ..image import pins
from ..image.store import Image, ImageStore
from ..kernel.process import machine_id
from ..paths import Paths
from ..runtime import control, keeper, launch, stream
from ..storage import drivers
from ..storage.driver import StorageDriver
from ..storage.layers import Layers, LayerSource, let_through
from . import names, signals, spec
from .container import Container, Hold, kill_if_same, signal_if_same
from .record import Record, State, now
from .state import ALIVE, Status
from .store import Containers

KILL_TIMEOUT = 10.0
"""Seconds in which a killed container's monitor has to finish."""

MONITOR_TIMEOUT = 5.0
"""Seconds in which a monitor has to answer."""


@dataclass(frozen=True)
class Engine:
    """One caller's engine: the stores under its two roots, each opened when it is first used."""

    paths: Paths
    driver: str = "auto"
    debug: bool = False

    @cached_property
    def idmap(self) -> IdMap:
        return idmap.detect()

    @cached_property
    def images(self) -> ImageStore:
        return ImageStore(self.paths)

    @cached_property
    def containers(self) -> Containers:
        return Containers(self.paths)


Maker = Callable[[int], tuple[Container, Hold]]
"""Makes a container when it is called, and holds its lock. The argument is the pid of the monitor that will start it
(0: none will now): that monitor makes it itself, so that a command which was killed before leaves nothing."""


@contextmanager
def plan(engine: Engine, options: spec.Options, image_name: str, name: str = "") -> Iterator[Maker]:
    """Check everything that can be checked before a container exists, unpack what is not unpacked yet.

    Until the end of the block the image can't be removed: a container that is being made is not seen yet.

    Raises:
        NotFoundError: no such image.
        UsageError: an option that makes no sense.
    """
    if name:
        name = names.validate(name)
    container_id = os.urandom(32).hex()
    driver = drivers.choose(engine.driver, engine.paths.store).driver
    with pins.hold(engine.paths) as pin:
        image = engine.images.resolve(image_name)
        pin.add(image.id, *image.chain_ids)
        wanted = spec.build(options, image, image_name, container_id)
        layers = _unpacked(engine, image, driver)

        def make(monitor: int) -> tuple[Container, Hold]:
            record = Record(
                id=container_id,
                name=name or engine.containers.names.free(),
                created=now(),
                spec=wanted,
                driver=driver.name,
                layers=tuple(layers),
                idmap=engine.idmap.tag,
            )
            return _make(engine, record, State(monitor=monitor))

        yield make


def _unpacked(engine: Engine, image: Image, driver: StorageDriver) -> list[str]:
    sources = [LayerSource(layer.diff_id, layer.blob.digest) for layer in image.layers]
    return Layers(engine.paths, engine.idmap).ensure(sources, driver.layer_kind)


def _make(engine: Engine, record: Record, state: State) -> tuple[Container, Hold]:
    """Put the container's directory together under tmp/ and publish it."""
    draft = atomic.new_name(engine.paths.tmp, record.id)
    draft.mkdir(mode=0o700, parents=True)
    try:
        for directory in engine.paths.containers, draft:
            let_through(directory, engine.idmap)
        _write_files(draft, record, engine)
        return engine.containers.publish(record, draft, state)
    except BaseException:
        _discard(draft)
        raise


def _write_files(draft: Path, record: Record, engine: Engine) -> None:
    owner = (engine.idmap.uids[0].outside, engine.idmap.gids[0].outside)
    top = (engine.paths.store / record.layers[0]).stat()
    hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    for directory, mode in ("upper", top.st_mode & 0o7777), ("work", 0o700), ("root", 0o755):
        (draft / directory).mkdir()
        (draft / directory).chmod(mode)
    files = {"hosts": hosts, "hostname": record.spec.hostname + "\n", "resolv.conf": _resolv_conf()}
    for name, text in files.items():
        (draft / name).write_text(text)
        (draft / name).chmod(0o644)
    if os.geteuid() != owner[0]:  # real root's containers belong to a subordinate id
        for name in ("upper", "work", *files):
            os.chown(draft / name, *owner)


def _resolv_conf() -> str:
    try:
        return Path("/etc/resolv.conf").read_text()
    except OSError:
        return ""


def _discard(draft: Path) -> None:
    """Remove a draft that holds nothing but what `_write_files` made."""
    for path in sorted(draft.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    draft.rmdir()


def create(engine: Engine, options: spec.Options, image_name: str, name: str = "") -> Container:
    """Make a container and do not start it."""
    with plan(engine, options, image_name, name) as make:
        container, hold = make(0)
    hold.release()
    return container


def run(engine: Engine, maker: Maker, *, attached: bool, stdin: bool, window: tuple[int, int]) -> launch.Started:
    """Make and start a container under a monitor of its own. See `launch.launch`."""

    def prepare() -> tuple[Container, Hold]:
        return maker(os.getpid())

    order = keeper.Order(engine.paths, prepare, fresh=True, attached=attached, stdin=stdin, window=window)
    return launch.launch(replace(order, debug=engine.debug))


def start(
    engine: Engine, container: Container, *, attached: bool, stdin: bool, window: tuple[int, int]
) -> launch.Started | None:
    """Start a container that does not run; None when it runs already.

    Raises:
        ConflictError: another command is at work on it, or it is being removed.
        RootlessError, CommandError: as `launch.launch`.
    """
    if container.state().status in ALIVE:
        return None

    def prepare() -> tuple[Container, Hold]:
        return container, container.hold("start")

    order = keeper.Order(engine.paths, prepare, fresh=False, attached=attached, stdin=stdin, window=window)
    return launch.launch(replace(order, debug=engine.debug))


def attach(engine: Engine, container: Container, *, stdin: bool) -> stream.Connection:
    """Attach to a running container.

    Raises:
        ConflictError: it is stopped or paused; in Docker's words.
    """
    status = container.state().status
    if status == Status.PAUSED:
        raise ConflictError("You cannot attach to a paused container, unpause it first")
    if status not in ALIVE:
        raise ConflictError("You cannot attach to a stopped container, start it first")
    connection = control.attach(engine.paths, container.id, stdin=stdin)
    container.emit("attach")
    return connection


def stop(engine: Engine, container: Container, number: int | None = None, timeout: float | None = None) -> None:
    """Send the stop signal, and SIGKILL if that does not end the container in time. Returns when it has ended.

    Args:
        number: the signal; None for the container's own, SIGTERM if it has none.
        timeout: seconds until SIGKILL, -1 for never; None for the container's own.
    """
    status = container.state().status
    if status not in ALIVE:
        return
    if status == Status.PAUSED:
        unpause(engine, container)  # or it could not do anything about the signal
    if number is None:
        number = _stop_signal(container)
    if timeout is None:
        timeout = container.spec.stop_timeout
    connection = _ask_to_stop(engine, container, number, timeout)
    if connection is not None:
        connection.receive()
        connection.close()
        container.emit("stop")


def _ask_to_stop(engine: Engine, container: Container, number: int, timeout: float) -> stream.Connection | None:
    """Have the monitor stop its container for good; the connection on which it tells the end, None if it has ended.

    Raises:
        ConflictError: its monitor does not answer.
    """
    deadline = time.monotonic() + MONITOR_TIMEOUT
    while container.state().status in ALIVE:
        with suppress(ConflictError, TimeoutError):  # nobody listens in this moment
            connection = control.ask(engine.paths, container.id, stream.Stop(number, timeout))
            connection.messages.settimeout(MONITOR_TIMEOUT)
            if isinstance(connection.receive(), stream.Done):
                connection.messages.settimeout(None)
                return connection
            connection.close()
        if time.monotonic() > deadline:
            raise ConflictError(f"the monitor of container {container.name} does not answer", hint="try rm --force")
        time.sleep(0.01)
    return None


def restart(
    engine: Engine,
    container: Container,
    number: int | None,
    timeout: float | None,
    window: tuple[int, int],
) -> launch.Started | None:
    """Stop a container, if it runs, and start it again, detached. As `start`."""
    stop(engine, container, number, timeout)
    with container.hold("restart", wait=KILL_TIMEOUT):
        pass  # its monitor has told the end and is on its way out
    started = start(engine, container, attached=False, stdin=False, window=window)
    container.emit("restart")
    return started


def kill(engine: Engine, container: Container, number: int) -> None:
    """Send PID 1 a signal. One that ends the container also keeps its restart policy from starting it again.

    Raises:
        ConflictError: it does not run; in Docker's words.
    """
    state = container.state()
    final = number in (signal.SIGKILL, _stop_signal(container))
    if final and container.spec.restart != "no" and state.status in ALIVE:
        if (connection := _ask_to_stop(engine, container, number, -1)) is not None:
            connection.close()
    elif state.status not in ALIVE or not signal_if_same(state.pid, state.pid_started, number):
        raise ConflictError(f"cannot kill container: {container.name}: container {container.id} is not running")
    container.emit("kill", signal=str(number))


def _kill_for_good(engine: Engine, container: Container) -> None:
    """SIGKILL by the monitor, so that no policy starts it again; a monitor that does not answer is killed as well."""
    try:
        stop(engine, container, signal.SIGKILL, -1)
    except ConflictError:
        state = container.stored_state()
        kill_if_same(state.monitor, state.monitor_started)
        kill_if_same(state.pid, state.pid_started)


def _stop_signal(container: Container) -> int:
    text = container.spec.stop_signal
    return signals.parse(text) if text else int(signal.SIGTERM)


def pause(engine: Engine, container: Container) -> None:
    """Let no process of a container run until `unpause`.

    Raises:
        ConflictError: it does not run, or is paused already.
    """
    _ask(engine, container, stream.Pause())


def unpause(engine: Engine, container: Container) -> None:
    """Let the processes of a paused container run again.

    Raises:
        ConflictError: it is not paused.
    """
    _ask(engine, container, stream.Unpause())


def _ask(engine: Engine, container: Container, request: stream.Pause | stream.Unpause) -> None:
    connection = control.ask(engine.paths, container.id, request)
    answer = connection.receive()
    connection.close()
    if isinstance(answer, stream.Refused):
        raise ConflictError(answer.message)


def wait(engine: Engine, container: Container) -> int:
    """Wait for the end of a container; its exit code. One that does not run gives its last one at once."""
    while (state := container.state()).status in ALIVE:
        with suppress(ConflictError):
            connection = control.ask(engine.paths, container.id, stream.Wait())
            answer = connection.receive()
            connection.close()
            if isinstance(answer, stream.Exited):
                return answer.exit_code
        # Nobody listens in this moment, or the monitor was killed and has not let go of its lock yet.
        time.sleep(0.01)
    return state.exit_code


def remove(engine: Engine, container: Container, *, force: bool = False) -> None:
    """Remove a container; with `force` also one that runs, which is killed first.

    Raises:
        ConflictError: it is running; in Docker's words.
        StoreError: something of it can't be removed.
    """
    state = container.state()
    if state.status in ALIVE:
        if state.machine_id != machine_id():
            raise ConflictError(f"container {container.name} is running on {state.host}", hint="remove it from there")
        if not force:
            raise ConflictError(
                f'cannot remove container "/{container.name}": container is {state.status}',
                hint="stop the container before removing or force remove",
            )
        _kill_for_good(engine, container)
    try:
        with container.hold("remove", wait=KILL_TIMEOUT if force else 0):
            engine.containers.remove(container)
    except NotFoundError:
        if not force:  # with --rm its own monitor was faster
            raise
