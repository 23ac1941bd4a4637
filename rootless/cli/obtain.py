"""The image that `run` and `create` shall use: pulled first, when it is not here or `--pull` says so."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from .. import child
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


def obtain(
    context: Context,
    name: str,
    *,
    pull: Policy,
    quiet: bool,
    platform: str,
    tls_verify: bool | None,
    authfile: str,
) -> None:
    """See that the image is in the store.

    A pull works in a child: it needs trio and threads, and a process that has had those must not fork a monitor.

    Raises:
        NotFoundError: it is nowhere, or `pull` is never.
    """
    options = pull_options(context, platform, tls_verify=tls_verify, authfile=authfile)

    def missing() -> None:
        print(f"Unable to find image '{name}' locally", file=sys.stderr, flush=True)

    def work() -> None:
        from ..image import obtain as image_obtain

        with progress.shown(sys.stderr, quiet=quiet) as tell:
            image_obtain.ensure(context.images, detect(), name, pull, options=options, tell=tell, missing=missing)

    if pull != "always" and not platform:
        try:
            context.images.resolve(name)
        except NotFoundError:
            if pull == "never":
                raise
        else:
            return
    child.call(work, "the pull")
