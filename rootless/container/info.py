"""What `rootless info` tells: what there is, what it stands on, and why."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import __version__
from ..idmap import Extent, IdMap
from ..network import choice as network_choice
from ..network import host as network_host
from ..runtime.logs import DRIVERS as LOG_DRIVERS
from ..storage import drivers
from .engine import Engine
from .state import Status


def system_info(engine: Engine) -> dict[str, Any]:
    """The engine and this machine, under Docker's keys; what Docker doesn't have stands under `Rootless`."""
    states = Counter(state.status for _, state in engine.containers.survey())
    choice = drivers.choose(engine.driver, engine.paths.store, engine.idmap)
    system = os.uname()
    return {
        "Containers": states.total(),
        "ContainersRunning": states[Status.RUNNING] + states[Status.RESTARTING],
        "ContainersPaused": states[Status.PAUSED],
        "ContainersStopped": sum(states[s] for s in (Status.CREATED, Status.EXITED, Status.DEAD, Status.REMOVING)),
        "Images": len(engine.images.all()),
        "Driver": choice.driver.name,
        "DriverStatus": [
            ["Reason", choice.reason],
            ["Ownership", choice.owners],
            ["Backing Filesystem", drivers.file_system(engine.paths.store)],
            *([name, why or "can serve, too"] for name, why in _others(choice.driver.name, engine.paths.store)),
        ],
        "LoggingDriver": LOG_DRIVERS[0],
        "CgroupVersion": "2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "1",
        "Plugins": {"Log": list(LOG_DRIVERS)},
        "SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"],
        "KernelVersion": system.release,
        "OperatingSystem": _operating_system(),
        "OSType": "linux",
        "Architecture": system.machine,
        "NCPU": len(os.sched_getaffinity(0)),
        "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "Name": system.nodename,
        "ServerVersion": __version__,
        "DockerRootDir": str(engine.paths.store),
        "Debug": engine.debug,
        "Warnings": list(_warnings(engine.idmap)),
        "Rootless": {
            "RunDir": str(engine.paths.run),
            "UIDs": [_extent(extent) for extent in engine.idmap.uids],
            "GIDs": [_extent(extent) for extent in engine.idmap.gids],
            "Network": _network(),
            "PythonVersion": platform.python_version(),
        },
    }


def _others(chosen: str, store: Path) -> Iterator[tuple[str, str]]:
    """The drivers that were not taken, and why they could not serve."""
    return ((name, drivers.unavailable(name, store)) for name in drivers.DRIVERS if name != chosen)


def _operating_system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"


def _network() -> dict[str, Any]:
    """What a container gets that asks for nothing, and what the machine lets pass of it."""
    mode, why = network_choice.default()
    return {
        "Default": mode,
        "Reason": why,
        "PingRefusal": network_host.ping_refusal(),
        "FirstPort": network_host.first_port(),
    }


def _extent(extent: Extent) -> dict[str, int]:
    return {"Inside": extent.inside, "Outside": extent.outside, "Count": extent.count}


def _warnings(idmap: IdMap) -> Iterator[str]:
    if idmap.single:
        yield f"WARNING: there is only one id in a container, everything is its root's: {idmap.reason}"
