"""`rootless rmi`, also `rootless image rm`."""

from __future__ import annotations

import sys

from ..errors import NotFoundError, RootlessError
from . import flags, image_common
from .context import Context
from .registry_options import one_platform_option, parse_platform


@flags.command("IMAGE [IMAGE...]", at_least=1)
@flags.option("-f", "--force", boolean=True, help="Force removal of the image")
@flags.option("--no-prune", "_no_prune", boolean=True, help="Do not delete untagged parents (there are none)")
@one_platform_option
@flags.argument("images", many=True)
def rmi(context: Context, images: tuple[str, ...], force: bool, _no_prune: bool, platform: str) -> int:
    """Remove one or more IMAGEs: their names, and what only they need."""
    from ..image.remove import remove

    made_for = parse_platform(platform)
    code = 0
    for text in images:
        try:
            removed = remove(
                context.images,
                text,
                lambda: image_common.uses(context),
                image_common.layers(context),
                force=force,
                platform=made_for,
            )
        except RootlessError as problem:
            # As in Docker, the others are removed all the same, and --force does not mind what is not there.
            print(f"rootless: {problem}", file=sys.stderr)
            if not (force and isinstance(problem, NotFoundError)):
                code = problem.exit_code
        else:
            print("\n".join(removed.lines()))
    return code
