"""`rootless create`."""

from __future__ import annotations

from typing import Any

from . import flags, streams
from .container_options import container_options, read_options
from .context import Context
from .obtain import obtain, obtain_options, read_obtain
from .resource_options import read_resources, resource_options
from .run import id_file
from .unheld_options import take_unheld, unheld_options


@flags.command("IMAGE [COMMAND] [ARG...]", at_least=1, interspersed=False)
@container_options
@resource_options
@unheld_options
@obtain_options
@flags.argument("image")
@flags.argument("command", many=True)
def create(context: Context, /, image: str, name: str, cidfile: str, **given: Any) -> None:
    """Create a new container from IMAGE, without starting it, and print its id."""
    from ..container import lifecycle

    unheld = take_unheld(given)
    resources = read_resources(given)
    wanted = read_obtain(given)
    options = read_options(detach=False, resources=resources, **given)
    with id_file(cidfile) as note:
        obtain(context, image, wanted)
        container = lifecycle.create(context.engine, options, image, name)
        note(container.id)
    streams.warn(unheld)
    print(container.id)
