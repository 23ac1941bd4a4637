"""Which network a mode stands for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..container.network import OWN
from ..errors import UnavailableError
from .setup import Ask, Network, Unconnected

if TYPE_CHECKING:
    from ..container.record import Spec
    from .holding import Holding
    from .store import Networks

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
            if not options and not _pasta_starts():
                return _slirp(ask, "")
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
    from .bridged import Bridged
    from .holding import Holding

    return Bridged(ask, way_out(ask), holding or Holding(ask.paths, ask.idmap))


def way_out(ask: Ask) -> Network:
    """What leads a container on named networks to the outside, beside their bridges: as without them, or nothing."""
    from .store import Networks

    spec = ask.record.spec
    if not leads_out(spec, Networks(ask.paths)):
        return Unconnected()
    if spec.net.egress:
        from .egress import Egress

        return Egress(ask, WAY_OUT)
    kind, _, options = spec.network.partition(":")
    if kind == "slirp4netns" or not on_path("pasta") or not _pasta_starts():
        from .slirp import Slirp

        program = on_path("slirp4netns")
        return Slirp(ask, program, options if kind == "slirp4netns" else "", WAY_OUT) if program else Unconnected()
    from .pasta import Pasta

    given = f"{options}," if kind == "pasta" and options else ""
    return Pasta(ask, find("pasta"), f"{given}--ns-ifname={WAY_OUT}")


def leads_out(spec: Spec, networks: Networks) -> bool:
    """Whether a container on named networks shall reach the outside: by one of them, or as it was made."""
    made = spec.network.partition(":")[0] in OWN
    return made or any(not networks.load(wish.name).internal for wish in spec.net.networks)


def _pasta_starts() -> bool:
    """pasta does not start on a machine without a way out; slirp4netns does."""
    from . import host

    return bool(host.address()) or host.has_ipv6() or not on_path("slirp4netns")


def without_way_out() -> str:
    """Why containers on named networks reach nothing outside here; empty if they do."""
    if on_path("pasta") or on_path("slirp4netns"):
        return ""
    return f"the container reaches nothing outside: pasta is not installed; {INSTALL}"


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
