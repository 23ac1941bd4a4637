"""Short names that stand for an image of another registry than docker.io: the aliases of registries.conf."""

from __future__ import annotations

import msgspec

from ..errors import InvalidError
from ..registry import config
from . import reference
from .reference import Reference


def expand(text: str, registries: config.Registries | None = None) -> Reference:
    """What a name that somebody typed stands for.

    Raises:
        InvalidError: it is none; or the alias of registries.conf leads to none.
    """
    found = reference.parse(text)
    alias = (registries or config.load()).alias(found.familiar_name) if _is_short(text) else ""
    if not alias:
        return found
    try:
        full = reference.parse(alias)
    except InvalidError as problem:
        raise InvalidError(
            f"registries.conf has an alias for {found.familiar_name} that is no name: {problem}"
        ) from None
    return msgspec.structs.replace(full, tag=found.tag or full.tag, digest=found.digest)


def _is_short(text: str) -> bool:
    return not text.startswith((f"{reference.DEFAULT_DOMAIN}/", f"{reference.LEGACY_DOMAIN}/")) and (
        reference.parse(text).domain == reference.DEFAULT_DOMAIN
    )
