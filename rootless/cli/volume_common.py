"""What the volume commands share: filters, rows and the document of `inspect`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..container.query import has_label
from ..container.volume_use import users
from ..volumes.store import Volume, Volumes
from .image_common import parse_bool

if TYPE_CHECKING:
    from .context import Context

LS_FILTERS = ("dangling", "driver", "label", "name")


def volumes(context: Context) -> Volumes:
    """The volumes of the store."""
    return Volumes(context.paths)


def chosen(context: Context, filters: Mapping[str, Sequence[str]]) -> list[Volume]:
    """The volumes that fit the filters of `volume ls`, by name.

    Raises:
        InvalidError: a value that can't be one.
    """
    used = users(context.containers) if "dangling" in filters else {}
    dangling = {parse_bool("dangling", value) for value in filters.get("dangling", ())}
    drivers, names, labels = (filters.get(name, ()) for name in ("driver", "name", "label"))
    return [
        volume
        for volume in volumes(context).all()
        if (not dangling or (volume.name not in used) in dangling)
        and (not drivers or volume.document.driver in drivers)
        and (not names or any(name in volume.name for name in names))
        and all(has_label(volume.document.labels, label) for label in labels)
    ]


def labels_text(labels: Mapping[str, str]) -> str:
    """Labels as listings show them."""
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))


def volume_document(volume: Volume) -> dict[str, Any]:
    """A volume as `inspect` shows it: Docker's keys, in Docker's order."""
    from .template import Map, NilMap

    document = volume.document
    # Docker tells a volume that nobody named by a label of this name.
    labels = document.labels | ({"com.docker.volume.anonymous": ""} if document.anonymous else {})
    return {
        "CreatedAt": document.created,
        "Driver": document.driver,
        "Labels": Map(labels) if labels else NilMap(),
        "Mountpoint": str(volume.data),
        "Name": volume.name,
        "Options": Map(document.options) if document.options else NilMap(),
        "Scope": "local",
    }


def pairs(texts: Iterable[str]) -> dict[str, str]:
    """`NAME=value` items; without an equals sign the value is empty, as in Docker."""
    return {name: value for name, _, value in (text.partition("=") for text in texts)}
