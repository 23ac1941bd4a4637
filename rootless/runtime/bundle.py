"""Everything PID 1 needs, gathered beforehand: between clone(2) and execve(2) nothing is imported or decided."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from ..container import sharing, userns
from ..container.container import Container
from ..container.record import Record
from ..container.store import Containers
from ..errors import ConflictError
from ..idmap import IdMap
from ..kernel import mount as m
from ..paths import Paths
from ..storage import drivers
from ..storage.driver import HOST, LayerStack, StorageDriver
from ..volumes.options import Backing
from . import joining, mounting, rootfs, tmpfs
from .joining import Sharing
from .kernelfs import Kernel
from .main_program import main_program
from .program import Program


class Bundle(msgspec.Struct, frozen=True):
    """One start of one container.

    Attributes:
        idmap: of the container's user namespace, inside the room.
        sharing: which namespaces it has for itself, and whose the others are.
        target: where the root file system is mounted, relative to the store like the parts of `stack`. Of what PID 1
            has from before clone(2), only its working directory is in the new mount namespace: a descriptor still
            refers to a mount of the old one, on which nothing can be mounted (EINVAL).
        program: what PID 1 becomes.
        follows_host: what the machine mounts and unmounts below some of its mounts is to be seen.
    """

    record: Record
    idmap: IdMap
    sharing: Sharing
    store: Path
    driver: StorageDriver
    stack: LayerStack
    target: str
    plan: tuple[rootfs.Operation, ...]
    program: Program
    follows_host: bool = False


def assemble(
    paths: Paths,
    container: Container,
    idmap: IdMap,
    window: tuple[int, int],
    *,
    debug: bool,
    cgroup: str = "",
    first: bool = False,
    devices: Mapping[str, Backing] | None = None,
) -> Bundle:
    """Look everything up that a start of `container` needs, and decide what is to be decided.

    Args:
        cgroup: as in `main_program`.
        first: it has never been started before.
        devices: what volumes stand for that have no directory of their own, by the volumes' names.

    Raises:
        ConflictError: the container was made under another id map; its files' owners would mean nothing.
        RootlessError: of the part that can't be had.
    """
    record = container.record
    shared = joining.find(Containers(paths), record.spec, idmap.tag)
    nested = userns.nested(record.spec.userns, idmap)
    return Bundle(
        record=record,
        idmap=nested,
        sharing=shared,
        store=paths.store,
        driver=drivers.get(record.driver),
        stack=layer_stack(record, idmap),
        target=f"containers/{record.id}/root",
        plan=plan(record, nested, frozenset(shared.borrowed), first=first, devices=devices or {}),
        program=main_program(record.spec, paths, idmap, window, debug, cgroup),
        follows_host=any("slave" in mount.propagation or "shared" in mount.propagation for mount in record.spec.mounts),
    )


def layer_stack(record: Record, idmap: IdMap) -> LayerStack:
    """The parts of a container's root file system.

    Args:
        idmap: of the room.

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
        ids=userns.nested(record.spec.userns, idmap).ends,
        volatile=record.spec.auto_remove,
    )


def plan(
    record: Record,
    idmap: IdMap,
    borrowed: frozenset[str] = frozenset(),
    *,
    first: bool = False,
    devices: Mapping[str, Backing] | None = None,
) -> tuple[rootfs.Operation, ...]:
    """The mounts of a container, in order.

    Args:
        idmap: of its user namespace.
        borrowed: paths at which it has another container's mount.
        first, devices: as in `assemble`.
    """
    spec = record.spec
    kernel = Kernel(
        shm_size=0 if spec.ipc == "none" else spec.shm_size,
        tty_group=idmap.holds(0, 5),
        pid=spec.pid != sharing.HOST,
        network=spec.network != sharing.HOST,
        own_network=spec.network.partition(":")[0] not in (sharing.HOST, "container", "none"),
        ipc=spec.ipc != sharing.HOST,
        cgroup=spec.cgroupns != sharing.HOST,
        borrowed=borrowed,
        sysctls=spec.sysctls,
        writable=spec.privileged,
        unmasked=spec.privileged or spec.unmasked,
    )
    operations = mounting.fills(record, devices or {}, first=first)
    operations += kernel.plan()
    operations += [rootfs.Bind(device.host, device.container) for device in spec.devices]
    if HOST in record.layers:
        operations.append(rootfs.FileSystem("tmpfs", "/run", m.MS_NOSUID | m.MS_NODEV, "mode=755"))
    names = sharing.donor(spec.network) or record.id  # who shares a network shares its names
    own = [
        rootfs.Bind(f"containers/{names}/{name}", f"/etc/{name}", m.MS_NOSUID | m.MS_NODEV, optional=True)
        for name in ("resolv.conf", "hostname", "hosts")
    ]
    operations += mounting.by_depth(record, idmap, own, devices or {})
    if spec.read_only:
        operations += [rootfs.Directory(spec.workdir), rootfs.ReadOnlyRoot()]
    return tuple(operations)


def files_plan(
    record: Record, idmap: IdMap, devices: Mapping[str, Backing], *, first: bool = False
) -> tuple[rootfs.Operation, ...]:
    """What has files of its own in a container that does not run: volumes, binds, what the engine writes for it. A
    tmpfs would be gone with whoever looks.

    Args:
        idmap: of its user namespace.
        first, devices: as in `assemble`: what is put into a volume now must not keep it from being filled.
    """
    names = sharing.donor(record.spec.network) or record.id
    own = [rootfs.Bind(f"containers/{names}/{name}", f"/etc/{name}") for name in ("resolv.conf", "hostname", "hosts")]
    operations = mounting.fills(record, devices, first=first)
    operations += [op for op in mounting.by_depth(record, idmap, own, devices) if not _in_memory(op)]
    if record.spec.read_only:
        operations.append(rootfs.ReadOnlyRoot())
    return tuple(operations)


def _in_memory(operation: rootfs.Operation) -> bool:
    return isinstance(operation, tmpfs.Tmpfs) or (isinstance(operation, mounting.Host) and operation.memory is not None)
