"""`rootless tag`, also `rootless image tag`."""

from __future__ import annotations

from ..errors import InvalidError
from ..image import reference
from ..storage import digest
from . import flags
from .context import Context


@flags.command("SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", at_least=2, at_most=2)
@flags.argument("names", many=True)
def tag(context: Context, names: tuple[str, ...]) -> None:
    """Let a new name lead to an image."""
    source, target = names
    name = reference.parse(target).tagged()
    if name.digest:
        raise InvalidError("refusing to create a tag with a digest reference")
    if name.familiar_name in digest.ALGORITHMS:  # `sha256:<64 hex>` would be an id and a name at once
        raise InvalidError("refusing to create an ambiguous tag using digest algorithm as name")
    context.images.tag(context.images.resolve(source), name)
