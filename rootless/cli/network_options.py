"""The options that say how a container is connected."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from ..container.network import RESERVED, Net, Wish
from ..network import choice

_OPTIONS = (click.option("--network", "--net", default="", metavar="NETWORK", help="Connect a container to a network"),)


def network_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with all of them."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def read_network(given: dict[str, Any]) -> dict[str, Any]:
    """Take these options out of what a command was given, as fields of `spec.Options`."""
    mode = given.pop("network")
    if mode in ("", "default", "bridge"):
        mode, warning = choice.default()
        if warning:
            print(f"rootless: warning: {warning}", file=sys.stderr)
    named = () if mode.partition(":")[0] in RESERVED else (Wish(name=mode),)
    return {"network": mode, "net": Net(networks=named)}
