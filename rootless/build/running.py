"""RUN: one command in a container of its own, whose writable layer becomes the next layer of the image.

It is a container like any other, by the same specification, drivers and start, with two differences. The process that
builds the stage is its monitor, so that no further one has to be forked and none outlives the build; and listings leave
it out. If that process is killed, the kernel kills the container, and the next command removes what is left on disk as
it does after a killed monitor.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NoReturn

import msgspec

from .. import room
from ..container import lifecycle
from ..container.container import Container
from ..container.engine import Engine
from ..container.environment import merge_environment
from ..container.record import Record, Spec, State, now
from ..container.spec import DEFAULT_PATH
from ..errors import RootlessError
from ..image.pins import Pin
from ..image.store import Layer
from ..runtime import stage
from ..runtime.bundle import assemble
from ..runtime.channel import Channel
from ..runtime.confinement import Confinement
from ..runtime.networking import Networking
from ..runtime.program import Stdio
from ..runtime.rootfs import Operation
from ..runtime.start import Running, begin
from ..runtime.watch import reap
from ..storage import drivers
from ..storage.layers import Layers
from . import layering

HOSTNAME = "buildkitsandbox"
"""What Docker's builds see as their machine's name; a build may have learnt to expect it."""

CHUNK = 1 << 16


@dataclass(frozen=True)
class Command:
    """What a RUN wants.

    Attributes:
        secrets: variables that must not be written down.
        network: the mode, in the words of a container's spec.
        operations: what is mounted beside the root file system.
    """

    argv: tuple[str, ...]
    env: tuple[str, ...]
    workdir: str
    user: str
    network: str
    privileged: bool = False
    secrets: tuple[str, ...] = ()
    operations: tuple[Operation, ...] = ()


class FailedCommand(RootlessError):
    """The command of a RUN ended with another code than 0."""

    def __init__(self, argv: Sequence[str], code: int) -> None:
        super().__init__(f'process "{" ".join(argv)}" did not complete successfully: exit code: {code}')
        self.code = code


class Runner:
    """Runs the commands of one stage, in the process that builds it."""

    def __init__(self, engine: Engine, pin: Pin) -> None:
        self._engine = engine
        self._pin = pin
        self._choice = drivers.choose(engine.driver, engine.paths.store, engine.idmap)
        self._layers = Layers(engine.paths, engine.idmap)
        self._room = -1

    def links(self, layers: Sequence[Layer]) -> list[str]:
        """The layers, unpacked, as a driver wants them: one at least."""
        if not layers:
            with layering.new_layer(self._engine.images, self._pin) as sink:
                sink.write(bytes(1024))  # an archive of nothing (tar(5))
                layers = [sink.finish(())]
        return self._layers.ensure(layering.sources(layers), self._choice.layer_kind)

    @contextmanager
    def container(self, below: Sequence[Layer], command: Command) -> Iterator[Container]:
        """A container for one command, until the end of the block."""
        record = self._record(below, command)
        container, hold = lifecycle.make(self._engine, record, State(monitor=os.getpid()))
        with hold:
            try:
                yield container
            finally:
                self._engine.containers.remove(container)

    def _record(self, below: Sequence[Layer], command: Command) -> Record:
        container_id = os.urandom(32).hex()
        spec = Spec(
            image=below[-1].chain_id if below else "scratch",
            image_id=below[-1].chain_id if below else "",
            argv=command.argv,
            env=merge_environment([DEFAULT_PATH], command.env),
            workdir=command.workdir,
            user=command.user,
            hostname=HOSTNAME,
            auto_remove=True,
            network=command.network,
            privileged=command.privileged,
        )
        return Record(
            id=container_id,
            name=f"build-{container_id[:12]}",
            created=now(),
            spec=spec,
            driver=self._choice.driver.name,
            layers=tuple(self.links(below)),
            idmap=self._engine.idmap.tag,
            owners=self._choice.owners,
            build=True,
        )

    def execute(self, container: Container, command: Command, output: Callable[[int, bytes], None]) -> None:
        """Run the command to its end.

        Args:
            output: is given what it writes, by stream.

        Raises:
            FailedCommand: it ended with another code than 0.
            RootlessError: it could not be started.
        """
        if self._room < 0:
            self._room = room.open_room(self._engine.paths, self._engine.idmap, hold=True)
        confinement = Confinement(container, self._engine.idmap)
        networking = Networking(container, self._engine.idmap, self._room)
        try:
            with confinement:
                running = self._begin(container, command, confinement, networking)
            code = _follow(running, output)
        finally:
            networking.detach()
            confinement.close()
        if code:
            raise FailedCommand(command.argv, code)

    def _begin(
        self, container: Container, command: Command, confinement: Confinement, networking: Networking
    ) -> Running:
        engine = self._engine
        bundle = assemble(
            engine.paths, container, engine.idmap, (24, 80), debug=engine.debug, cgroup=confinement.directory
        )
        program = msgspec.structs.replace(bundle.program, env=(*bundle.program.env, *command.secrets))
        bundle = msgspec.structs.replace(bundle, program=program, plan=(*bundle.plan, *command.operations))

        def body(stdio: Stdio, channel: Channel) -> NoReturn:
            stage.run(bundle, stdio, self._room, channel, confinement.outside)

        company = (networking,)
        try:
            networking.prepare()
            return begin(body, bundle.program, None, keep_namespaces=True, fork=confinement.fork, company=company)
        finally:
            bundle.sharing.close()

    def layer(self, container: Container, below: Sequence[Layer], epoch: int | None) -> Layer:
        """The layer that a container's changes are."""
        from ..container import changed
        from ..container.commit import commit_layer

        reader = changed.reader(container, self._engine.idmap)
        diff_ids = [layer.diff_id for layer in below]
        return commit_layer(self._engine.images, self._pin, reader, diff_ids, latest=epoch)

    def close(self) -> None:
        """No further command."""
        if self._room >= 0:
            room.forget(self._engine.paths, self._engine.idmap)
            os.close(self._room)
            self._room = -1


def _follow(running: Running, output: Callable[[int, bytes], None]) -> int:
    """Pass on what the command writes until it has ended; its exit code. Whatever is raised ends the command."""
    try:
        poll = select.poll()
        poll.register(running.pidfd, select.POLLIN)
        streams = {fd: number for number, fd in running.outputs.items()}
        for fd in streams:
            poll.register(fd, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poll.poll()]
            if running.pidfd in ready:
                break
            for fd in ready:
                if data := os.read(fd, CHUNK):
                    output(streams[fd], data)
                else:
                    poll.unregister(fd)
    finally:
        code = reap(running)
        os.close(running.pidfd)
        if running.server_pidfd >= 0:
            os.close(running.server_pidfd)
    for fd, number in streams.items():
        _drain(fd, number, output)
        os.close(fd)
    return code


def _drain(fd: int, number: int, output: Callable[[int, bytes], None]) -> None:
    """What was written before the end: every process of the pid namespace is dead."""
    os.set_blocking(fd, False)
    with suppress(BlockingIOError):
        while data := os.read(fd, CHUNK):
            output(number, data)
