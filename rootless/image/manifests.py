"""Manifests out of a registry: what kind each is, the one for a platform, and Docker's as OCI's.

A layout's readers (skopeo) don't know Docker's manifests, so such a one is kept as it came, for its digest, and
listed as the OCI manifest that `converted` makes of it: the same configuration and the same blobs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from ..errors import InvalidError, NotFoundError
from ..storage import digest as digests
from . import documents, spec
from .spec import Descriptor, ImageConfig, Index, Manifest, Platform

INDEXES = (spec.OCI_INDEX, spec.DOCKER_INDEX)
IMAGES = (spec.OCI_MANIFEST, spec.DOCKER_MANIFEST)

_OCI_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
_DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"
_TO_OCI = {
    spec.DOCKER_LAYER: spec.OCI_LAYER,
    f"{spec.DOCKER_LAYER}.gzip": f"{spec.OCI_LAYER}+gzip",
    f"{spec.DOCKER_LAYER}.zstd": f"{spec.OCI_LAYER}+zstd",
    _DOCKER_FOREIGN: _OCI_FOREIGN,
    f"{_DOCKER_FOREIGN}.gzip": f"{_OCI_FOREIGN}+gzip",
}
_LAYERS = frozenset(
    {*_TO_OCI, *_TO_OCI.values(), f"{_OCI_FOREIGN}+zstd", f"{_DOCKER_FOREIGN}.zstd", f"{spec.OCI_LAYER}+gzip"}
)
FOREIGN = frozenset(kind for kind in _LAYERS if "foreign" in kind or "nondistributable" in kind)
"""Layers that are not to be pushed: whoever wants them gets them where their `urls` say."""


@dataclass(frozen=True)
class Received:
    """A manifest or an index, as it came; its digest is that of its bytes."""

    digest: str
    media_type: str
    data: bytes

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(media_type=self.media_type, digest=self.digest, size=len(self.data))


class _Shape(msgspec.Struct, rename="camel"):
    schema_version: int = 0
    media_type: str = ""
    manifests: Any = None
    layers: Any = None
    config: Any = None


def received(data: bytes, said: str, wanted: str, what: str) -> Received:
    """Check what a server sent.

    Args:
        said: the media type that the server gave it; servers of plain files give odd ones.
        wanted: the digest that it must have; empty when only a tag was asked for.

    Raises:
        InvalidError: it is something else, of a kind that is not supported, or two kinds at once.
    """
    algorithm = digests.parse(wanted)[0] if wanted else "sha256"
    digest = digests.of(data, algorithm)
    if wanted and digest != wanted:
        raise InvalidError(f"{what}: what arrived is something else ({digest})")
    return Received(digest, _kind(data, said, what), data)


def _kind(data: bytes, said: str, what: str) -> str:
    try:
        shape = msgspec.json.decode(data, type=_Shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise InvalidError(f"{what} is not a manifest: {problem}") from None
    if shape.schema_version == 1:
        raise InvalidError(f"{what} has Docker's schema 1, which is no longer supported", hint="push the image anew")
    if shape.manifests is not None and (shape.layers is not None or shape.config is not None):
        # What one reader takes for an image, another would take for a list (CVE-2021-41190).
        raise InvalidError(f"{what} is a manifest and an index at once")
    known = (*INDEXES, *IMAGES)
    kinds = {kind for kind in (said, shape.media_type) if kind in known}
    if len(kinds) > 1:
        raise InvalidError(f"{what} is {shape.media_type} in its own words, but {said} in the server's")
    if shape.media_type and shape.media_type not in known:
        raise InvalidError(f"{what} is not of a container image but {shape.media_type[:100]!r}")
    kind = kinds.pop() if kinds else spec.OCI_INDEX if shape.manifests is not None else spec.OCI_MANIFEST
    if (kind in INDEXES) is (shape.manifests is None):
        raise InvalidError(f"{what} is said to be {kind} but does not look so")
    return kind


def index(document: Received, what: str) -> Index:
    """An index whose descriptors can be followed."""
    found = documents.read(document.data, Index, what)
    for number, entry in enumerate(found.manifests):
        spec.check_descriptor(entry, f"{what}, entry {number}", spec.MANIFEST_LIMIT)
    return found


def image(document: Received, what: str) -> Manifest:
    """A manifest of an image whose layers are layers.

    Raises:
        InvalidError: one of them is something else.
    """
    manifest = spec.read_manifest(document.data, what)
    for number, layer in enumerate(manifest.layers):
        if layer.media_type not in _LAYERS:
            raise InvalidError(f"{what}, layer {number} is of a type that is not known: {layer.media_type[:100]!r}")
    return manifest


def choose(found: Index, platform: Platform, what: str) -> Descriptor:
    """The entry of an index for a platform: of its variant, or of the nearest one that it can run.

    Raises:
        NotFoundError: in Docker's words.
    """
    entries = [entry for entry in found.manifests if entry.media_type in (*IMAGES, *INDEXES)]
    for variant in _variants(platform):
        for entry in entries:
            own = entry.platform
            if own is not None and _fits(own, platform) and _normal(own) == variant:
                return entry
    if len(entries) == 1 and entries[0].platform is None:
        return entries[0]
    raise NotFoundError(
        f"no matching manifest for {shown(platform)} in the manifest list entries of {what}",
        hint=f"there are: {', '.join(sorted({shown(e.platform) for e in entries if e.platform})[:20]) or 'none'}",
    )


def _fits(own: Platform, wanted: Platform) -> bool:
    return (own.os, own.architecture) == (wanted.os, wanted.architecture)


def _normal(platform: Platform) -> str:
    """The variant, with the one that is meant where none is said."""
    default = {"arm64": "v8", "arm": "v7", "amd64": "v1"}
    return platform.variant or default.get(platform.architecture, "")


def _variants(platform: Platform) -> Iterator[str]:
    """What the platform runs, the best first: `v7` runs v6 and v5, too."""
    normal = _normal(platform)
    yield normal
    if platform.architecture in ("arm", "amd64") and normal[1:].isdigit():
        for lower in range(int(normal[1:]) - 1, 0, -1):
            yield f"v{lower}"


def shown(platform: Platform) -> str:
    """`linux/arm/v7`."""
    return "/".join(part for part in (platform.os, platform.architecture, platform.variant) if part)


def require(config: ImageConfig, wanted: Platform | None, what: str) -> None:
    """Refuse an image that is for another platform than `wanted`; None is any.

    A configuration that names no variant fits each: many builders leave it out.

    Raises:
        NotFoundError: in Docker's words.
    """
    own = Platform(architecture=config.architecture, os=config.os, variant=config.variant)
    if wanted is None or (_fits(own, wanted) and (not own.variant or _normal(own) in _variants(wanted))):
        return
    raise NotFoundError(
        f"image with reference {what} was found but does not provide the specified platform ({shown(wanted)})",
        hint=f"it is for {shown(own)}",
    )


def fits(entry: Descriptor, wanted: Platform | None) -> bool:
    """Whether what a descriptor leads to may be for this platform, as far as it tells; None is any."""
    own = entry.platform
    return wanted is None or own is None or (_fits(own, wanted) and _normal(own) in _variants(wanted))


def converted(document: Received) -> Received:
    """An OCI manifest of the same image; an OCI manifest itself stays as it is."""
    if document.media_type == spec.OCI_MANIFEST:
        return document
    manifest = documents.read(document.data, Manifest, "the manifest")
    layers = [layer.changed(media_type=_TO_OCI.get(layer.media_type, layer.media_type)) for layer in manifest.layers]
    config = manifest.config.changed(media_type=spec.OCI_CONFIG)
    data = documents.write(Manifest(schema_version=2, media_type=spec.OCI_MANIFEST, config=config, layers=layers))
    return Received(digests.of(data), spec.OCI_MANIFEST, data)
