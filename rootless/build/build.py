"""`build`: from a context and options to an image."""

from __future__ import annotations

from collections.abc import Callable

from ..container.lifecycle import Engine
from ..image import pins, spec
from ..image.pins import Pin
from ..image.store import Image
from . import config, events, interpret
from .builder import Common
from .cache import Cache
from .config import Draft
from .context import Context
from .events import Tell, Warned
from .executor import Executor
from .request import Request
from .scope import BuildArguments, GlobalScope, platforms
from .stages import Obtain, Planner


class Build:
    """One build.

    Attributes:
        executor: what builds the stages, once there are some.
    """

    def __init__(self, engine: Engine, request: Request, context: Context, obtain: Obtain, tell: Tell) -> None:
        """
        Args:
            obtain: gives the image of a name for a platform, pulled if need be.
        """
        self._engine, self._request, self._context = engine, request, context
        self._obtain, self._tell = obtain, tell
        self._arguments = BuildArguments(request.arguments)

    def run(self, tick: Callable[[], None] = lambda: None) -> Image:
        """Build the image and give it its names.

        Raises:
            DockerfileError: of the Dockerfile.
            StepError: a step failed.
            RootlessError: an image could not be had, or the store can't be written.
        """
        with pins.hold(self._engine.images.paths) as pin:
            draft = self._build(pin, tick)
            return self._publish(pin, draft)

    def _build(self, pin: Pin, tick: Callable[[], None]) -> Draft:
        request, tell = self._request, self._tell
        with events.vertex(tell, f"[internal] load build definition from {self._context.file}", "definition"):
            dockerfile = interpret.read(self._context.dockerfile, self._context.file)
        automatic = platforms(request.platform, spec.host_platform(), request.target)
        outer = GlobalScope(dockerfile.arguments, self._arguments, automatic, dockerfile.escape)
        planner = Planner(dockerfile, outer, lambda name, platform: self._image(pin, name, platform))
        target = planner.target(request.target)
        planned = planner.plan(target)
        cache = Cache(self._engine.images, pin, read=not request.no_cache)
        common = Common(self._engine, request, cache, pin, outer, lambda: self._context.tree, tell)
        draft = Executor(common, planned, tell, tick).run()[target]
        if unused := self._arguments.unused():
            tell(Warned("", 0, f"[Warning] One or more build-args {unused} were not consumed"))
        return draft

    def _image(self, pin: Pin, name: str, platform: str) -> Image:
        """An image that the build begins with or takes from, kept from being removed."""
        image = self._obtain(name, platform)
        pin.add(image.id, *(layer.blob.digest for layer in image.layers), *image.chain_ids)
        return image

    def _publish(self, pin: Pin, draft: Draft) -> Image:
        request, store = self._request, self._engine.images
        with events.vertex(self._tell, "exporting to image", "export") as status:
            document = config.finished(draft, request.epoch, request.labels)
            names = request.names or (None,)
            image = store.publish(pin, document, [layer.blob for layer in draft.layers], names[0])
            status(f"writing image {image.id} done")
            for name in request.names:
                store.tag(image, name)
                status(f"naming to {name.full} done")
        return image
