"""The namespaces that a container shares: the caller's own, and those of other containers, which its stage enters.

Whoever joins another container enters its user namespace as well, instead of one of its own: only there it owns what
they share, and may trace the other's processes or configure its network as the other itself may. Of several, the pid
namespace's container is the one, because /proc can be mounted only by the owner of a pid namespace. What a process in
that user namespace could not mount (the owner of the instance is another), or has to be the very same (/dev/shm), is
*borrowed*: copied out of the other container's mount namespace, by a process that is still in the room and so has all
powers over both.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

import msgspec

from ..container import sharing
from ..container.record import Spec, State
from ..container.state import Status
from ..container.store import Containers
from ..errors import ConflictError, RootlessError
from ..kernel import mount as m
from ..kernel import namespaces as ns
from .enter import open_namespaces

ALL = (
    ns.CLONE_NEWUSER
    | ns.CLONE_NEWNS
    | ns.CLONE_NEWPID
    | ns.CLONE_NEWUTS
    | ns.CLONE_NEWIPC
    | ns.CLONE_NEWNET
    | ns.CLONE_NEWCGROUP
)

MODES = {
    ns.CLONE_NEWPID: "pid",
    ns.CLONE_NEWNET: "network",
    ns.CLONE_NEWIPC: "ipc",
    ns.CLONE_NEWUTS: "uts",
    ns.CLONE_NEWCGROUP: "cgroupns",
}
"""Each kind that can be shared, by the field of a `Spec` that says whose it is. The first container among them is the
one whose user namespace is entered."""

UNMOUNTABLE = {ns.CLONE_NEWNET: "/sys", ns.CLONE_NEWIPC: "/dev/mqueue"}
"""What only the owner of such a namespace can mount."""


class Sharing(msgspec.Struct, frozen=True):
    """Whose namespaces a container has.

    Attributes:
        own: the CLONE_NEW flags of those that it has for itself.
        joined: descriptors on those of other containers.
        user: a descriptor on the user namespace of one of them; -1 where it has one of its own.
        borrowed: mounts to be copied, by their path: the descriptor of the mount namespace that they are in.
    """

    own: int = ALL
    joined: Mapping[int, int] = msgspec.field(default_factory=dict)
    user: int = -1
    borrowed: Mapping[str, int] = msgspec.field(default_factory=dict)

    def join(self) -> None:
        """Enter what is shared. The calling process, in the room, has one thread; its children are inside."""
        for flag, fd in self.joined.items():
            ns.setns(fd, flag)
        if self.user >= 0:
            ns.setns(self.user, ns.CLONE_NEWUSER)

    def borrow(self) -> dict[str, int]:
        """Copies of the mounts to be borrowed, detached: by their path, a descriptor on each. To be called in the room.

        Raises:
            RootlessError: one could not be copied.
        """
        return {path: _copy(path, fd) for path, fd in self.borrowed.items()}

    def close(self) -> None:
        for fd in {*self.joined.values(), *self.borrowed.values(), self.user} - {-1}:
            os.close(fd)


def find(containers: Containers, spec: Spec, idmap_tag: str) -> Sharing:
    """What a container of this spec shares at this moment.

    Raises:
        NotFoundError: a container to share with is not there.
        ConflictError: it does not run, or can't share.
    """
    modes = {flag: getattr(spec, name) for flag, name in MODES.items()}
    own = ALL
    for flag, mode in modes.items():
        if mode == sharing.HOST or sharing.donor(mode):
            own &= ~flag
    donors = {flag: sharing.donor(mode) for flag, mode in modes.items() if sharing.donor(mode)}
    if not donors:
        return Sharing(own)
    states = {donor: _state(containers, donor, flag, spec, idmap_tag) for flag, donor in donors.items()}
    opened = {donor: open_namespaces(state) for donor, state in states.items()}
    first = next(iter(donors.values()))
    borrowed = {}
    if ns.CLONE_NEWIPC in donors:
        borrowed["/dev/shm"] = donors[ns.CLONE_NEWIPC]
    borrowed |= {UNMOUNTABLE[flag]: donor for flag, donor in donors.items() if flag in UNMOUNTABLE and donor != first}
    result = Sharing(
        own & ~ns.CLONE_NEWUSER,
        {flag: opened[donor][ns.FILES[flag]] for flag, donor in donors.items()},
        opened[first]["user"],
        {path: opened[donor]["mnt"] for path, donor in borrowed.items()},
    )
    used = {*result.joined.values(), result.user, *result.borrowed.values()}
    for descriptors in opened.values():
        for fd in set(descriptors.values()) - used:
            os.close(fd)
    return result


def _state(containers: Containers, donor: str, flag: int, spec: Spec, idmap_tag: str) -> State:
    """The state of a container that can share this kind of namespace."""
    container = containers.load(donor)
    state = container.state()
    kind = {ns.CLONE_NEWPID: "PID", ns.CLONE_NEWIPC: "IPC"}.get(flag, "network")
    if state.status not in (Status.RUNNING, Status.PAUSED):
        raise ConflictError(f"cannot join {kind} namespace of a non running container: {container.name}")
    if flag == ns.CLONE_NEWIPC and container.spec.ipc != sharing.SHAREABLE:
        raise ConflictError(
            f"failed to join IPC namespace: container {container.name}: non-shareable IPC",
            hint="use --ipc shareable for the donor container",
        )
    if (container.record.idmap, container.spec.userns) != (idmap_tag, spec.userns):
        raise ConflictError(
            f"cannot join {kind} namespace of container {container.name}: it has another user namespace mapping",
            hint="start both with the same --userns",
        )
    if (there := container.runtime_paths.run) != containers.paths.run:  # each has a room of its own: no way leads over
        raise ConflictError(
            f"cannot join {kind} namespace of container {container.name}: it was started in a session with another "
            f"run directory, {there}",
            hint="start both with the same XDG_RUNTIME_DIR, or both without one",
        )
    return state


def _copy(path: str, namespace: int) -> int:
    """A detached copy of what is mounted at `path` in another mount namespace.

    By a child, because no way leads back into the caller's: that would need its powers in the initial user namespace.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        with suppress(OSError):
            ns.setns(namespace, ns.CLONE_NEWNS)
            flags = m.OPEN_TREE_CLONE | m.AT_RECURSIVE | m.AT_SYMLINK_NOFOLLOW
            socket.send_fds(theirs, [b"mount"], [m.open_tree(m.AT_FDCWD, path, flags)])
        os._exit(0)
    theirs.close()
    _, fds, _, _ = socket.recv_fds(ours, 16, 1)
    ours.close()
    os.waitpid(pid, 0)
    if not fds:
        raise RootlessError(f"{path} of the container to share with can't be had")
    return fds[0]
