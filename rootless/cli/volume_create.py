"""`rootless volume create`."""

from __future__ import annotations

from ..errors import UsageError
from . import flags
from .context import Context
from .volume_common import pairs, volumes


@flags.command("[VOLUME]", at_most=1)
@flags.option("-d", "--driver", default="local", metavar="STRING", help="Specify volume driver name")
@flags.option("--label", "labels", multiple=True, metavar="LIST", help="Set metadata for a volume")
@flags.option("--name", "flag_name", default="", hidden=True)
@flags.option("-o", "--opt", "options", multiple=True, metavar="MAP", help="Set driver specific options")
@flags.argument("name")
def volume_create(
    context: Context,
    /,
    name: str | None,
    driver: str,
    flag_name: str,
    labels: tuple[str, ...],
    options: tuple[str, ...],
) -> None:
    """Make a volume, named VOLUME or by a name that is made up, and print its name."""
    from ..container.mount_texts import plugin_missing
    from ..volumes.store import new_name

    if name and flag_name:
        raise UsageError(
            "conflicting options: cannot specify a volume-name through both --name and as a positional arg"
        )
    name = name or flag_name
    if driver != "local":
        raise plugin_missing(driver, name)
    store = volumes(context)
    with store.using():
        made = store.create(name or new_name(), labels=pairs(labels), options=pairs(options), anonymous=not name)
    print(made.name)
