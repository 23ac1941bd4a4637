"""`build`: from a context and options to an image."""

from __future__ import annotations

from collections.abc import Callable

from ..container.engine import Engine
from ..errors import RootlessError
from ..image import pins, spec
from ..image.pins import Pin
from ..image.spec import History
from ..image.store import Image
from . import config, events, interpret
from .builder import Common
from .cache import KEYS, Cache
from .config import COMMENT, Draft
from .context import Context
from .destination import STDOUT, Output
from .events import Tell, Warned
from .executor import Executor
from .request import Request
from .scope import BuildArguments, GlobalScope, platforms
from .stages import Obtain, Planner


class Build:
    """One build."""

    def __init__(self, engine: Engine, request: Request, context: Context, obtain: Obtain, tell: Tell) -> None:
        """
        Args:
            obtain: gives the image of a name for a platform, pulled if need be.
        """
        self._engine, self._request, self._context = engine, request, context
        self._obtain, self._tell = obtain, tell
        self._arguments = BuildArguments(request.arguments)

    def run(self, tick: Callable[[], None] = lambda: None) -> Image | None:
        """Build, and do with the result what the request says.

        Returns:
            The image; None where only its files were wanted.

        Raises:
            DockerfileError: of the Dockerfile.
            StepError: a step failed.
            RootlessError: an image could not be had, or something can't be written.
        """
        with pins.hold(self._engine.images.paths, made=True) as pin:
            draft = self._build(pin, tick)
            if self._request.squash:
                self._squash(pin, draft)
            return self._deliver(pin, draft)

    def _build(self, pin: Pin, tick: Callable[[], None]) -> Draft:
        request, tell = self._request, self._tell
        with events.vertex(tell, f"[internal] load build definition from {self._context.file}", "definition"):
            dockerfile = interpret.read(self._context.dockerfile, self._context.file)
        for place, text in dockerfile.tree.warnings:
            tell(Warned("", 0, f"[Warning] {place}: {text}"))
        automatic = platforms(request.platform, spec.host_platform(), request.target)
        outer = GlobalScope(dockerfile.arguments, self._arguments, automatic, dockerfile.escape)
        planner = Planner(dockerfile, outer, lambda name, platform: self._image(pin, name, platform))
        target = planner.target(request.target)
        planned = planner.plan(target)
        cache = self._cache(pin)
        common = Common(self._engine, request, cache, pin, outer, lambda: self._context.tree, tell)
        draft = Executor(common, planned, tell, tick).run()[target]
        if unused := self._arguments.unused():
            names = ", ".join(unused)
            tell(Warned("", 0, f"[Warning] One or more build-args [{names}] were not consumed"))
        return draft

    def _image(self, pin: Pin, name: str, platform: str) -> Image:
        """An image that the build begins with or takes from, kept from being removed."""
        image = self._obtain(name, platform)
        pin.add(image.id, *(layer.blob.digest for layer in image.layers), *image.chain_ids)
        return image

    def _cache(self, pin: Pin) -> Cache:
        cache = Cache(self._engine.images, pin, read=not self._request.no_cache)
        for name in self._request.cache_from:
            with events.vertex(self._tell, f"importing cache from {name}", f"cache {name}") as status:
                try:
                    cache.take_over(self._image(pin, name, ""))
                except RootlessError as problem:  # as in Docker, it is a cache and no condition
                    status(f"not used: {problem}")
        return cache

    def _squash(self, pin: Pin, draft: Draft) -> None:
        """Join the layers that this build has added into one."""
        from . import layering
        from .packing import pass_on
        from .root import Root

        fresh = len(draft.layers) - draft.inherited
        if fresh < 2:
            return
        with events.vertex(self._tell, "squashing layers", "squash"):
            below = draft.layers[: draft.inherited]
            with layering.new_layer(self._engine.images, pin) as sink:
                with Root(self._engine, draft.layers).difference(fresh, self._request.epoch) as archive:
                    pass_on(archive, sink)
                layer = sink.finish(below)
        own = [entry.changed(empty_layer=True) for entry in draft.history[draft.inherited_history :]]
        created = next((entry.created for entry in reversed(own) if entry.created), None)
        merged = History(created=created, created_by=f"squash of {fresh} layers", comment=COMMENT)
        draft.history[draft.inherited_history :] = [*own, merged]
        draft.layers, draft.keys = [*below, layer], [*draft.keys[: draft.inherited], ""]

    def _deliver(self, pin: Pin, draft: Draft) -> Image | None:
        request, output = self._request, self._request.output
        if output.kind in ("local", "tar"):
            self._write_files(output, draft)
            return None
        store = self._engine.images
        with events.vertex(self._tell, "exporting to image", "export") as status:
            document = config.finished(draft, request.epoch, request.labels)
            annotations = {KEYS: ",".join(draft.keys)} if any(draft.keys) else {}
            image = store.assemble(pin, document, [layer.blob for layer in draft.layers], annotations)
            status(f"writing image {image.id} done")
            if output.kind != "image":
                self._write_archive(output, image)
                return image
            for name in request.names or (None,):
                store.announce(image, name)
                if name is not None:
                    status(f"naming to {name.full} done")
        return image

    def _write_files(self, output: Output, draft: Draft) -> None:
        from . import outputs

        write = outputs.write_directory if output.kind == "local" else outputs.write_tar
        where = output.destination if output.destination != STDOUT else "standard output"
        with events.vertex(self._tell, f"exporting to {where}", "export"):
            write(self._engine, draft.layers, output.destination)

    def _write_archive(self, output: Output, image: Image) -> None:
        from ..image import save
        from . import outputs

        form: save.Form = "oci-archive" if output.kind == "oci" else "docker-archive"
        with outputs.opened(output.destination) as sink:
            save.write(self._engine.images, [(image, list(self._request.names))], sink, form)
