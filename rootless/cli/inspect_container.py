"""A container as `inspect` shows it: Docker's keys, in Docker's order, of what this engine knows."""

from __future__ import annotations

from typing import Any

from ..container.container import Container
from ..container.health import Check, Health
from ..container.record import Resources, Spec, State
from ..container.state import ALIVE, Status
from ..runtime.kernelfs import MASKED, READ_ONLY
from .inspect_mounts import mount_points, requested
from .inspect_network import exposed_ports, network_host_config, network_settings

NEVER = "0001-01-01T00:00:00Z"
"""Go's zero time, which Docker prints for what has not happened."""


def container_document(container: Container) -> dict[str, Any]:
    """The document of one container."""
    record, spec, state = container.record, container.spec, container.state()
    log = container.directory / "log"
    return {
        "Id": record.id,
        "Created": record.created,
        "Path": spec.argv[0],
        "Args": list(spec.argv[1:]),
        "State": _state(state),
        "Image": spec.image_id,
        "ResolvConfPath": str(container.directory / "resolv.conf"),
        "HostnamePath": str(container.directory / "hostname"),
        "HostsPath": str(container.directory / "hosts"),
        "LogPath": str(log) if log.exists() else "",
        "Name": f"/{container.name}",
        "RestartCount": state.restart_count,
        "Driver": record.driver,
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": None,
        "HostConfig": _host_config(spec),
        "GraphDriver": {
            "Data": {
                "LowerDir": ":".join(str(container.paths.store / layer) for layer in record.layers),
                "UpperDir": str(container.directory / "upper"),
                "WorkDir": str(container.directory / "work"),
            },
            "Name": record.driver,
        },
        "Mounts": mount_points(container),
        "Config": _config(spec),
        "NetworkSettings": network_settings(container, state),
    }


def _state(state: State) -> dict[str, Any]:
    return {
        "Status": str(state.status),
        "Running": state.status in ALIVE,
        "Paused": state.status == Status.PAUSED,
        "Restarting": state.status == Status.RESTARTING,
        "OOMKilled": state.oom_killed,
        "Dead": state.status == Status.DEAD,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": state.started_at or NEVER,
        "FinishedAt": state.finished_at or NEVER,
        **({"Health": _health(state.health)} if state.health is not None else {}),
    }


def _health(health: Health) -> dict[str, Any]:
    log = [{"Start": r.start, "End": r.end, "ExitCode": r.exit_code, "Output": r.output} for r in health.log]
    return {"Status": health.status, "FailingStreak": health.failing_streak, "Log": log}


def _healthcheck(check: Check | None) -> dict[str, Any]:
    if check is None:
        return {}
    return {
        "Healthcheck": {
            "Test": list(check.test),
            "Interval": check.interval,
            "Timeout": check.timeout,
            "StartPeriod": check.start_period,
            "StartInterval": check.start_interval,
            "Retries": check.retries,
        }
    }


def _host_config(spec: Spec) -> dict[str, Any]:
    security = ["no-new-privileges"] if spec.no_new_privileges else []
    security += [f"seccomp={spec.seccomp}"] if spec.seccomp else []
    security += ["systempaths=unconfined"] if spec.unmasked else []
    return {
        **requested(spec),
        "LogConfig": {"Type": spec.log.driver, "Config": dict(spec.log.options)},
        **network_host_config(spec),
        "PidMode": spec.pid,
        "IpcMode": spec.ipc or "private",
        "UTSMode": spec.uts,
        "UsernsMode": spec.userns,
        "CgroupnsMode": spec.cgroupns or "private",
        "RestartPolicy": {"Name": spec.restart, "MaximumRetryCount": spec.restart_retries},
        "AutoRemove": spec.auto_remove,
        "CapAdd": list(spec.cap_add) or None,
        "CapDrop": list(spec.cap_drop) or None,
        "GroupAdd": list(spec.group_add) or None,
        "CgroupParent": spec.cgroup_parent,
        "Init": spec.init,
        "Privileged": spec.privileged,
        "ReadonlyRootfs": spec.read_only,
        "SecurityOpt": security or None,
        **({"StorageOpt": spec.storage_opt} if spec.storage_opt else {}),
        "ShmSize": spec.shm_size,
        **_resources(spec.resources),
        "Tmpfs": spec.tmpfs,
        **({"Sysctls": spec.sysctls} if spec.sysctls else {}),
        **({"Annotations": spec.annotations} if spec.annotations else {}),
        "Devices": [
            {"PathOnHost": d.host, "PathInContainer": d.container, "CgroupPermissions": "rwm"} for d in spec.devices
        ],
        "MaskedPaths": [] if spec.unmasked or spec.privileged else list(MASKED),
        "ReadonlyPaths": [] if spec.unmasked or spec.privileged else list(READ_ONLY),
        "Ulimits": [{"Name": u.name, "Hard": u.hard, "Soft": u.soft} for u in spec.ulimits] or None,
    }


def _resources(resources: Resources) -> dict[str, Any]:
    return {
        "CpuShares": resources.cpu_shares,
        "CpuPeriod": resources.cpu_period,
        "CpuQuota": resources.cpu_quota,
        "Memory": resources.memory,
        "NanoCpus": resources.nano_cpus,
        "CpusetCpus": resources.cpuset_cpus,
        "CpusetMems": resources.cpuset_mems,
        "BlkioWeight": resources.blkio_weight,
        **{key: _disks(resources, kind) for key, kind in _DISK_KEYS.items()},
        "MemoryReservation": resources.memory_reservation,
        "MemorySwap": resources.memory_swap or 2 * resources.memory,
        "OomScoreAdj": resources.oom_score_adj,
        "PidsLimit": resources.pids_limit or None,
    }


_DISK_KEYS = {
    "BlkioWeightDevice": "weight",
    "BlkioDeviceReadBps": "rbps",
    "BlkioDeviceWriteBps": "wbps",
    "BlkioDeviceReadIOps": "riops",
    "BlkioDeviceWriteIOps": "wiops",
}


def _disks(resources: Resources, kind: str) -> list[dict[str, Any]]:
    name = "Weight" if kind == "weight" else "Rate"
    return [{"Path": limit.path, name: limit.value} for limit in resources.devices if limit.kind == kind]


def _config(spec: Spec) -> dict[str, Any]:
    return {
        "Hostname": spec.hostname,
        "Domainname": spec.domainname,
        "User": spec.user,
        "AttachStdin": spec.attaches("stdin"),
        "AttachStdout": spec.attaches("stdout"),
        "AttachStderr": spec.attaches("stderr"),
        **exposed_ports(spec),
        "Tty": spec.tty,
        "OpenStdin": spec.stdin_open,
        "StdinOnce": spec.attaches("stdin"),
        "Env": list(spec.env),
        "Cmd": list(spec.argv[len(spec.entrypoint) :]) or None,
        "Image": spec.image,
        "Volumes": {m.target: {} for m in spec.mounts if m.anonymous} or None,
        "WorkingDir": spec.workdir,
        "Entrypoint": list(spec.entrypoint) or None,
        "Labels": spec.labels,
        "StopSignal": spec.stop_signal or "SIGTERM",
        "StopTimeout": spec.stop_timeout,
        **_healthcheck(spec.health),
    }
