"""`rootless run`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import InvalidError, UsageError
from ..paths import Paths, private_directory
from . import streams
from .container_options import container_options, read_options
from .context import Context
from .obtain import obtain, obtain_options, read_obtain
from .options import Command
from .resource_options import read_resources, resource_options
from .unheld_options import take_unheld, unheld_options

if TYPE_CHECKING:
    from ..container.engine import Engine


@click.command(
    cls=Command,
    at_least=1,
    interspersed=False,
    failure=125,
    passes_code=True,
    short_help="Create and run a new container from an image",
)
@click.option("-d", "--detach", is_flag=True, help="Run container in background and print container ID")
@click.option("--sig-proxy/--no-sig-proxy", default=True, help="Proxy received signals to the process")
@streams.detach_keys_option
@container_options
@resource_options
@unheld_options
@obtain_options
@click.argument("image", required=False)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND] [ARG...]")
@click.pass_context
def run(
    ctx: click.Context,
    /,
    image: str,
    detach: bool,
    sig_proxy: bool,
    detach_keys: str,
    name: str,
    cidfile: str,
    **given: Any,
) -> int:
    """Create and run a new container from IMAGE, with COMMAND in the place of the image's own."""
    from ..container import lifecycle
    from ..runtime.attach import Detached
    from ..runtime.forwarding import Signals

    context: Context = ctx.obj
    unheld = take_unheld(given)
    resources = read_resources(given)
    wanted = read_obtain(given)
    options = read_options(detach=detach, resources=resources, **given)
    if detach and options.attach:
        raise UsageError("conflicting options: cannot specify both --attach and --detach")
    streams.parse_keys(detach_keys)
    stdin, outputs = streams.taken_part_in(options.attach)
    stdin = stdin and options.interactive and not detach
    streams.require_terminal(tty=options.tty, interactive=stdin)
    with Signals(proxy=sig_proxy and not detach) as signals:
        with id_file(cidfile) as note:
            obtain(context, image, wanted)
            engine = context.engine
            if engine.idmap.single:
                reason = engine.idmap.reason
                _say_once(context.paths, f"there is only one id in the container, everything is its root's: {reason}")
            window, container_id = streams.window(), lifecycle.new_id()
            with (
                lifecycle.plan(engine, options, image, name, container_id) as maker,
                _noting(engine, container_id, note),
            ):
                started = lifecycle.run(engine, maker, attached=not detach, stdin=stdin, window=window, signals=signals)
        streams.warn((*unheld, *started.warnings))
        if detach or not outputs:
            print(started.container_id, flush=True)
        if detach:
            return 0
        try:
            return streams.attach(
                started.connection, signals, stdin=stdin, terminal=options.tty, keys=detach_keys, outputs=outputs
            )
        except Detached:
            return 0


@contextmanager
def id_file(path: str) -> Iterator[Callable[[str], None]]:
    """The file of `--cidfile` ("" for none), made before the container is, and taken away again when none comes of it.

    Gives the function that writes the id into it.

    Raises:
        UsageError: it is there. As in Docker, a file with another container's id is never overwritten.
        InvalidError: it can't be made.
    """
    if not path:
        yield lambda _: None
        return
    try:
        file = open(path, "x")
    except FileExistsError:
        message = f"container ID file found, make sure the other container isn't running or delete {path}"
        raise UsageError(message) from None
    except OSError as problem:
        reason = (problem.strerror or "").lower()
        raise InvalidError(f"failed to create the container ID file: open {path}: {reason}") from problem
    noted = False

    def note(container_id: str) -> None:
        nonlocal noted
        noted = True
        try:
            file.write(container_id)
            file.flush()
        except OSError as problem:
            print(f"rootless: warning: the id {container_id} was not written: {problem}", file=sys.stderr)

    try:
        yield note
    finally:
        with suppress(OSError):
            file.close()
        if not noted:
            Path(path).unlink(missing_ok=True)


@contextmanager
def _noting(engine: Engine, container_id: str, note: Callable[[str], None]) -> Iterator[None]:
    """Note the id of a container that is made in this block. As in Docker, one that could not be started stays."""
    try:
        yield
    except BaseException:
        if container_id in engine.containers.ids():
            note(container_id)
        raise
    note(container_id)


def _say_once(paths: Paths, text: str) -> None:
    """A warning that is true of every container here: said by the first one, and again after the next boot."""
    said = private_directory(paths.run) / "said-one-id"
    if not said.exists():
        said.touch()
        print(f"rootless: warning: {text}", file=sys.stderr)
