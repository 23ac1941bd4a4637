"""A container's mounts as `inspect` shows them, with Docker's keys."""

from __future__ import annotations

from typing import Any

from ..container.container import Container
from ..container.mounts import Mount
from ..container.record import Spec
from ..errors import RootlessError
from ..volumes.store import Volumes


def mount_points(container: Container) -> list[dict[str, Any]]:
    """`Mounts`: what is mounted, wherever it was asked for."""
    volumes = Volumes(container.paths)
    return [_point(mount, volumes) for mount in container.spec.mounts]


def _point(mount: Mount, volumes: Volumes) -> dict[str, Any]:
    mode = mount.text.split(":")[2] if mount.text.count(":") > 1 else ""
    common = {"Destination": mount.target, "Mode": mode, "RW": not mount.read_only}
    if mount.type == "volume":
        # Docker's engine notes a mode of `z` for a volume that was given a name and no mode.
        common["Mode"] = mode or ("" if mount.anonymous else "z")
        place = {"Type": "volume", "Name": mount.source, "Source": _data(volumes, mount.source)}
        return {**place, **common, "Driver": "local", "Propagation": ""}
    kind = "tmpfs" if mount.type == "tmpfs" else "bind"
    propagation = "" if kind == "tmpfs" else mount.propagation or "rprivate"
    return {"Type": kind, "Source": mount.source, **common, "Propagation": propagation}


def _data(volumes: Volumes, name: str) -> str:
    try:
        return str(volumes.get(name).data)
    except RootlessError:  # it was damaged or taken away from outside
        return str(volumes.paths.volumes / name / "_data")


def requested(spec: Spec) -> dict[str, Any]:
    """The fields of `HostConfig` that say what was asked for. An option that was not given has none in Docker."""
    binds = [mount.text for mount in spec.mounts if mount.text]
    inherited = bool(spec.volumes_from)
    mounts = [] if inherited else [_request(m) for m in spec.mounts if not m.text and not m.anonymous]
    return {
        "Binds": binds or None,
        "VolumesFrom": list(spec.volumes_from) or None,
        **({"Mounts": mounts} if mounts else {}),
    }


def _request(mount: Mount) -> dict[str, Any]:
    found: dict[str, Any] = {"Type": mount.type, "Source": mount.source, "Target": mount.target}
    if mount.read_only:
        found["ReadOnly"] = True
    if mount.type == "volume":
        options = {"NoCopy": mount.no_copy, "Labels": mount.labels, "Subpath": mount.subpath}
        found |= {"VolumeOptions": {name: value for name, value in options.items() if value}}
    if mount.propagation or mount.recursive:
        found["BindOptions"] = {"Propagation": mount.propagation} if mount.propagation else {}
        if mount.recursive == "disabled":
            found["BindOptions"]["NonRecursive"] = True
    return found
