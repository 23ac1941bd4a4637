"""`network connect` and `disconnect`: putting a container on a network, or taking it off, whether it runs or not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import msgspec

from .. import locks, room
from ..errors import ConflictError, NotFoundError, RootlessError
from ..network import bridged, choice, leases, names, switch
from ..network.record import Lease, Network
from ..network.setup import Ask
from ..network.store import Networks
from ..runtime import control, networking, stream
from ..runtime.enter import open_namespaces
from .container import Container
from .engine import Engine
from .network import OWN, RESERVED, Connected, Wish
from .record import Spec, State
from .state import ALIVE

WHY_NOT = {
    "host": "cannot connect container to host network - container must be connected to host network at run time",
    "none": "container cannot be connected to multiple networks with one of the networks in private (none) mode",
    "container": "container sharing network namespace with another container or host cannot be connected to any other "
    "network",
}
"""Docker's words for containers that can be on no network of a name."""


def connect(engine: Engine, network: Network, container: Container, wish: Wish) -> str:
    """Put a container on a network. A kill on the way leaves it there or not; what is half done goes with its end.

    Args:
        wish: of this network.

    Returns:
        What is not as it will be after its next start, for the user; empty if all is.

    Raises:
        ConflictError: it is there already, its mode does not allow it, or the address is taken; in Docker's words.
    """
    kind = container.spec.network.partition(":")[0]
    if kind in WHY_NOT:
        raise ConflictError(WHY_NOT[kind])
    with _alone(container):
        return _connect(_of_its_session(engine, container), network, container, wish)


def _connect(engine: Engine, network: Network, container: Container, wish: Wish) -> str:
    if any(known.name == network.name for known in container.spec.net.networks):
        raise ConflictError(f"endpoint with name {container.name} already exists in network {network.name}")
    state = container.state()
    if state.status in ALIVE and state.pid:
        _plug(engine, container, state, wish)
    try:
        engine.containers.change_spec(container, lambda spec: _with(spec, wish))
    except BaseException:
        _unplug(engine, container, network)
        raise
    warning = _change_way_out(engine, container)
    _tell_files(engine, container)
    return warning


def disconnect(engine: Engine, network: Network, container: Container, *, force: bool) -> str:
    """Take a container off a network.

    Args:
        force: also when its interface can't be removed, or it is not known to be there.

    Returns:
        As `connect`.

    Raises:
        ConflictError: it is not there; in Docker's words.
    """
    with _alone(container):
        return _disconnect(_of_its_session(engine, container), network, container, force=force)


def _disconnect(engine: Engine, network: Network, container: Container, *, force: bool) -> str:
    if not any(known.name == network.name for known in container.spec.net.networks) and not force:
        raise ConflictError(f"container {container.id} is not connected to network {network.name}")
    try:
        _unplug(engine, container, network)
    except (OSError, RootlessError):
        if not force:
            raise
    engine.containers.change_spec(container, lambda spec: _without(spec, network.name))
    warning = _change_way_out(engine, container)
    _tell_files(engine, container)
    return warning


@contextmanager
def _alone(container: Container) -> Iterator[None]:
    """Be the only one who changes a container's networks: two would choose the same name for an interface, and each
    leave the other's way out. Its record is what it is then."""
    with ExitStack() as held:
        try:
            held.enter_context(locks.lock(container.directory / "networks.lock"))
        except FileNotFoundError:
            raise NotFoundError(f"No such container: {container.name}") from None
        container.refresh()
        yield


def _of_its_session(engine: Engine, container: Container) -> Engine:
    """With the run directory of whose session started the container: its room and its networks' bridges are there."""
    return msgspec.structs.replace(engine, paths=container.runtime_paths)


def forget(engine: Engine, name: str, container: Container) -> bool:
    """Take a container that does not run off a network that was removed; whether it was made for one of this name."""
    if not any(wish.name == name for wish in container.spec.net.networks):
        return False
    engine.containers.change_spec(container, lambda spec: _without(spec, name))
    return True


def _with(spec: Spec, wish: Wish) -> Spec:
    net = msgspec.structs.replace(spec.net, networks=(*spec.net.networks, wish))
    return msgspec.structs.replace(spec, net=net)


def _without(spec: Spec, name: str) -> Spec:
    left = tuple(wish for wish in spec.net.networks if wish.name != name)
    return msgspec.structs.replace(spec, net=msgspec.structs.replace(spec.net, networks=left))


# --- of a running one ------------------------------------------------------------------------------------------------


