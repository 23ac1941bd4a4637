"""The image that `run` and `create` shall use: pulled first, when it is not here or `--pull` says so."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
import msgspec

from .. import child
from ..container.host import NAME as HOST
from ..errors import NotFoundError
from ..idmap import detect
from . import progress
from .context import Context
from .registry_options import platform_option, pull_options, registry_options

if TYPE_CHECKING:
    from ..image.obtain import Policy

_PULL = click.option(
    "--pull",
    type=click.Choice(["always", "missing", "never"]),
    default="missing",
    help='Pull image before running ("always", "missing", "never")',
)
_QUIET = click.option("-q", "--quiet", is_flag=True, help="Suppress the pull output")


def obtain_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with the options that `obtain` takes."""
    for option in (_PULL, _QUIET, platform_option, registry_options):
        function = option(function)
    return function


class Wanted(msgspec.Struct, frozen=True):
    """What these options say."""

    pull: Policy
    quiet: bool
    platform: str
    tls_verify: bool | None
    authfile: str


def read_obtain(given: dict[str, Any]) -> Wanted:
    """Take these options out of what a command was given."""
    return Wanted(**{name: given.pop(name) for name in Wanted.__struct_fields__})


def obtain(context: Context, name: str, wanted: Wanted) -> None:
    """See that the image is in the store. `host` is no image of any store.

    A pull works in a child: it needs trio and threads, and a process that has had those must not fork a monitor.

    Raises:
        NotFoundError: it is nowhere, or was not to be pulled.
    """
    if name == HOST:
        return
    if wanted.pull != "always" and not wanted.platform:
        try:
            context.images.resolve(name)
        except NotFoundError:
            if wanted.pull == "never":
                raise
        else:
            return
    options = pull_options(context, wanted.platform, tls_verify=wanted.tls_verify, authfile=wanted.authfile)

    def missing() -> None:
        from ..image import reference

        print(f"Unable to find image '{reference.parse(name).tagged()}' locally", file=sys.stderr, flush=True)

    def work() -> None:
        from ..image.obtain import ensure

        with progress.shown(sys.stderr, quiet=wanted.quiet) as tell:
            ensure(context.images, detect(), name, wanted.pull, options=options, tell=tell, missing=missing)

    child.call(work, "the pull")
