"""`rootless volume rm`."""

from __future__ import annotations

import sys

from ..container.volume_use import users
from ..errors import NotFoundError, RootlessError
from . import flags
from .context import Context
from .volume_common import volumes


@flags.command("VOLUME [VOLUME...]", at_least=1)
@flags.option("-f", "--force", boolean=True, help="Force the removal of one or more volumes")
@flags.argument("names", many=True)
def volume_rm(context: Context, /, names: tuple[str, ...], force: bool) -> int:
    """Remove the volumes NAMES and what is in them. One that a container has, running or not, stays."""
    context.containers.sweep()  # a --rm container that lost its monitor has no volume any more
    code = 0
    for name in names:
        try:
            volumes(context).remove(name, lambda name: users(context.containers).get(name, []))
        except RootlessError as problem:
            # As in Docker, --force does not mind what is not there, and prints its name.
            if not (force and isinstance(problem, NotFoundError)):
                print(f"rootless: {problem}", file=sys.stderr)
                code = 1
                continue
        print(name)
    return code
