"""`rootless wait`, also `rootless container wait`."""

from __future__ import annotations

import sys

from ..errors import RootlessError
from . import flags
from .context import Context


@flags.command("CONTAINER [CONTAINER...]", at_least=1)
@flags.argument("containers", many=True)
def wait(context: Context, containers: tuple[str, ...]) -> int:
    """Wait until each of the CONTAINERS has stopped, one after the other, and print its exit code."""
    from ..container import operate

    code = 0
    for name in containers:
        try:
            ended = operate.wait(context.containers.resolve(name))
        except RootlessError as problem:
            print(f"rootless: {problem}", file=sys.stderr)
            code = 1
        else:
            print(ended, flush=True)
    return code
