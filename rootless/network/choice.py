"""Which network a mode stands for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import UnavailableError
from .setup import Ask, Network, Unconnected

if TYPE_CHECKING:
    from .holding import Holding

WAY_OUT = "pasta0"
"""The interface to the outside of a container on named networks, where eth0 and so on are those networks."""

INSTALL = "an administrator can run: apt-get install passt"


def network(ask: Ask, holding: Holding | None = None) -> Network:
    """The network of a container that is about to start.

    Args:
        holding: where its monitor keeps what it holds for named networks.

    Raises:
        NotFoundError: there is none of this name; in Docker's words.
        UnavailableError: a program that it takes is missing.
    """
    if ask.record.spec.net.networks:
        return _named(ask, holding)
    kind, _, options = ask.record.spec.network.partition(":")
    match kind:
        case "none" | "host" | "container":
            return Unconnected()
        case "pasta":
            from . import host

            if not options and not (host.address() or host.has_ipv6()) and on_path("slirp4netns"):
                return _slirp(ask, "")  # pasta does not start on a machine without a way out
            from .pasta import Pasta

            return Pasta(ask, find("pasta"), options)
        case "slirp4netns":
            return _slirp(ask, options)
        case "egress":
            from .egress import Egress

            return Egress(ask)
        case _:
            return Unconnected()  # it has been disconnected from all that it was made for


def _slirp(ask: Ask, options: str) -> Network:
    from .slirp import Slirp

    return Slirp(ask, find("slirp4netns"), options)


def _named(ask: Ask, holding: Holding | None) -> Network:
    """Bridges, and beside them pasta: but on networks that lead nowhere there is no way out."""
    from .bridged import Bridged
    from .holding import Holding
    from .store import Networks

    holding = holding or Holding(ask.paths, ask.idmap)
    networks = Networks(ask.paths)
    internal = all(networks.load(wish.name).internal for wish in ask.record.spec.net.networks)
    if ask.record.spec.net.egress and not internal:
        from .egress import Egress

        return Bridged(ask, Egress(ask, WAY_OUT), holding)
    if internal or without_way_out():
        return Bridged(ask, Unconnected(), holding)
    from .pasta import Pasta

    return Bridged(ask, Pasta(ask, find("pasta"), f"--ns-ifname={WAY_OUT}"), holding)


def without_way_out() -> str:
    """Why containers on named networks reach nothing outside here; empty if they do."""
    return "" if on_path("pasta") else f"the container reaches nothing outside: pasta is not installed; {INSTALL}"


def default() -> tuple[str, str]:
    """The mode of a container for which none was named, and a line for the user if that is less than usual."""
    if on_path("pasta"):
        return "pasta", ""
    if on_path("slirp4netns"):
        return "slirp4netns", ""
    return "none", f"the container has no network: pasta is not installed; {INSTALL}"


def find(program: str) -> str:
    """Where a program is.

    Raises:
        UnavailableError: it is not there.
    """
    path = on_path(program)
    if not path:
        package = "passt" if program == "pasta" else program
        raise UnavailableError(
            f"{program} is not installed", hint=f"an administrator can run: apt-get install {package}"
        )
    return path


def on_path(program: str) -> str:
    """Its path; empty when it is not on $PATH. (shutil.which costs 5 ms to import.)"""
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(directory, program)
        if os.access(path, os.X_OK):
            return path
    return ""
