"""What a build is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..image.reference import Reference
from ..image.spec import Platform
from .destination import Output
from .secrets import Agent, Secret

NETWORK_HOST = "network.host"
"""What `--allow` grants to `RUN --network=host`: BuildKit's name of the entitlement."""


@dataclass(frozen=True)
class Request:
    """The options of a build, read and checked.

    Attributes:
        names: what the image shall be called; empty for no name.
        network: of each RUN that says nothing else.
        allowed: what an instruction may ask for that not every Dockerfile gets.
        epoch: SOURCE_DATE_EPOCH, in seconds since 1970; None without.
        pull: get the base images even if they are here.
        cache_from: images whose steps may be used.
    """

    platform: Platform
    names: tuple[Reference, ...] = ()
    arguments: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    target: str = ""
    network: str = "default"
    allowed: frozenset[str] = frozenset()
    epoch: int | None = None
    no_cache: bool = False
    pull: bool = False
    squash: bool = False
    secrets: dict[str, Secret] = field(default_factory=dict)
    agents: dict[str, Agent] = field(default_factory=dict)
    cache_from: tuple[str, ...] = ()
    output: Output = field(default_factory=Output)
