"""From the options of `run` and `create`, laid over the image's own configuration, to a container's `Spec`."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Sequence
from typing import Protocol

import msgspec

from ..errors import UsageError
from ..image.spec import RunConfig
from ..volumes.store import new_name
from . import health, mount_texts, mounts, sharing, signals, sysctl, userns
from .environment import merge_environment
from .health import Check
from .mounts import Mount
from .network import Net
from .record import Device, LogConfig, Resources, Spec, Ulimit

_HOSTNAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,62}[a-zA-Z0-9])?")
"""sethostname(2) takes 64 bytes of anything; what else stands in /etc/hosts is a name or several."""

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Options(msgspec.Struct, frozen=True):
    """What the caller asked for; None or empty where nothing was said.

    Attributes:
        command: the words after the image.
        entrypoint: "" clears the image's entry point, None keeps it.
        env: `NAME=value` only; names without a value were resolved by the caller.
        seccomp: "", "unconfined", or the text of a profile.
        health, health_set: what the --health-* options say, and which of its fields they set.
    """

    command: tuple[str, ...] = ()
    entrypoint: str | None = None
    env: tuple[str, ...] = ()
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    workdir: str = ""
    user: str = ""
    group_add: tuple[str, ...] = ()
    hostname: str = ""
    domainname: str = ""
    tty: bool = False
    interactive: bool = False
    detach: bool = False
    attach: tuple[str, ...] = ()
    init: bool = False
    auto_remove: bool = False
    read_only: bool = False
    tmpfs: dict[str, str] = msgspec.field(default_factory=dict)
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
    sysctls: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    net: Net = msgspec.field(default_factory=Net)
    stop_signal: str = ""
    stop_timeout: int = 10
    restart: str = "no"
    restart_retries: int = 0
    health: Check | None = None
    health_set: tuple[str, ...] = ()
    no_healthcheck: bool = False
    log: LogConfig = msgspec.field(default_factory=LogConfig)
    cgroup_parent: str = ""
    resources: Resources = msgspec.field(default_factory=Resources)
    storage_opt: dict[str, str] = msgspec.field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    volumes_from: tuple[str, ...] = ()


class Origin(Protocol):
    """What a container is made of: an image of the store, or what takes the place of one (host.py)."""

    @property
    def id(self) -> str: ...
    @property
    def run(self) -> RunConfig: ...


def build(options: Options, image: Origin, image_name: str, container_id: str, inherited: Sequence[Mount] = ()) -> Spec:
    """The spec of a new container of `image`, which the caller named `image_name`.

    Args:
        inherited: the mounts that --volumes-from brings.

    Raises:
        UsageError: no command is left, or a path that must be absolute is not.
        InvalidError: two mounts at one place, or a source that has to be there is not; an image's stop signal or health
            check is none.
    """
    run = image.run
    entrypoint, command = _command(options, run)
    sysctl.require_own(options.sysctls, network=options.network, ipc=options.ipc)
    workdir = options.workdir or run.working_dir or "/"
    if not workdir.startswith("/"):
        raise UsageError(f"the working directory '{workdir}' is invalid, it needs to be an absolute path")
    of_host = sharing.HOST in (options.uts, options.network)
    hostname = options.hostname or (os.uname().nodename if of_host else container_id[:12])
    if not _HOSTNAME.fullmatch(hostname):
        raise UsageError(f"invalid hostname: {hostname!r}", hint="letters, digits, '-', '_' and '.', at most 64")
    wanted = Spec(
        image=image_name,
        image_id=image.id,
        argv=entrypoint + command,
        entrypoint=entrypoint,
        env=_environment(options, run, hostname),
        labels=(run.labels or {}) | options.labels,
        workdir=posixpath.normpath(workdir),
        user=options.user or userns.default_user(options.userns) or run.user or "",
        group_add=options.group_add,
        hostname=hostname,
        domainname=options.domainname,
        tty=options.tty,
        stdin_open=options.interactive,
        detached=options.detach,
        attach=options.attach,
        init=options.init,
        auto_remove=options.auto_remove,
        read_only=options.read_only,
        tmpfs=options.tmpfs,
        shm_size=options.shm_size,
        ulimits=options.ulimits,
        cap_add=options.cap_add,
        cap_drop=options.cap_drop,
        privileged=options.privileged,
        no_new_privileges=options.no_new_privileges,
        seccomp=options.seccomp,
        network=options.network,
        pid=options.pid,
        ipc=options.ipc,
        uts=options.uts,
        userns=options.userns,
        cgroupns=options.cgroupns,
        unmasked=options.unmasked,
        devices=options.devices,
        sysctls=options.sysctls,
        annotations=options.annotations,
        net=_exposing(options.net, run),
        stop_signal=_stop_signal(options, run),
        stop_timeout=options.stop_timeout,
        restart=options.restart,
        restart_retries=options.restart_retries,
        health=health.merge(options.health, run, none=options.no_healthcheck, options=options.health_set),
        log=options.log,
        resources=options.resources,
        cgroup_parent=options.cgroup_parent,
        storage_opt=options.storage_opt,
        mounts=_mounts(options, run, inherited),
        volumes_from=options.volumes_from,
    )
    _require_text(wanted)
    return wanted


def _stop_signal(options: Options, run: RunConfig) -> str:
    """As it was written. What is no signal is refused here: such a container could not be stopped."""
    text = options.stop_signal or run.stop_signal or ""
    if text:
        signals.parse(text)
    return text


def _mounts(options: Options, run: RunConfig, inherited: Sequence[Mount]) -> tuple[Mount, ...]:
    for path in run.volumes or ():
        mount_texts.check_target("volume", path)
    volumes = [mount_texts.normal(path) for path in run.volumes or ()]
    found = mounts.combine(inherited, options.mounts, options.tmpfs, volumes)
    for path in options.tmpfs:
        mounts.require_outside_proc(path)
    for mount in found:
        mounts.require_outside_proc(mount.target, mount.source if mount.type == "bind" else "")
        if mount.type in ("bind", "overlay") and not mount.create:
            mounts.require_source(mount)
    return tuple(msgspec.structs.replace(m, source=new_name()) if not m.source and m.anonymous else m for m in found)


def _exposing(net: Net, run: RunConfig) -> Net:
    """With the ports that the image exposes; a port without a protocol is tcp's."""
    of_image = (port if "/" in port else f"{port}/tcp" for port in run.exposed_ports or ())
    return msgspec.structs.replace(net, exposed=tuple(dict.fromkeys((*of_image, *net.exposed))))