def _plug(engine: Engine, container: Container, state: State, wish: Wish) -> None:
    """An interface on the network's bridge, and the monitor holds what keeps the bridge."""
    networks = Networks(engine.paths)
    with _inside(engine, state) as (room_fd, inside):
        switch_fd = switch.open_switch(engine.paths, engine.idmap, room_fd, hold=True)
        try:
            tenant = leases.Tenant(container.id, state.monitor, state.monitor_started)
            existing = switch.interfaces(room_fd, inside)
            plugs = leases.take(networks, tenant, [wish], interfaces=existing)
            try:
                confined = bool(container.spec.net.egress)
                switch.plug(room_fd, switch_fd, inside, plugs, confined=confined).result()
                with names.connect(engine.paths, engine.idmap, room_fd, switch_fd) as link:
                    _hand_over(container, switch_fd, link.fileno())
            except BaseException:
                with suppress(OSError, RootlessError):
                    switch.unplug(room_fd, switch_fd, plugs[0].port)
                leases.drop(networks, container.id, [wish.name])
                raise
        finally:
            switch.forget(engine.paths, engine.idmap)
            os.close(switch_fd)


def _hand_over(container: Container, switch_fd: int, link: int) -> None:
    connection = control.ask(container, stream.Joined(), switch_fd, link)
    answer = connection.receive()
    connection.close()
    if not isinstance(answer, stream.Done):
        why = answer.message if isinstance(answer, stream.Refused) else "its monitor did not answer"
        raise ConflictError(f"container {container.name} can't be connected: {why}", hint="try again")


def _unplug(engine: Engine, container: Container, network: Network) -> None:
    """Remove the interface, if there is one, and give the address back."""
    networks = Networks(engine.paths)
    lease = _lease(networks, network.name, container.id)
    state = container.state()
    if lease is not None and state.status in ALIVE and state.pid:
        room_fd = room.open_room(engine.paths, engine.idmap)
        try:
            _pull(engine, room_fd, switch.Plug(network, lease).port)
        finally:
            os.close(room_fd)
    leases.drop(networks, container.id, [network.name])


def _pull(engine: Engine, room_fd: int, port: str) -> None:
    switch_fd = switch.find(engine.paths, engine.idmap, room_fd)
    if switch_fd is not None:
        try:
            switch.unplug(room_fd, switch_fd, port)
        finally:
            os.close(switch_fd)


def _lease(networks: Networks, name: str, container_id: str) -> Lease | None:
    return next((lease for lease in networks.leases(name) if lease.container == container_id), None)


@contextmanager
def _inside(engine: Engine, state: State) -> Iterator[tuple[int, int]]:
    """Descriptors on the room, and on the container's network namespace."""
    inside = open_namespaces(state, "net")["net"]
    try:
        room_fd = room.open_room(engine.paths, engine.idmap)
        try:
            yield room_fd, inside
        finally:
            os.close(room_fd)
    finally:
        os.close(inside)


def _tell_files(engine: Engine, container: Container) -> None:
    """/etc/hosts and /etc/resolv.conf of a running container, as they are now."""
    state = container.state()
    if state.network is None:
        return
    networks = Networks(engine.paths)
    endpoints = []
    for wish in container.spec.net.networks:
        with suppress(NotFoundError):
            network = networks.load(wish.name)
            if (lease := _lease(networks, wish.name, container.id)) is not None:
                endpoints.append(bridged.endpoint(switch.Plug(network, lease)))
    connected: Connected = state.network
    if endpoints or container.spec.network.partition(":")[0] not in RESERVED:
        connected = msgspec.structs.replace(connected, endpoints=tuple(endpoints))
    made = choice.network(Ask(engine.paths, container.record, engine.idmap))
    networking.write_files(container, connected, made)


def _change_way_out(engine: Engine, container: Container) -> str:
    """See that a running container reaches the outside if its networks lead there, and only then; why it doesn't."""
    state = container.state()
    if state.network is None:
        return ""
    has = any(helper.name in OWN for helper in state.network.helpers)
    wanted = choice.leads_out(container.spec, Networks(engine.paths))
    if wanted == has and not state.network.down:
        return ""
    connection = control.ask(container, stream.Rewire())
    answer = connection.receive()
    connection.close()
    if isinstance(answer, stream.Done):
        return choice.without_way_out() if wanted else ""
    why = f": {answer.message}" if isinstance(answer, stream.Refused) else ""
    return f"container {container.name} reaches nothing outside until it is started anew{why}"
