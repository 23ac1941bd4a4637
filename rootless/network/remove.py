"""Removing networks: one that is named, or all that nobody uses."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from ..container.store import Containers
from ..errors import NotFoundError, RootlessError
from . import switch
from .record import Network
from .store import Networks


def remove(networks: Networks, text: str) -> None:
    """Remove the network of a name or id.

    Raises:
        NotFoundError: there is none.
        ConflictError: a running container is on it.
    """
    with networks.lock():
        networks.remove(networks.resolve(text))
        with suppress(OSError, RootlessError):  # no process to be had: the bridge goes with the next one, or the switch
            switch.tidy(networks.paths, networks.all())


def prune(
    networks: Networks, containers: Containers, chosen: Callable[[Network], bool]
) -> tuple[list[str], list[RootlessError]]:
    """Remove every network of these that no container is made for, whether it runs or not.

    Returns:
        The names of those that are gone, and why others stayed that should be.
    """
    removed: list[str] = []
    failures: list[RootlessError] = []
    used = {wish.name for container in containers.all() for wish in container.spec.net.networks}
    for network in networks.all():
        if network.name in used or not chosen(network):
            continue
        try:
            remove(networks, network.id)
        except NotFoundError:
            continue
        except RootlessError as problem:
            failures.append(problem)
        else:
            removed.append(network.name)
    return removed, failures
