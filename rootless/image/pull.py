"""Pull: from a name to an image of the store.

    manifest -> index -> the platform's manifest -> configuration
    layers: several downloads at once, each hashed on its way into partial/, and unpacked beside it, in order, by a
    child documents, then the index: one rename, last

Whatever is needed is pinned before anybody looks whether it is there. When the network fails or the command is killed,
what has arrived stays for the next time; when what arrives is not what it should be, the store is left as it was.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import trio

from ..errors import InvalidError, RootlessError
from ..idmap import IdMap
from ..registry import config, credentials, http
from ..registry.certs import Contexts
from ..registry.client import Repository
from ..registry.connection import LIMITS, Limits, TransferError
from ..registry.http import Http
from ..registry.session import PATIENCE as DEFAULT_PATIENCE
from ..registry.session import DeniedError, Patience
from ..storage import digest as digests
from ..storage.driver import LayerKind
from ..storage.layers import Layers, LayerSource
from . import garbage, index, layout, manifests, partial, pins, space, spec
from .manifests import Received
from .partial import Partial
from .pins import Pin
from .progress import Step, Tell, silence
from .reference import Reference
from .sources import Sources
from .spec import Descriptor, ImageConfig, Manifest, Platform
from .store import Image, ImageStore
from .unpacker import Unpacker

_DEPTH = 3
"""Indexes that may lead to one another."""

_WAIT = 0.05
"""Seconds between two looks whether another pull has finished with a blob."""


@dataclass(frozen=True)
class Options:
    """How to pull.

    Attributes:
        platform: None for this machine's.
        verify: `--tls-verify`; None for what registries.conf says.
        authfile: the only file with credentials to look at; empty for the usual ones.
        parallel: downloads at once.
        kind: of the unpacked layers.
    """

    platform: Platform | None = None
    verify: bool | None = None
    authfile: str = ""
    parallel: int = 3
    kind: LayerKind = "auto"
    limits: Limits = LIMITS
    patience: Patience = DEFAULT_PATIENCE


OPTIONS = Options()


@dataclass(frozen=True)
class Pulled:
    """What a pull brought.

    Attributes:
        name: under which the image is now known.
        digest: of what the registry has under that name: a manifest, or an index.
        newer: whether the name leads to another image than before.
    """

    image: Image
    name: Reference
    digest: str
    newer: bool


def pull(
    store: ImageStore, idmap: IdMap, wanted: Reference, options: Options = OPTIONS, tell: Tell = silence
) -> Pulled:
    """Bring an image here. Only in a process with one thread (see unpacker.py).

    Raises:
        NotFoundError: no such image, or none for this platform.
        DeniedError: the registry wants other credentials.
        InvalidError: what the registry sent is not what it should be; the store is as before.
        TransferError: the network failed; what has arrived is gone on with by the next pull.
        StoreError: no room.
    """
    with layout.writing(store.paths):
        layout.make_directories(store.paths)
        with store.locked():
            pins.pinned(store.paths)  # which clears away those of the dead
        garbage.clean_up(store, Layers(store.paths, idmap))
    job = _Pull(store, idmap, wanted.tagged(), options, tell)
    try:
        return job.run()
    except InvalidError:
        if not job.doubtful:
            raise
    # What an earlier run has left was not what it seemed (a power cut?), or a mirror does not do what one is for.
    job.distrustful = True
    return job.run()


def tags(wanted: Reference, options: Options = OPTIONS) -> list[str]:
    """The tags that the repository of an image has. It starts threads.

    Raises:
        NotFoundError, DeniedError, InvalidError, TransferError: as `Repository.tags`.
    """

    async def ask() -> list[str]:
        contexts = Contexts()
        async with Http(options.limits, contexts) as client:
            return await _sources(wanted, options, client, contexts).ask(lambda place: place.tags())

    return http.run(ask)


def _sources(
    wanted: Reference,
    options: Options,
    client: Http,
    contexts: Contexts,
    waiting: Callable[[float], object] = lambda _: None,
) -> Sources:
    """Where registries.conf says that an image may be had."""
    found = []
    for place in config.load().sources(wanted.name, digest=bool(wanted.digest), verify=options.verify):
        known = credentials.find(str(place) if place.mirror else wanted.name, authfile=options.authfile)
        found.append(Repository(client, contexts, place, known, patience=options.patience, waiting=waiting))
    return Sources(found[:-1], found[-1])


@dataclass
class _Pull:
    store: ImageStore
    idmap: IdMap
    wanted: Reference
    options: Options
    tell: Tell
    resumed: set[str] = field(default_factory=set)
    """Blobs that an earlier run has begun."""
    fresh: list[str] = field(default_factory=list)
    """Blobs and layers that were not here before."""
    distrustful: bool = False
    """Mirrors are left alone."""
    mirrored: bool = False
    """Mirrors were asked."""

    @property
    def doubtful(self) -> bool:
        """Whether what turned out wrong may be right where it is at home."""
        return bool(self.resumed) or self.mirrored

    def run(self) -> Pulled:
        self.resumed.clear()
        self.fresh.clear()
        try:
            with self._unpacker() as unpacker, layout.writing(self.store.paths), pins.hold(self.store.paths) as pin:
                return http.run(self._run, pin, unpacker)
        except (TransferError, DeniedError):
            raise  # what has arrived is good, and the next pull goes on with it
        except RootlessError:
            self._discard()
            raise

    @contextmanager
    def _unpacker(self) -> Iterator[Unpacker]:
        unpacker = Unpacker(self.store.paths, self.idmap, self.options.kind)
        try:
            yield unpacker
        finally:
            unpacker.close()

    def _discard(self) -> None:
        """Leave the store as it was."""
        for digest in self.fresh:
            partial.forget(self.store.paths, digest)
        garbage.discard(self.store, self._all_layers, self.fresh)

    @property
    def _all_layers(self) -> Layers:
        return Layers(self.store.paths, self.idmap)

    def _pin(self, pin: Pin, *digests: str) -> None:
        """Rely on these from now on, and remember which of them this pull brings."""
        with pin.adding() as add:
            self.fresh += garbage.absent(self.store, self._all_layers, digests)
            for digest in digests:
                add(digest)

    async def _run(self, pin: Pin, unpacker: Unpacker) -> Pulled:
        contexts = Contexts()
        async with Http(self.options.limits, contexts) as client:
            sources = self._sources(client, contexts)
            top = await self._document(sources, self.wanted.digest or self.wanted.tag, self.wanted.digest)
            others, chosen = await self._chosen(sources, top)
            manifest = manifests.image(chosen, self._what)
            listed = manifests.converted(chosen)
            blobs = [layer.digest for layer in manifest.layers]
            self._pin(pin, manifest.config.digest, *blobs, *(part.digest for part in (*others, chosen, listed)))
            data = await self._config(sources, manifest)
            configuration = spec.read_config(data, f"{self._what}: its configuration")
            spec.check_pair(manifest, configuration, self._what)
            manifests.require(configuration, self.options.platform, self._what)
            self._pin(pin, *digests.chain_ids(configuration.rootfs.diff_ids))
            await self._layers(sources, manifest, configuration, unpacker)
        return self._publish([*others, chosen, listed], manifest.config.digest, data, top.digest)

    @property
    def _what(self) -> str:
        return str(self.wanted)

    # --- documents
    # -----------------------------------------------------------------------------------------------------

    def _sources(self, client: Http, contexts: Contexts) -> Sources:
        sources = _sources(self.wanted, self.options, client, contexts, self._waiting)
        self.mirrored = sources.has_mirrors
        if self.distrustful:
            sources.leave_mirrors()
        return sources

    async def _document(self, sources: Sources, label: str, digest: str) -> Received:
        async def ask(repository: Repository) -> Received:
            answer = await repository.manifest(label, spec.MANIFEST_LIMIT)
            found = manifests.received(answer.data, answer.media_type, digest, self._what)
            algorithm = answer.digest.partition(":")[0]
            if not digest and algorithm in digests.ALGORITHMS and digests.of(answer.data, algorithm) != answer.digest:
                raise InvalidError(f"{self._what}: the server says {answer.digest[:80]}, but sends {found.digest}")
            return found

        return await sources.ask(ask)

    async def _chosen(self, sources: Sources, top: Received) -> tuple[list[Received], Received]:
        """The indexes on the way, and the manifest for the platform."""
        platform = self.options.platform or spec.host_platform()
        way: list[Received] = []
        while top.media_type in manifests.INDEXES:
            if len(way) == _DEPTH:
                raise InvalidError(f"{self._what}: more than {_DEPTH} indexes lead to one another")
            way.append(top)
            entry = manifests.choose(manifests.index(top, self._what), platform, self._what)
            top = await self._document(sources, entry.digest, entry.digest)
            if len(top.data) != entry.size:
                raise InvalidError(f"{self._what}: {entry.digest} has {len(top.data)} bytes, not {entry.size}")
        return way, top

    async def _config(self, sources: Sources, manifest: Manifest) -> bytes:
        entry = manifest.config
        if self.store.blobs.exists(entry.digest):
            return self.store.blobs.read(entry.digest, spec.CONFIG_LIMIT)

        async def ask(repository: Repository) -> bytes:
            data = await repository.small_blob(entry.digest, entry.size)
            if digests.of(data, digests.parse(entry.digest)[0]) != entry.digest:
                raise InvalidError(f"{self._what}: its configuration is not what {entry.digest} names")
            return data

        return await sources.ask(ask)

    def _publish(self, parts: list[Received], config_digest: str, config_data: bytes, top: str) -> Pulled:
        """Documents first, the index last."""
        listed = parts[-1]
        for digest, data in [(config_digest, config_data), *((part.digest, part.data) for part in parts)]:
            with self.store.blobs.writer(algorithm=digests.parse(digest)[0]) as writer:
                writer.write(data)
                writer.commit(digest)
        by_digest = Reference(self.wanted.domain, self.wanted.path, digest=top)
        name = by_digest if self.wanted.digest else self.wanted
        with self.store.changing() as contents:
            before = index.names(contents).get(name)
            for given in dict.fromkeys((name, by_digest)):
                index.give(contents, given, listed.descriptor)
        image = self.store.resolve(name.full)
        return Pulled(image, name, top, before is None or before.digest != listed.digest)

    # --- layers
    # --------------------------------------------------------------------------------------------------------

    async def _layers(
        self, sources: Sources, manifest: Manifest, configuration: ImageConfig, unpacker: Unpacker
    ) -> None:
        diff_ids = configuration.rootfs.diff_ids
        wanted = {layer.digest: layer for layer in manifest.layers}
        space.check(self.store, self._all_layers, manifest, diff_ids, self._what)
        for layer in wanted.values():
            self.tell(Step(layer.digest, "Pulling fs layer", 0, layer.size))
        stack = [LayerSource(diff, layer.digest) for diff, layer in zip(diff_ids, manifest.layers, strict=True)]
        unpacker.begin(stack, {layer.digest: layer.size for layer in wanted.values()})
        # Lowest first: that is the order in which they are unpacked.
        queue = deque(wanted.values())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, unpacker)
            for _ in range(self.options.parallel):
                nursery.start_soon(self._work, sources, queue)

    async def _work(self, sources: Sources, queue: deque[Descriptor]) -> None:
        while queue:
            await self._download(sources, queue.popleft())

    async def _download(self, sources: Sources, layer: Descriptor) -> None:
        """Have the blob in the store: it is here, or another pull brings it, or we do."""
        blobs = self.store.blobs
        while not blobs.exists(layer.digest):
            taken = Partial.take(self.store.paths, layer.digest)
            if taken is not None:
                await self._fill(sources, layer, taken)
                return
            self.tell(Step(layer.digest, "Waiting"))
            await trio.sleep(_WAIT)
        self.tell(Step(layer.digest, "Already exists"))

    async def _fill(self, sources: Sources, layer: Descriptor, taken: Partial) -> None:
        try:
            if self.store.blobs.exists(layer.digest):  # since we looked
                taken.discard()
                return
            if taken.position:
                self.resumed.add(layer.digest)
            if taken.position > layer.size:
                taken.restart()
            if taken.position:
                await trio.to_thread.run_sync(taken.recall)

            def sink(piece: bytes) -> None:
                taken.write(piece)
                self.tell(Step(layer.digest, "Downloading", taken.position, layer.size))

            # Each place goes on where the one before it broke off.
            await sources.ask(lambda place: place.blob(layer.digest, layer.size, taken.position, sink))
            self.tell(Step(layer.digest, "Verifying Checksum"))
            taken.verify(layer.size)
            await trio.to_thread.run_sync(taken.publish, self.store.blobs)
            self.tell(Step(layer.digest, "Download complete"))
        except BaseException:
            if not taken.position:
                taken.discard()
            raise
        finally:
            taken.close()

    async def _watch(self, unpacker: Unpacker) -> None:
        """Hear what the unpacking child has to tell, until it has ended."""
        current = ""
        while True:
            await trio.lowlevel.wait_readable(unpacker.answers)
            data = os.read(unpacker.answers, 1 << 16)
            if not data:
                raise RootlessError("the process that unpacks layers was killed", hint="pull again")
            for word, value in unpacker.messages(data):
                if current:
                    self.tell(Step(current, "Pull complete"))
                if word == "ended":
                    if isinstance(value, BaseException):
                        raise _about(value, current)
                    return
                current = str(value)
                self.tell(Step(current, "Extracting"))

    def _waiting(self, seconds: float) -> None:
        self.tell(Step("", f"Retrying in {seconds:.0f} seconds"))


def _about(problem: BaseException, digest: str) -> BaseException:
    """The error, with the layer that it is about."""
    if isinstance(problem, RootlessError) and digest and digest not in problem.message:
        problem.message = f"layer {digest}: {problem.message}"
    return problem
