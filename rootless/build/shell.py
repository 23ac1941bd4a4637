"""`build --debug-shell`: a shell in the state that a failed step found."""

from __future__ import annotations

import os

from ..container import lifecycle
from ..container.container import Container, Hold
from ..container.engine import Engine
from ..container.environment import merge_environment
from ..container.record import Record, Spec, State, now
from ..container.spec import DEFAULT_PATH
from ..errors import NotFoundError
from ..network import choice
from ..runtime.launch import Started
from ..storage import drivers
from ..storage.layers import Layers
from . import layering
from .builder import StepError


def open_shell(engine: Engine, problem: StepError, network: str, *, terminal: bool, window: tuple[int, int]) -> Started:
    """Start a container of what was there before a step, with that step's environment, directory and user.

    It goes when the shell ends.

    Args:
        network: the build's.

    Raises:
        NotFoundError: nothing was there, not even a shell.
        CommandError: there is no shell in it.
    """
    draft = problem.draft
    if not draft.layers:
        raise NotFoundError("there is no shell: the stage has no files before this step", hint="it is FROM scratch")
    taken = drivers.choose(engine.driver, engine.paths.store, engine.idmap)
    container_id = os.urandom(32).hex()
    environment = merge_environment([DEFAULT_PATH, *(["TERM=xterm"] if terminal else [])], draft.run.env or [])
    shell = [*draft.shell][:1] or ["/bin/sh"]
    spec = Spec(
        image=draft.chain_id,
        image_id=draft.chain_id,
        argv=tuple(shell),
        env=(*environment, *problem.variables),
        workdir=draft.workdir,
        user=draft.run.user or "",
        hostname="debug",
        tty=terminal,
        stdin_open=True,
        auto_remove=True,
        network=choice.default()[0] if network == "default" else network,
    )
    links = Layers(engine.paths, engine.idmap).ensure(layering.sources(draft.layers), taken.layer_kind)

    def make(monitor: int) -> tuple[Container, Hold]:
        record = Record(
            id=container_id,
            name=f"debug-{container_id[:12]}",
            created=now(),
            spec=spec,
            driver=taken.driver.name,
            layers=tuple(links),
            idmap=engine.idmap.tag,
            owners=taken.owners,
        )
        return lifecycle.make(engine, record, State(monitor=monitor))

    return lifecycle.run(engine, make, attached=True, stdin=True, window=window)
