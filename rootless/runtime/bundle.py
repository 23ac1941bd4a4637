"""Everything PID 1 needs, gathered beforehand: between clone(2) and execve(2) nothing is imported or decided."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..container import capabilities
from ..container.container import Container
from ..container.record import Record, Spec
from ..errors import ConflictError
from ..idmap import IdMap
from ..kernel import mount as m
from ..kernel import namespaces as ns
from ..kernel.caps import Cap
from ..paths import Paths
from ..storage import drivers
from ..storage.driver import HOST, LayerStack, StorageDriver
from . import limits, rootfs, seccomp
from .program import Program

OWN_NAMESPACES = (
    ns.CLONE_NEWUSER
    | ns.CLONE_NEWNS
    | ns.CLONE_NEWPID
    | ns.CLONE_NEWUTS
    | ns.CLONE_NEWIPC
    | ns.CLONE_NEWNET
    | ns.CLONE_NEWCGROUP
)


@dataclass(frozen=True)
class Bundle:
    """One start of one container.

    Attributes:
        namespaces: the CLONE_NEW flags of what the container has for itself.
        target: where the root file system is mounted, relative to the store like the parts of `stack`. Of what PID 1
            has from before clone(2), only its working directory is in the new mount namespace: a descriptor still
            refers to a mount of the old one, on which nothing can be mounted (EINVAL).
        program: what PID 1 becomes.
    """

    record: Record
    idmap: IdMap
    namespaces: int
    store: Path
    driver: StorageDriver
    stack: LayerStack
    target: str
    plan: tuple[rootfs.Operation, ...]
    program: Program


def assemble(
    paths: Paths, container: Container, idmap: IdMap, window: tuple[int, int], *, debug: bool, cgroup: str = ""
) -> Bundle:
    """Look everything up that a start of `container` needs, and decide what is to be decided.

    Args:
        cgroup: as in `main_program`.

    Raises:
        ConflictError: the container was made under another id map; its files' owners would mean nothing.
        RootlessError: of the part that can't be had.
    """
    record = container.record
    where = f"containers/{record.id}"
    return Bundle(
        record=record,
        idmap=idmap,
        namespaces=OWN_NAMESPACES,
        store=paths.store,
        driver=drivers.get(record.driver),
        stack=layer_stack(record, idmap),
        target=f"{where}/root",
        plan=plan(record, idmap),
        program=main_program(record.spec, paths, idmap, window, debug, cgroup),
    )


def layer_stack(record: Record, idmap: IdMap) -> LayerStack:
    """The parts of a container's root file system.

    Raises:
        ConflictError: the container was made under another id map; its files' owners would mean nothing.
    """
    if record.idmap != idmap.tag:
        raise ConflictError(
            f"container {record.name} was made with other subordinate ids than you have now",
            hint="give the account its former ranges in /etc/subuid and /etc/subgid back, or make the container anew",
        )
    where = f"containers/{record.id}"
    return LayerStack(
        record.layers,
        f"{where}/upper",
        f"{where}/work",
        owners=record.owners,
        size=record.size,
        base=f"{where}/base.jsonl" if HOST in record.layers else "",
        ids=(idmap.uids[-1].inside + idmap.uids[-1].count, idmap.gids[-1].inside + idmap.gids[-1].count),
    )


def main_program(spec: Spec, paths: Paths, idmap: IdMap, window: tuple[int, int], debug: bool, cgroup: str) -> Program:
    """The container's own command.

    Args:
        cgroup: the directory of its cgroup, empty for none. For limits that this has no file for there are stand-ins.
    """
    granted = capabilities.resolve(spec.cap_add, spec.cap_drop, spec.privileged)
    program = Program(
        argv=spec.argv,
        env=spec.env,
        workdir=spec.workdir,
        user=spec.user,
        group_add=spec.group_add,
        tty=spec.tty,
        stdin_open=spec.stdin_open,
        init=spec.init,
        ulimits=spec.ulimits,
        no_new_privileges=spec.no_new_privileges,
        capabilities=granted,
        filter=_filter(spec, granted, paths),
        idmap=idmap,
        window=window,
        debug=debug,
        oom_score_adj=spec.resources.oom_score_adj,
    )
    missing = limits.lacking(Path(cgroup) if cgroup else None, spec.resources)
    return limits.with_stand_ins(program, spec.resources, missing)


def plan(record: Record, idmap: IdMap) -> tuple[rootfs.Operation, ...]:
    """The mounts of a container, in order."""
    spec = record.spec
    operations = rootfs.proc_sys_dev(
        shm_size=spec.shm_size, tty_group=idmap.holds(0, 5), own_network=True, privileged=spec.privileged
    )
    if HOST in record.layers:
        operations.append(rootfs.FileSystem("tmpfs", "/run", m.MS_NOSUID | m.MS_NODEV, "mode=755"))
    for name in "resolv.conf", "hostname", "hosts":
        operations.append(rootfs.Bind(f"containers/{record.id}/{name}", f"/etc/{name}", m.MS_NOSUID | m.MS_NODEV))
    operations += rootfs.user_tmpfs(spec.tmpfs)
    if spec.read_only:
        operations.append(rootfs.ReadOnlyRoot())
    return tuple(operations)


def _filter(spec: Spec, granted: frozenset[Cap], paths: Paths) -> seccomp.Filter | None:
    if spec.privileged or spec.seccomp == "unconfined":
        return None
    return seccomp.prepare(spec.seccomp.encode() or None, granted, paths)
