"""Push: an image's blobs and manifest to a registry. Only what is missing there travels, and what another repository
of the same registry has is mounted from it. Blobs go as they stand in the store: nothing is compressed again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

import trio

from ..errors import InvalidError, NotFoundError, RootlessError
from ..registry import config, credentials, http
from ..registry.certs import Contexts
from ..registry.client import Repository
from ..registry.connection import Body, TemporaryError, TransferError
from ..registry.http import Http
from ..registry.session import DeniedError, Patience
from ..registry.url import Url
from ..storage import digest as digests
from . import garbage, index, manifests, pins, spec
from .manifests import Received
from .progress import Step, Tell, silence
from .pull import OPTIONS, Options
from .reference import Reference
from .spec import Descriptor, Manifest
from .store import Image, ImageStore

PIECE = 64 << 20
"""Bytes of one request of an upload: what has to be sent again when it breaks off."""

_READ = 1 << 18


@dataclass(frozen=True)
class Pushed:
    """What a push has published.

    Attributes:
        digest, size: of the manifest.
    """

    digest: str
    size: int


def push(store: ImageStore, name: Reference, options: Options = OPTIONS, tell: Tell = silence) -> Pushed:
    """Push the image that has this name, under this name.

    Raises:
        NotFoundError: there is no such image here, or it is for another platform than `options` name.
        DeniedError: the registry does not let us.
        TransferError: the network failed.
    """
    name = name.tagged()
    if not name.tag:
        raise InvalidError("cannot push a digest reference", hint="give the image a tag with `rootless tag`")
    image = store.resolve(name.full)
    manifests.require(image.config, options.platform, str(name))
    with pins.hold(store.paths) as pin:
        document = _document(store, image, name)
        manifest = manifests.image(document, str(name))
        pin.add(document.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers))
        http.run(_Push(store, name, options, tell).run, document, manifest)
    by_digest = Reference(name.domain, name.path, digest=document.digest)
    listed = manifests.converted(document)
    with store.changing() as contents:
        if any(entry.digest == listed.digest for entry in contents.manifests):
            index.give(contents, by_digest, listed.descriptor)
    return Pushed(document.digest, len(document.data))


def _document(store: ImageStore, image: Image, name: Reference) -> Received:
    """The manifest to push: as it was pulled, where it was, so that its digest stays."""
    entry = index.names(store.read_index()).get(name) or image.manifests[0]
    for digest in garbage.originals(store, image):
        with suppress(InvalidError):  # an index also leads to what is no manifest
            found = manifests.received(store.blobs.read(digest, spec.MANIFEST_LIMIT), "", digest, str(name))
            if found.media_type == spec.DOCKER_MANIFEST and manifests.converted(found).digest == entry.digest:
                return found
    data = store.blobs.read(entry.digest, spec.MANIFEST_LIMIT)
    return manifests.received(data, entry.media_type, entry.digest, str(name))


class _Push:
    def __init__(self, store: ImageStore, name: Reference, options: Options, tell: Tell) -> None:
        self._store = store
        self._name = name
        self._options = options
        self._tell = tell

    async def run(self, document: Received, manifest: Manifest) -> None:
        options, name = self._options, self._name
        contexts = Contexts()
        async with Http(options.limits, contexts) as client:
            place = config.load().home(name.name, verify=options.verify)
            known = credentials.find(name.name, authfile=options.authfile)
            repository = Repository(client, contexts, place, known, write=True, patience=options.patience)
            layers = {layer.digest: layer for layer in manifest.layers if layer.media_type not in manifests.FOREIGN}
            for digest in layers:
                self._tell(Step(digest, "Preparing"))
            queue = deque(layers.values())
            async with trio.open_nursery() as nursery:
                for _ in range(options.parallel):
                    nursery.start_soon(self._work, repository, queue)
            await self._blob(repository, manifest.config, silence)
            said = await repository.put_manifest(name.tag, document.media_type, document.data)
            if said and said.partition(":")[0] in digests.ALGORITHMS and said != document.digest:
                raise InvalidError(f"{name}: the registry says it has got {said}, which is not {document.digest}")

    async def _work(self, repository: Repository, queue: deque[Descriptor]) -> None:
        while queue:
            await self._blob(repository, queue.popleft(), self._tell)

    async def _blob(self, repository: Repository, blob: Descriptor, tell: Tell) -> None:
        """Let the registry have a blob."""
        if await repository.has_blob(blob.digest):
            tell(Step(blob.digest, "Layer already exists"))
            return
        there, other = await self._mounted(repository, blob.digest)
        if there is None:
            tell(Step(blob.digest, f"Mounted from {other}"))
            return
        with self._store.blobs.open(blob.digest) as file:
            upload = _Upload(repository, blob, file, lambda done: tell(Step(blob.digest, "Pushing", done, blob.size)))
            await upload.run(there, self._options.patience)
        tell(Step(blob.digest, "Pushed"))

    async def _mounted(self, repository: Repository, digest: str) -> tuple[Url | None, str]:
        """Have a blob taken over from another repository: (None, which one), or (where to upload it to, "")."""
        other = next(self._neighbours(digest), "")
        try:
            there = await repository.begin_upload(digest, other)
        except (DeniedError, NotFoundError):
            if not other:
                raise
            # Of the other one we may know only what it once had, or what somebody else was allowed to see.
            there = await repository.begin_upload()
        return there, other if there is None else ""

    def _neighbours(self, digest: str) -> Iterator[str]:
        """Other repositories of this registry that this blob is known from, the first one that may have it."""
        domain, path = self._name.domain, self._name.path
        for image in self._store.all():
            if any(digest == layer.digest for layer in image.manifest.layers):
                for other in image.digests:  # where it was pulled from, or pushed to
                    if other.domain == domain and other.path != path:
                        yield other.path


class _Upload:
    """One blob on its way to a registry."""

    def __init__(self, repository: Repository, blob: Descriptor, file: BinaryIO, sent: Callable[[int], object]) -> None:
        self._repository = repository
        self._blob = blob
        self._file = file
        self._sent = sent

    async def run(self, there: Url, patience: Patience) -> None:
        """Send it piece by piece; where a piece breaks off, the registry is asked how much of it has arrived."""
        position, tries = 0, patience.tries
        while True:
            try:
                while position < self._blob.size:
                    piece = min(PIECE, self._blob.size - position)
                    there = await self._repository.send_piece(there, self._body(position, piece), position)
                    position, tries = position + piece, patience.tries
                    self._sent(position)
                await self._repository.end_upload(there, self._blob.digest)
                return
            except TemporaryError as problem:
                tries -= 1
                if not tries:
                    raise TransferError(f"{problem.message} (after {position} of {self._blob.size} bytes)") from problem
                await self._repository.pause(patience.tries - tries, problem.delay)
                if await self._repository.has_blob(self._blob.digest):
                    return  # only the last answer was lost
                there, position = await self._resumed(there)

    async def _resumed(self, there: Url) -> tuple[Url, int]:
        """Where an upload that broke off goes on: from what has arrived, or, where the registry has given it up (as
        docker-registry does when not every byte was answered for), from the beginning."""
        try:
            return await self._repository.sent(there)
        except TemporaryError:
            raise
        except (NotFoundError, TransferError):
            anew = await self._repository.begin_upload()
            assert anew is not None
            return anew, 0

    def _body(self, start: int, size: int) -> Body:
        def pieces() -> Iterator[bytes]:
            self._file.seek(start)
            left = size
            while left:
                data = self._file.read(min(_READ, left))
                if not data:
                    raise RootlessError(f"blob {self._blob.digest} is shorter than its manifest says")
                left -= len(data)
                self._sent(start + size - left)
                yield data

        return Body(size, pieces)
