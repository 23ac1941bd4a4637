"""What stands on disk about one container: config.json (what was asked for) and state.json (what became of it).

Fields that a newer version added are kept when an older one rewrites a document: `merge` changes only what it names.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from ..errors import StoreError
from ..storage.driver import Owners
from .health import Check, Health
from .mounts import Mount
from .network import Connected, Net
from .state import Status


class Ulimit(msgspec.Struct, frozen=True):
    """One resource limit (setrlimit(2)); -1 is unlimited."""

    name: str
    soft: int
    hard: int


class Device(msgspec.Struct, frozen=True):
    """One device of the machine's, and where the container has it."""

    host: str
    container: str


class LogConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a container's output goes: Docker's log driver and its options, as they were given (runtime/logs.py)."""

    driver: str = "json-file"
    options: dict[str, str] = {}


class DeviceLimit(msgspec.Struct, frozen=True):
    """What a container may have of one disk.

    Attributes:
        kind: the kernel's word in io.max (rbps, wbps, riops, wiops), or weight.
        path: of the device's node on the machine.
        value: bytes or operations a second, 0 for any number; a weight from 10 to 1000, 0 for the usual one.
    """

    kind: str
    path: str
    value: int


class Resources(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a container may use; 0 or empty where nothing was said.

    Attributes:
        memory, memory_reservation: bytes.
        memory_swap: bytes of both together, -1 for as much swap as there is; 0 for as much again as `memory`.
        nano_cpus: billionths of a processor's time.
        cpu_period, cpu_quota: microseconds of processor time (quota) in each period; another way to say nano_cpus.
        cpu_shares: the weight beside others, 2 to 262144; 1024 is the usual one.
        cpuset_cpus: a list of processors such as `0-2,5`; cpuset_mems: likewise of memory nodes.
        pids_limit: processes and threads; -1 for any number.
        oom_score_adj: -1000 to 1000 (proc_pid_oom_score_adj(5)).
        blkio_weight: the weight beside others on every disk, 10 to 1000.
        devices: limits on single disks.
    """

    memory: int = 0
    memory_swap: int = 0
    memory_reservation: int = 0
    nano_cpus: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_shares: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int = 0
    oom_score_adj: int = 0
    blkio_weight: int = 0
    devices: tuple[DeviceLimit, ...] = ()


