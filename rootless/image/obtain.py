"""The image that a container is to be made of: the one that is here, or one that has to be pulled first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from ..errors import NotFoundError
from ..idmap import IdMap
from . import reference, shortnames
from .progress import Tell, silence
from .store import Image, ImageStore

if TYPE_CHECKING:
    from .pull import Options, Pulled

Policy = Literal["always", "missing", "never"]


def ensure(
    store: ImageStore,
    idmap: IdMap,
    text: str,
    policy: Policy = "missing",
    *,
    options: Callable[[], Options] | None = None,
    tell: Tell = silence,
    missing: Callable[[], object] = lambda: None,
) -> Image:
    """The image that `text` means, as `run --pull` says. Only in a process with one thread.

    trio is imported when something is pulled, and not before.

    Args:
        policy: pull `always`; when it is `missing`, or made for another platform than `options` name; or `never`.
        options: makes the options of a pull, when there is one.
        missing: called before an image is pulled because it is not here.

    Raises:
        NotFoundError: it is nowhere.
        ...: as `pull.pull`.
    """
    if policy != "always" or reference.digest_in(text):
        try:
            found = store.resolve(text)
        except NotFoundError:
            if policy == "never" or reference.digest_in(text):
                raise
        else:
            if policy == "never" or reference.digest_in(text) or _fits(found, options):
                return found
        missing()
    return fetch(store, idmap, text, options, tell).image


def _fits(image: Image, options: Callable[[], Options] | None) -> bool:
    """Whether an image is made for the platform that was asked for, if one was."""
    wanted = options().platform if options is not None else None
    config = image.config
    return wanted is None or (wanted.os, wanted.architecture) == (config.os, config.architecture)


def fetch(
    store: ImageStore, idmap: IdMap, text: str, options: Callable[[], Options] | None = None, tell: Tell = silence
) -> Pulled:
    """Pull what somebody typed. Only in a process with one thread.

    Raises:
        InvalidError: it is not a name.
        ...: as `pull.pull`.
    """
    from . import pull

    wanted = shortnames.expand(text)
    pulled = pull.pull(store, idmap, wanted, options() if options is not None else pull.OPTIONS, tell)
    store.emit("pull", pulled.name.familiar, pulled.name.familiar)
    return pulled
