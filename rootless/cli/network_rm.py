"""`rootless network rm`."""

from __future__ import annotations

import sys

from ..errors import NotFoundError, RootlessError
from ..network.store import Networks, refuse_predefined
from . import flags
from .context import Context


@flags.command("NETWORK [NETWORK...]", at_least=1)
@flags.option("-f", "--force", boolean=True, help="Do not error if the network does not exist")
@flags.argument("names", many=True)
def network_rm(context: Context, /, names: tuple[str, ...], force: bool) -> int:
    """Remove one or more networks, by NAMES or ids. One that a running container is on stays."""
    context.containers.sweep()  # a container that lost its monitor is on no network any more
    code = 0
    for name in names:
        try:
            _remove(context, name)
        except RootlessError as problem:
            if force and isinstance(problem, NotFoundError):
                continue
            print(f"rootless: {problem}", file=sys.stderr)
            code = 1
        else:
            print(name)
    return code


def _remove(context: Context, name: str) -> None:
    from ..network.remove import remove

    refuse_predefined(name)
    remove(Networks(context.paths), name)