class Spec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a container shall be: the options of `run` and `create` laid over the image's own configuration.

    Attributes:
        argv: the command as executed, the entry point before the command.
        entrypoint: the part of `argv` that is the entry point (`ps` and `inspect` tell them apart).
        env: `NAME=value`, in the order given.
        user: `user[:group]` by name or number, looked up in the container's own files at each start.
        tmpfs: mount point to options, as given.
        shm_size: bytes of /dev/shm.
        attach: the streams that `-a` names (stdin, stdout, stderr); empty for those that the other options imply.
        cgroup_parent: where its cgroup shall be made; empty for where the others are.
        stop_timeout: seconds between the stop signal and SIGKILL.
        restart: the restart policy; restart_retries: how often on-failure tries, 0 for as often as it takes.
        seccomp: "" for the default profile, "unconfined", or the text of a profile.
        pid, ipc, uts, cgroupns, network: whose these namespaces are (sharing.py).
        userns: "" or "host" for container root being the caller; `keep-id:uid=N,gid=N`: who the caller is inside.
        unmasked: nothing of the kernel's files is hidden or read-only (`systempaths=unconfined`).
        devices: the machine's devices that it has, with their paths inside.
        sysctls: kernel parameters of its own namespaces.
        annotations: kept for whoever reads them.
        log: where the output goes beside to who is attached.
        health: the health check; None for none.
        storage_opt: the options of --storage-opt, as given (storage_opt.py).
        mounts: in the order in which they were asked for; --tmpfs is not among them.
        volumes_from: as given; what it brought is among `mounts`.
        network: the mode in Docker's words (network.py); net: what was asked for beside it.
    """

    image: str
    image_id: str
    argv: tuple[str, ...]
    entrypoint: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    workdir: str = "/"
    user: str = ""
    group_add: tuple[str, ...] = ()
    hostname: str = ""
    domainname: str = ""
    tty: bool = False
    stdin_open: bool = False
    detached: bool = False
    attach: tuple[str, ...] = ()
    init: bool = False
    auto_remove: bool = False
    read_only: bool = False
    tmpfs: dict[str, str] = {}
    shm_size: int = 64 << 20
    ulimits: tuple[Ulimit, ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    no_new_privileges: bool = False
    seccomp: str = ""
    network: str = "none"
    pid: str = ""
    ipc: str = ""
    uts: str = ""
    userns: str = ""
    cgroupns: str = ""
    unmasked: bool = False
    devices: tuple[Device, ...] = ()
    sysctls: dict[str, str] = {}
    annotations: dict[str, str] = {}
    stop_signal: str = ""
    stop_timeout: int = 10
    restart: str = "no"
    restart_retries: int = 0
    log: LogConfig = LogConfig()
    health: Check | None = None
    resources: Resources = Resources()
    cgroup_parent: str = ""
    storage_opt: dict[str, str] = {}
    mounts: tuple[Mount, ...] = ()
    volumes_from: tuple[str, ...] = ()
    net: Net = Net()

    def attaches(self, name: str) -> bool:
        """Whether its command takes part in this stream (stdin, stdout, stderr)."""
        if self.detached or (name == "stdin" and not self.stdin_open):
            return False
        return not self.attach or name in self.attach


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """config.json: a container's identity, and where its files come from.

    Attributes:
        created: RFC 3339, UTC, nanoseconds.
        driver: the storage driver that was chosen; the writable layer's format depends on its kind of layers.
        layers: the image's unpacked layers, top first, relative to the store; `/` alone is the machine's own root.
        idmap: the tag of the id map under which the writable layer's owners make sense.
        owners: how the writable layer keeps them: as real ids (`mapped`), or written down beside inodes that all belong
            to the caller (`owned`).
        size: how many bytes the writable layer may hold; 0 for no limit.
        build: it is a step of a build: listings leave it out.
    """

    id: str
    name: str
    created: str
    spec: Spec
    driver: str
    layers: tuple[str, ...]
    idmap: str
    owners: Owners = "mapped"
    size: int = 0
    build: bool = False


class State(msgspec.Struct, frozen=True, kw_only=True):
    """state.json. Process ids mean something only together with the boot, the machine and the start times.

    Attributes:
        pid, monitor: process ids on the machine `host`, 0 when there is none.
            Of an ended --rm container `monitor` is the command that will start it again.
        pid_started, monitor_started: their start in clock ticks since boot.
        exit_code: of the last run; 0 before the first.
        error: why the last start failed or the monitor was lost; one line.
        namespaces: the monitor's descriptors on the container's namespaces, by their names under /proc/PID/ns.
        health: what the health checks of this run have shown; None without any.
        cgroup: the directory of the cgroup that was made for it, with the limits; empty for none. It may have
            outlived the processes, if their monitor was killed.
        oom_killed: in the last run the kernel killed a process of its for want of memory within the limit.
        stopped: somebody asked for the last end; a restart policy then leaves the container alone.
        network: how it is connected; None while it does not run.
        run_directory: an absolute path: where its monitor listens, and whatever else belongs to the session or the boot
            in which it was started last; empty before the first start.
    """

    status: Status = Status.CREATED
    pid: int = 0
    pid_started: int = 0
    monitor: int = 0
    monitor_started: int = 0
    boot_id: str = ""
    machine_id: str = ""
    host: str = ""
    started_at: str = ""
    finished_at: str = ""
    exit_code: int = 0
    error: str = ""
    restart_count: int = 0
    namespaces: dict[str, int] = {}
    stopped: bool = False
    health: Health | None = None
    cgroup: str = ""
    oom_killed: bool = False
    network: Connected | None = None
    run_directory: str = ""

    @property
    def health_status(self) -> str:
        """starting, healthy or unhealthy; empty without a health check."""
        return self.health.status if self.health is not None else ""


def now() -> str:
    """This moment as RFC 3339 in UTC with nanoseconds, as Docker writes times."""
    return timestamp(time.time_ns())


def timestamp(moment: int) -> str:
    """A moment in nanoseconds since 1970 as `now` writes it. Such texts are in order as their moments are."""
    seconds, nanoseconds = divmod(moment, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds:09d}Z"


def decode_record(data: bytes, path: str) -> Record:
    """config.json checked against `Record`.

    Raises:
        StoreError: not JSON, or a field is missing or of another type.
    """
    try:
        return msgspec.json.decode(data, type=Record)
    except msgspec.MsgspecError as problem:
        raise StoreError(
            f"{path} is damaged ({problem})", hint="`rootless rm` still removes the container"
        ) from problem


def decode_state(data: bytes) -> State:
    """state.json. An empty or torn file is what a power cut may leave of an unsynced write: the container has ended."""
    try:
        return msgspec.json.decode(data, type=State)
    except msgspec.MsgspecError as problem:
        return State(status=Status.EXITED, exit_code=255, error=f"state.json was damaged ({problem})")


def merge(old: bytes, new: msgspec.Struct) -> bytes:
    """`new` as JSON, with those fields of the document `old` that this version does not know."""
    try:
        document: Any = msgspec.json.decode(old)
    except msgspec.MsgspecError:
        document = None
    fields = msgspec.to_builtins(new)
    known = set(new.__struct_fields__)
    kept = {k: v for k, v in document.items() if k not in known} if isinstance(document, dict) else {}
    return msgspec.json.encode(fields | kept)


def renamed(config: bytes, name: str) -> bytes:
    """The document config.json with another name, and everything else as it stands: what a newer version added, too."""
    document = msgspec.json.decode(config, type=dict[str, msgspec.Raw])
    document["name"] = msgspec.Raw(msgspec.json.encode(name))
    return msgspec.json.encode(document)


def with_spec(config: bytes, spec: Spec) -> bytes:
    """The document config.json with another spec, and everything else as it stands, within the spec as well."""
    document = msgspec.json.decode(config, type=dict[str, msgspec.Raw])
    old = msgspec.json.decode(document["spec"], type=dict[str, msgspec.Raw])
    known = set(spec.__struct_fields__)
    kept = {name: value for name, value in old.items() if name not in known}
    document["spec"] = msgspec.Raw(msgspec.json.encode(msgspec.to_builtins(spec) | kept))
    return msgspec.json.encode(document)
