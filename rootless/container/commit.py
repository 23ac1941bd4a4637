"""`commit`: an image of a container's changes. Only its writable layer is read, straight into the store's blobs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import BinaryIO, cast

import msgspec

from ..errors import ConflictError, InvalidError, NotFoundError
from ..idmap import IdMap
from ..image import changes as instructions
from ..image import pins, spec
from ..image.pins import Pin
from ..image.reference import Reference
from ..image.spec import Descriptor, Healthcheck, History, ImageConfig, RunConfig
from ..image.store import Image, ImageStore, Layer
from ..storage import compression
from ..storage import digest as digests
from ..storage.driver import HOST
from ..storage.layertar import write_layer
from ..storage.trees import Reader
from . import changed
from .container import Container
from .health import Check
from .record import Spec
from .spec import DEFAULT_PATH

EMPTY = digests.of(bytes(1024))
"""The diff id of a layer without any entry: an archive that is nothing but its end mark."""

_CHUNK = 1 << 18


def commit_layer(
    store: ImageStore, pin: Pin, reader: Reader, below: Sequence[str] = (), *, latest: int | None = None
) -> Layer:
    """Make a layer of what a container has changed: hashed, compressed and stored in one pass.

    Args:
        pin: keeps the blob until an image refers to it.
        below: the diff ids of the layers that it lies on, lowest first.
        latest: seconds since 1970; what is younger gets this time (SOURCE_DATE_EPOCH).

    Raises:
        InvalidError: a path is too long for any layer.
        StoreError, OSError: no room.
    """
    hasher = digests.hasher()
    with store.blobs.writer() as writer:
        compressor = compression.gzip_writer(cast(BinaryIO, writer))
        with reader.stream(lambda trees, sink: write_layer(trees, sink, latest)) as source:
            while chunk := source.read(_CHUNK):
                hasher.update(chunk)
                compressor.write(chunk)
        compressor.close()
        diff_id = f"sha256:{hasher.hexdigest()}"
        chain_id = digests.chain_ids([*below, diff_id])[-1]
        pin.add(writer.digest, chain_id)
        digest, size = writer.commit()
    return Layer(Descriptor(media_type=f"{spec.OCI_LAYER}+gzip", digest=digest, size=size), diff_id, chain_id)


def commit(
    store: ImageStore,
    container: Container,
    idmap: IdMap,
    name: Reference | None = None,
    *,
    author: str = "",
    message: str = "",
    changes: Sequence[str] = (),
    pause: bool = True,
) -> Image:
    """Make an image of a container: its image's layers and one of its own changes, if there are any.

    Args:
        name: what the image is to be called; None leaves it without a name.
        message: the history's comment.
        changes: Dockerfile instructions for the new configuration.
        pause: let no process of a running container run meanwhile.

    Raises:
        NotFoundError: the image that it was made of is gone.
        ConflictError: it is being removed, or has no image.
        InvalidError: a change is malformed.
        StoreError: no room.
    """
    if HOST in container.record.layers:
        raise ConflictError(
            f"container {container.name} has no image but the machine itself",
            hint="`rootless diff` shows its changes, `rootless cp` takes files out of it",
        )
    with pins.hold(store.paths, made=True) as pin:
        base = _base(store, container, pin)
        config = spec.read_config(store.blobs.read(base.id, spec.CONFIG_LIMIT), "the configuration", whole=True)
        run = instructions.apply(_run_config(container.spec, base.run), changes)
        reader = changed.reader(container, idmap)
        with changed.steady(container, "commit", pause=pause):
            layer = commit_layer(store, pin, reader, base.diff_ids)
        image = store.publish(
            pin,
            _config(config, run, layer, History(author=author, comment=message, created_by=_command(container.spec))),
            [*(each.blob for each in base.layers), *([layer.blob] if layer.diff_id != EMPTY else [])],
            name,
        )
    container.emit("commit", comment=message, imageID=image.id, imageRef=name.familiar if name is not None else "")
    return image


def _base(store: ImageStore, container: Container, pin: Pin) -> Image:
    try:
        base = store.resolve(container.spec.image_id)
        pin.add(base.id, *(layer.blob.digest for layer in base.layers), *base.chain_ids)
        return store.resolve(container.spec.image_id)  # removed a moment ago, it would not be there now
    except NotFoundError as problem:
        raise NotFoundError(
            f"the image {container.spec.image} that container {container.name} was made of is gone",
            hint="pull it again, or use `rootless export`",
        ) from problem


def _config(base: ImageConfig, run: RunConfig, layer: Layer, history: History) -> ImageConfig:
    created = spec.timestamp(datetime.now(UTC))
    empty = layer.diff_id == EMPTY
    entry = history.changed(created=created, empty_layer=empty)
    diff_ids = [*base.rootfs.diff_ids, *([] if empty else [layer.diff_id])]
    return base.changed(
        created=created,
        author=history.author,
        config=run,
        rootfs=base.rootfs.changed(diff_ids=diff_ids),
        history=[*(base.history or []), entry],
    )


def _run_config(spec: Spec, base: RunConfig) -> RunConfig:
    """The configuration by which a container of the new image is what this one is. ONBUILD is not passed on."""
    return base.changed(
        user=spec.user or None,
        env=_environment(spec, base) or None,
        entrypoint=list(spec.entrypoint) or None,
        cmd=_words(spec) or None,
        working_dir=spec.workdir if spec.workdir != "/" or base.working_dir else None,
        labels=dict(spec.labels) or None,
        stop_signal=spec.stop_signal or None,
        healthcheck=_healthcheck(spec.health, base.healthcheck),
        on_build=None,
    )


def _environment(spec: Spec, base: RunConfig) -> list[str]:
    """Without what every container gets by itself, unless the image has said the same."""
    given = {DEFAULT_PATH, f"HOSTNAME={spec.hostname}", *(["TERM=xterm"] if spec.tty else [])}
    return [item for item in spec.env if item not in given or item in (base.env or ())]


def _healthcheck(check: Check | None, base: Healthcheck | None) -> Healthcheck | None:
    if check is None:
        return Healthcheck(test=["NONE"]) if base is not None and base.test else None
    return msgspec.convert(
        msgspec.structs.asdict(check) | {"test": list(check.test)}, Healthcheck, from_attributes=True
    )


def _words(spec: Spec) -> list[str]:
    return list(spec.argv[len(spec.entrypoint) :])


def _command(spec: Spec) -> str:
    return " ".join(_words(spec))


def check_name(text: str) -> Reference | None:
    """The name of a new image; None for none.

    Raises:
        InvalidError: it can't be one.
    """
    from ..image import reference

    if not text:
        return None
    name = reference.parse(text)
    if name.digest:
        raise InvalidError("refusing to create a tag with a digest reference", hint="give the image a name and a tag")
    return name.tagged()
