"""`rootless commit`, also `rootless container commit`."""

from __future__ import annotations

from . import flags
from .context import Context


@flags.command("CONTAINER [REPOSITORY[:TAG]]", at_least=1, at_most=2)
@flags.option("-a", "--author", default="", metavar="STRING", help='Author (e.g., "Jane <jane@example.org>")')
@flags.option("-c", "--change", "changes", multiple=True, help="Apply Dockerfile instruction to the created image")
@flags.option("-m", "--message", default="", metavar="STRING", help="Commit message")
@flags.option("-p", "--pause", off="--no-pause", boolean=True, default=True, help="Pause container during commit")
@flags.argument("arguments", many=True)
def commit(
    context: Context, arguments: tuple[str, ...], author: str, changes: tuple[str, ...], message: str, pause: bool
) -> None:
    """Make an image of a CONTAINER's image and its changes, and print its id. What lies in volumes is not in it."""
    from ..container import commit as committing

    name, wanted = (*arguments, "")[:2]
    reference = committing.check_name(wanted)
    container = context.containers.resolve(name)
    image = committing.commit(
        context.images,
        container,
        context.engine.idmap,
        reference,
        author=author,
        message=message,
        changes=changes,
        pause=pause,
    )
    print(image.id)
