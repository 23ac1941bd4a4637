"""What builds keep for later builds, and its removal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ..container.engine import Engine
from ..errors import RootlessError
from ..image import garbage
from ..image.garbage import Freed
from ..image.steps import Kept, Steps
from ..storage.layers import Layers
from .cachemounts import CacheMounts


@dataclass
class Pruned:
    """What a prune did.

    Attributes:
        removed: the keys of steps, and the names of cache mounts.
        size: bytes of blobs, and of cache mounts.
        problem: why a layer stayed that nothing needs.
    """

    removed: list[str] = field(default_factory=list)
    size: int = 0
    problem: RootlessError | None = None


def prune(
    engine: Engine,
    chosen: Callable[[Kept], bool],
    used: Callable[[], Iterable[str]],
    *,
    everything: bool,
    mounts: bool,
) -> Pruned:
    """Forget what steps came to, with the layers and blobs that only they kept.

    Args:
        chosen: which steps may go.
        used: the chain ids of layers that containers stand on; asked under the index's lock.
        everything: those whose layer an image has, too; their going frees nothing.
        mounts: cache mounts that nobody uses go as well.
    """
    store = engine.images
    layers = Layers(engine.paths, engine.idmap)
    result, freed = Pruned(), Freed()
    with store.locked():
        contents = store.read_index()
        images = {layer.blob.digest for image in store.images_in(contents) for layer in image.layers}
        gone = [kept for kept in Steps(store.paths).all() if chosen(kept)]
        gone = [kept for kept in gone if everything or kept.step.layer.digest not in images]
        garbage.forget_steps(store, contents, gone, set(used()), layers, freed)
    result.removed += [kept.key for kept in gone]
    result.size, result.problem = freed.size, freed.problem
    if mounts:
        caches = CacheMounts(engine.paths, engine.idmap)
        for name, _ in list(caches.sizes()):
            size = caches.remove(name)
            if size is not None:
                result.removed.append(name)
                result.size += size
    return result
