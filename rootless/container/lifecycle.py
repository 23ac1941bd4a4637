"""How containers come to be, for the command line and for whoever calls the engine as a library."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from .. import atomic
from ..image import pins
from ..runtime import keeper, launch
from ..runtime.forwarding import Signals
from ..storage import drivers
from ..storage.driver import HOST, LayerKind
from ..storage.layers import Layers, LayerSource, let_through
from ..volumes.store import Volumes
from . import host, mount_texts, names, sharing, spec, storage_opt, userns, volume_use, writable
from .container import Container, Hold
from .engine import Engine
from .mounts import Mount
from .record import Record, State, now

Maker = Callable[[int], tuple[Container, Hold]]
"""Makes a container when it is called, and holds its lock. The argument is the pid of the monitor that will start it
(0: none will now): that monitor makes it itself, so that a command which was killed before leaves nothing."""


def new_id() -> str:
    """The id of a container to be: 64 hexadecimal digits, as in Docker."""
    return os.urandom(32).hex()


@contextmanager
def plan(
    engine: Engine, options: spec.Options, image_name: str, name: str = "", container_id: str = ""
) -> Iterator[Maker]:
    """Check everything that can be checked before a container exists, unpack what is not unpacked yet.

    Until the end of the block the image can't be removed: a container that is being made is not seen yet.

    Args:
        container_id: of `new_id`; for who wants to know it before the container is there.

    Raises:
        NotFoundError: no such image.
        UsageError: an option that makes no sense.
    """
    if name:
        name = names.validate(name)
    container_id = container_id or new_id()
    if image_name == host.NAME and options.entrypoint is None:
        options = msgspec.structs.replace(options, command=host.command(options.command))
    options = _resolve_networks(engine, _resolve_donors(engine, options))
    keep_id = userns.kept(options.userns) is not None
    wish = storage_opt.parse(options.storage_opt, host=image_name == host.NAME, keep_id=keep_id)
    choice = drivers.choose(engine.driver, engine.paths.store, engine.idmap, wish)
    images = engine.images  # makes the store, too, where there is none
    with pins.hold(images.paths) as pin:
        image, layers = _origin(engine, image_name, choice.layer_kind, pin)
        inherited = _inherited(engine, options.volumes_from)
        wanted = spec.build(options, image, image_name, container_id, inherited)

        def make_now(monitor: int) -> tuple[Container, Hold]:
            record = Record(
                id=container_id,
                name=name or engine.containers.names.free(),
                created=now(),
                spec=wanted,
                driver=choice.driver.name,
                layers=tuple(layers),
                idmap=engine.idmap.tag,
                owners=choice.owners,
                size=wish.size,
            )
            return _make_with_volumes(engine, record, State(monitor=monitor))

        yield make_now


def _resolve_donors(engine: Engine, options: spec.Options) -> spec.Options:
    """The same options with ids in the place of the names of containers to share with."""

    def resolve(mode: str) -> str:
        return sharing.resolved(mode, engine.containers.id_of)

    network = resolve(options.network)
    if donor := sharing.donor(network):  # who shares a network has the same names
        options = msgspec.structs.replace(options, hostname=engine.containers.load(donor).spec.hostname)
    return msgspec.structs.replace(options, pid=resolve(options.pid), ipc=resolve(options.ipc), network=network)


def _resolve_networks(engine: Engine, options: spec.Options) -> spec.Options:
    """The same options with names in the place of the ids of networks, which must be there."""
    if not options.net.networks:
        return options
    from ..network.store import Networks

    networks = Networks(engine.paths)
    wishes = tuple(
        msgspec.structs.replace(wish, name=networks.resolve(wish.name).name) for wish in options.net.networks
    )
    net = msgspec.structs.replace(options.net, networks=wishes)
    return msgspec.structs.replace(options, network=wishes[0].name, net=net)


def _origin(engine: Engine, name: str, kind: LayerKind, pin: pins.Pin) -> tuple[spec.Origin, list[str]]:
    """An image, and its layers as the driver finds them."""
    if name == host.NAME:
        return host.image(), [HOST]
    image = engine.images.resolve(name)
    pin.add(image.id, *image.chain_ids)
    sources = [LayerSource(layer.diff_id, layer.blob.digest) for layer in image.layers]
    return image, Layers(engine.paths, engine.idmap).ensure(sources, kind)


def _inherited(engine: Engine, texts: Sequence[str]) -> list[Mount]:
    """What `--volumes-from` brings. A volume is not filled again for it, as in Docker."""
    found = []
    for text in texts:
        name, read_only = mount_texts.parse_volumes_from(text)
        for mount in engine.containers.resolve(name).spec.mounts:
            copy = msgspec.structs.replace(mount, text="", no_copy=True)
            found.append(mount_texts.read_only(copy) if read_only else copy)
    return found


def _make_with_volumes(engine: Engine, record: Record, state: State) -> tuple[Container, Hold]:
    """Those volumes that nobody named come after the container: a kill in between leaves none that nobody has."""
    mounts = record.spec.mounts
    if not any(mount.type == "volume" for mount in mounts):
        return make(engine, record, state)
    volumes = Volumes(engine.paths)
    with volumes.using():
        volume_use.ensure(volumes, [mount for mount in mounts if not mount.anonymous])
        container, hold = make(engine, record, state)
        try:
            volume_use.ensure(volumes, mounts)
        except BaseException:
            with hold:
                engine.containers.remove(container)
            raise
    return container, hold


def make(engine: Engine, record: Record, state: State) -> tuple[Container, Hold]:
    """Put the container's directory together under tmp/ and publish it, with its lock held."""
    draft = atomic.new_name(engine.paths.tmp, record.id)
    draft.mkdir(mode=0o700, parents=True)
    try:
        for directory in engine.paths.containers, draft:
            let_through(directory, engine.idmap)
        _write_files(draft, record, engine)
        return engine.containers.publish(record, draft, state)
    except BaseException:
        _discard(draft)
        raise


def _write_files(draft: Path, record: Record, engine: Engine) -> None:
    writable.make(draft, engine.paths.store / record.layers[0], engine.idmap, owned=record.owners == "owned")
    (draft / "root").mkdir()
    (draft / "root").chmod(0o755)
    # Those of the network are written at each start (runtime/networking.py).
    files = {"hosts": "", "hostname": record.spec.hostname + "\n", "resolv.conf": ""}
    for name, text in files.items():
        (draft / name).write_text(text)
        (draft / name).chmod(0o644)
    owner = (engine.idmap.uids[0].outside, engine.idmap.gids[0].outside)
    if os.geteuid() != owner[0]:  # real root's containers belong to a subordinate id
        for name in files:
            os.chown(draft / name, *owner)


def _discard(draft: Path) -> None:
    """Remove a draft that holds nothing but what `_write_files` made."""
    for path in sorted(draft.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    draft.rmdir()


def create(engine: Engine, options: spec.Options, image_name: str, name: str = "") -> Container:
    """Make a container and do not start it."""
    with plan(engine, options, image_name, name) as make:
        container, hold = make(0)
    hold.release()
    return container


def run(
    engine: Engine,
    maker: Maker,
    *,
    attached: bool,
    stdin: bool,
    window: tuple[int, int],
    signals: Signals | None = None,
) -> launch.Started:
    """Make and start a container under a monitor of its own. See `launch.launch`."""

    def prepare() -> tuple[Container, Hold]:
        return maker(os.getpid())

    order = keeper.Order(engine.paths, prepare, fresh=True, attached=attached, stdin=stdin, window=window)
    return launch.launch(msgspec.structs.replace(order, debug=engine.debug), signals)
