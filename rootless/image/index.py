"""The names in a layout's index: which descriptor an image's name leads to, and how a name is given and taken.

An image stands in the index once for each spelling of each of its names, because tools look a name up as it was typed:
`skopeo copy oci:STORE:alpine:latest` and `... oci:STORE:docker.io/library/alpine:latest` both find it. An image that
lost its last name keeps one descriptor without any.
"""

from __future__ import annotations

from ..errors import InvalidError
from . import reference
from .reference import Reference
from .spec import DOCKER_MANIFEST, OCI_MANIFEST, REF_NAME, Descriptor, Index


def name_of(entry: Descriptor) -> Reference | None:
    """The name that a descriptor carries, with `latest` where another tool wrote none; None without a name of ours."""
    if not entry.ref_name:
        return None
    try:
        return reference.parse(entry.ref_name).tagged()
    except InvalidError:
        return None


def images_of(index: Index) -> list[Descriptor]:
    """The descriptors that are of an image's manifest. A layout may hold others."""
    return [entry for entry in index.manifests if entry.media_type in (OCI_MANIFEST, DOCKER_MANIFEST)]


def names(index: Index) -> dict[Reference, Descriptor]:
    """Every name and its descriptor. Where the two spellings lead to different images, the full one counts."""
    found: dict[Reference, Descriptor] = {}
    for entry in images_of(index):
        name = name_of(entry)
        if name is not None and (name not in found or entry.ref_name == name.full):
            found[name] = entry
    return found


def give(index: Index, name: Reference, manifest: Descriptor) -> None:
    """Let `name` lead to `manifest`. An image that thereby loses its last name stays, without one."""
    before = names(index).get(name)
    entries = [entry for entry in index.manifests if name_of(entry) != name]
    # Now that the image has a name, the descriptor that only kept it is not needed.
    index.manifests = [e for e in entries if e.digest != manifest.digest or e.ref_name]
    for spelling in dict.fromkeys((name.full, name.familiar)):
        index.manifests.append(_named(manifest, spelling))
    if before is not None:
        keep(index, before)


def take(index: Index, name: Reference) -> None:
    """Remove `name`. Its image stays, without any name if this was the last."""
    before = names(index).get(name)
    index.manifests = [entry for entry in index.manifests if name_of(entry) != name]
    if before is not None:
        keep(index, before)


def remove(index: Index, digest: str) -> None:
    """Remove an image with all its names."""
    index.manifests = [entry for entry in index.manifests if entry.digest != digest]


def keep(index: Index, manifest: Descriptor) -> None:
    """Let the index have this image, if only without a name."""
    if all(entry.digest != manifest.digest for entry in index.manifests):
        index.manifests.append(_named(manifest, ""))


def _named(manifest: Descriptor, name: str) -> Descriptor:
    annotations = dict(manifest.annotations or {})
    annotations.pop(REF_NAME, None)
    if name:
        annotations[REF_NAME] = name
    return manifest.changed(annotations=annotations or None)
