"""`rootless rename`, also `rootless container rename`."""

from __future__ import annotations

from ..errors import InvalidError
from . import flags
from .context import Context


@flags.command("CONTAINER NEW_NAME", at_least=2, at_most=2)
@flags.argument("names", many=True)
def rename(context: Context, names: tuple[str, ...]) -> None:
    """Call a CONTAINER by a new name. It may run meanwhile."""
    old, new = (name.strip() for name in names)
    if not old.removeprefix("/") or not new.removeprefix("/"):
        raise InvalidError("Neither old nor new names may be empty")
    container = context.containers.resolve(old)
    context.containers.rename(container, new)
    container.emit("rename", oldName=f"/{container.name}", name=new.removeprefix("/"))
