"""Taking names and images away: what `rmi` and `image prune` do, and what must stay because a container needs it.

Docker's rules (moby, daemon/images/image_delete.go): a name goes first; with the last name the image goes, too, unless
a container uses it. One difference: Docker lets `rmi -f` delete an image under a stopped container, whose layers it
keeps. Here unpacked layers are a cache that the blobs must be able to renew, so such an image only loses its names;
once the container is gone, `image prune` or `rmi` by its id deletes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ..errors import ConflictError, StoreError
from ..storage.layers import Layers
from . import garbage, index, manifests, pins, reference
from .garbage import Freed
from .reference import Reference
from .spec import Index, Platform
from .store import Image, ImageStore


@dataclass(frozen=True)
class Use:
    """A container that uses an image.

    Attributes:
        container, image: their ids.
        running: whether it has processes.
        chains: the chain ids of the layers that it stands on, which must stay even if the image can't be read any more.
    """

    container: str
    image: str
    running: bool
    chains: tuple[str, ...] = ()


Uses = Callable[[], Iterable[Use]]
"""Asked under the index's lock."""


@dataclass
class Removed:
    """What was done.

    Attributes:
        untagged: names that are gone.
        deleted: the ids of images and the chain ids of layers that are gone, in order.
        size: bytes of blobs that are gone.
    """

    untagged: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    size: int = 0

    def lines(self) -> list[str]:
        """As Docker prints it."""
        return [f"Untagged: {name}" for name in self.untagged] + [f"Deleted: {digest}" for digest in self.deleted]


def remove(
    store: ImageStore,
    text: str,
    uses: Uses,
    layers: Layers,
    *,
    force: bool = False,
    platform: Platform | None = None,
) -> Removed:
    """Remove a name, or an image by its id.

    Args:
        force: also an image that has several names, or a name whose image a stopped container uses.
        platform: what the image has to be for.

    Raises:
        NotFoundError, ConflictError: in Docker's words.
    """
    freed = Freed()
    garbage.clean_up(store, layers)
    with store.locked():
        contents = store.read_index(whole=True)
        try:
            image = store.find(text, contents)
        except StoreError:
            return _remove_damaged(store, text, contents)
        manifests.require(image.config, platform, text)
        if image.id in pins.pinned(store.paths):
            raise _conflict(image, "cannot be forced", "image is being used by a container that is being created")
        users = list(uses())
        job = _Removal(contents, image, [use for use in users if use.image == image.id], force)
        named = store.by_name(text, index.names(contents)) is not None
        gone = job.by_name(reference.parse(text).tagged()) if named else job.by_id()
        removed = Removed(untagged=[str(name) for name in job.untagged])
        used = {chain_id for use in users for chain_id in use.chains}
        _carry_out(store, contents, [image] if gone else [], used, layers, freed, removed)
    if freed.problem is not None:
        raise freed.problem
    for _ in removed.untagged:
        store.emit("untag", image.id)
    if image.id in removed.deleted:
        store.emit("delete", image.id)
    return removed


def _remove_damaged(store: ImageStore, text: str, contents: Index) -> Removed:
    """An image whose documents can't be read has nothing but its names; its other blobs are left to `prune`."""
    digest = store.entry(text, contents).digest
    names = [name for name, entry in index.names(contents).items() if entry.digest == digest]
    index.remove(contents, digest)
    store.write_index(contents)
    return Removed(untagged=[str(name) for name in names])


def prune(store: ImageStore, chosen: Callable[[Image], bool], uses: Uses, layers: Layers) -> Removed:
    """Remove the images that `chosen` picks and no container uses, and all that nothing refers to."""
    freed = Freed()
    garbage.clean_up(store, layers)
    with store.locked():
        contents = store.read_index(whole=True)
        users = list(uses())
        kept = {use.image for use in users} | pins.pinned(store.paths)
        gone = [image for image in store.images_in(contents) if image.id not in kept and chosen(image)]
        removed = Removed(untagged=[str(name) for image in gone for name in (*image.names, *image.digests)])
        for image in gone:
            _drop(contents, image)
        used = {chain_id for use in users for chain_id in use.chains}
        _carry_out(store, contents, gone, used, layers, freed, removed)
        garbage.sweep(store, contents, used, layers, freed)
    if freed.problem is not None:
        raise freed.problem
    removed.size = freed.size
    return removed


