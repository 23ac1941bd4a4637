"""The options that say how a container is connected."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ..container.network import Net
from ..network import choice
from .network_wishes import WISH_OPTIONS, read_wishes

_OPTIONS = WISH_OPTIONS


def network_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with all of them."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def read_network(given: dict[str, Any]) -> dict[str, Any]:
    """Take these options out of what a command was given, as fields of `spec.Options`."""
    mode, wishes, beside = read_wishes(given)
    warning = choice.without_way_out() if wishes else ""
    if mode in ("", "default", "bridge"):
        mode, warning = choice.default()
    if warning:
        print(f"rootless: warning: {warning}", file=sys.stderr)
    return {"network": mode, "net": Net(networks=wishes, ip=beside.ip, ip6=beside.ip6, mac=beside.mac)}