def _require_text(spec: Spec) -> None:
    """A record is JSON, and JSON is Unicode: words in another encoding can't be written down.

    Raises:
        UsageError: some are not.
    """
    try:
        msgspec.json.encode(spec)
    except UnicodeEncodeError as problem:
        word = problem.object[:40].encode(errors="backslashreplace").decode()
        raise UsageError(
            f"not valid UTF-8: {word}", hint="words, variables and labels of a container must be"
        ) from None


def _command(options: Options, run: RunConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(entry point, command). An entry point on the command line also drops the image's command, as in Docker."""
    if options.entrypoint is None:
        entrypoint = tuple(run.entrypoint or ())
        command = options.command or tuple(run.cmd or ())
    else:
        entrypoint = (options.entrypoint,) if options.entrypoint else ()
        command = options.command
    if not entrypoint + command:
        raise UsageError("no command specified", hint="name one after the image")
    return entrypoint, command


def _environment(options: Options, run: RunConfig, hostname: str) -> tuple[str, ...]:
    """Docker's defaults first, then the image's, then the caller's; a later one of the same name takes its place."""
    defaults = [DEFAULT_PATH, f"HOSTNAME={hostname}"]
    if options.tty:
        defaults.append("TERM=xterm")
    return merge_environment(defaults, run.env or (), options.env)