def _carry_out(
    store: ImageStore,
    contents: Index,
    gone: list[Image],
    used: set[str],
    layers: Layers,
    freed: Freed,
    removed: Removed,
) -> None:
    """Write the index, then take away what it no longer leads to: a kill between them leaves garbage, not damage, and a
    note of it, by which the next command goes on."""
    doomed = {digest for image in gone for digest in (*garbage.owned(store, image), *image.chain_ids)} - used
    note = pins.condemn(store.paths, doomed) if doomed else None
    store.write_index(contents)
    for image in gone:
        before = len(freed.chains)
        garbage.release(store, contents, image, used, layers, freed)
        removed.deleted += [image.id, *freed.chains[before:]]
    removed.size = freed.size
    if note is not None and not doomed & pins.pinned(store.paths):  # else who has them pinned leaves them
        note.unlink()


def _drop(contents: Index, image: Image) -> None:
    for manifest in image.manifests:
        index.remove(contents, manifest.digest)


class _Removal:
    """One removal under way: decides, and changes `contents`."""

    def __init__(self, contents: Index, image: Image, uses: list[Use], force: bool) -> None:
        self._contents = contents
        self._image = image
        self._uses = uses
        self._force = force
        self.untagged: list[Reference] = []

    def by_name(self, wanted: Reference) -> bool:
        """Take a name away. True when the image goes with it."""
        name = self._known(wanted)
        left = [other for other in (*self._image.names, *self._image.digests) if other != name]
        if not name.digest and not any(other.name == name.name for other in left if not other.digest):
            # With the last tag in a repository the digests under which it came from there go, too.
            digests = [other for other in left if other.name == name.name]
            left = [other for other in left if other not in digests]
        else:
            digests = []
        if self._uses and not left and not self._force:
            raise ConflictError(
                f'conflict: unable to remove repository reference "{name}" (must force) - container '
                f"{self._uses[0].container[:12]} is using its referenced image {self._image.short_id}"
            )
        for gone in (name, *digests):
            index.take(self._contents, gone)
            self.untagged.append(gone)
        return not left and not self._uses and self._all_gone()

    def by_id(self) -> bool:
        """Take the image away with all its names."""
        names = (*self._image.names, *self._image.digests)
        running = [use for use in self._uses if use.running]
        if running:
            raise self._conflict("cannot be forced", f"image is being used by running container {_short(running)}")
        several = len({name.name for name in names}) > 1 or len(self._image.names) > 1
        if several and not self._force:
            raise self._conflict("must be forced", "image is referenced in multiple repositories")
        if self._uses and not (self._force and names):
            # Forced or not: without a name to lose the image would only be gone from sight.
            how = "cannot be forced" if self._force else "must be forced"
            raise self._conflict(how, f"image is being used by stopped container {_short(self._uses)}")
        for name in names:
            index.take(self._contents, name)
            self.untagged.append(name)
        return not self._uses and self._all_gone()

    def _known(self, wanted: Reference) -> Reference:
        """The image's own name that was meant: with a digest it may go by another name than was typed."""
        own = (*self._image.names, *self._image.digests)
        if wanted in own:
            return wanted
        return next((name for name in own if name.name == wanted.name), own[0])

    def _all_gone(self) -> bool:
        _drop(self._contents, self._image)
        return True

    def _conflict(self, how: str, why: str) -> ConflictError:
        return _conflict(self._image, how, why)


def _conflict(image: Image, how: str, why: str) -> ConflictError:
    return ConflictError(f"conflict: unable to delete {image.short_id} ({how}) - {why}")


def _short(uses: list[Use]) -> str:
    return uses[0].container[:12]
