"""The options of every command that talks to a registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..image.pull import Options
    from ..image.spec import Platform
    from .context import Context

_OPTIONS = (
    click.option("--tls-verify/--no-tls-verify", default=None, help="Require a trusted certificate of the registry"),
    click.option("--authfile", default="", metavar="FILE", help="Path of the authentication file"),
)

platform_option = click.option(
    "--platform", default="", metavar="OS/ARCH", help="Set platform if server is multi-platform capable"
)


one_platform_option = click.option(
    "--platform", default="", metavar="OS/ARCH", help="Fail where an image is not for this platform"
)
"""Of commands about images that are here: each of these is for one platform."""


def parse_platform(text: str) -> Platform | None:
    """What `--platform` says; None for nothing.

    Raises:
        InvalidError: not a platform, or several.
    """
    from ..errors import InvalidError
    from ..image import spec

    if "," in text:
        raise InvalidError(f"{text!r} are several platforms", hint="each image here is for one: name that")
    return spec.parse_platform(text) if text else None


def registry_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with all of them."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def pull_options(context: Context, platform: str, *, tls_verify: bool | None, authfile: str) -> Callable[[], Options]:
    """What makes the options of a pull; what was typed is checked at once, trio imported only when it is called.

    Raises:
        InvalidError: not a platform.
    """
    from ..storage import drivers

    made_for = parse_platform(platform)
    kind = drivers.choose(context.driver, context.paths.store, context.engine.idmap).layer_kind

    def make() -> Options:
        from ..image.pull import Options

        return Options(platform=made_for, verify=tls_verify, authfile=authfile, kind=kind)

    return make
