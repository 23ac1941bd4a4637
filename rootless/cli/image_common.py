"""What the commands about images share: who uses an image, filters, and the document that `inspect` prints."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import InvalidError, UsageError
from .template import Map, NilList, NilMap

if TYPE_CHECKING:
    from ..container.container import Container
    from ..image import spec
    from ..image.reference import Reference
    from ..image.remove import Use
    from ..image.store import Image, ImageStore
    from ..storage.layers import Layers
    from .context import Context


def uses(context: Context) -> Iterator[Use]:
    """The containers and their images."""
    from ..container.state import ALIVE
    from ..image.remove import Use

    for container in context.containers.all():
        running = container.state().status in ALIVE
        yield Use(container.id, container.spec.image_id, running, tuple(_chains(context, container)))


def _chains(context: Context, container: Container) -> Iterator[str]:
    """The layers that a container stands on: its record names them by their short links."""
    from ..storage.digest import ALGORITHMS

    algorithms = {length: algorithm for algorithm, length in ALGORITHMS.items()}
    for link in container.record.layers:
        with suppress(OSError, KeyError):
            name = (context.paths.store / link).readlink().parent.name
            yield f"{algorithms[len(name)]}:{name}"


def layers(context: Context) -> Layers:
    """The unpacked layers, for what removes some."""
    from ..idmap import detect
    from ..storage.layers import Layers

    return Layers(context.paths, detect())


def parse_filters(texts: Sequence[str], known: Sequence[str]) -> dict[str, list[str]]:
    """`--filter` options: each name with its values.

    Raises:
        UsageError: not of the form name=value.
        InvalidError: a name that is not known.
    """
    found: dict[str, list[str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            message = f'invalid argument "{text}" for "-f, --filter" flag: bad format of filter (expected name=value)'
            raise UsageError(message)
        name = name.strip().lower()
        if name not in known:
            raise InvalidError(f"invalid filter '{name}'", hint=f"there are: {', '.join(known)}")
        found.setdefault(name, []).append(value.strip())
    return found


def parse_bool(name: str, value: str) -> bool:
    """A filter's value as Go's strconv.ParseBool reads it. InvalidError when it is none."""
    if value in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if value in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise InvalidError(f"invalid filter '{name}=[{value}]'", hint="the value is true or false")


def parse_until(value: str) -> datetime:
    """The moment of an `until` filter: RFC 3339, a date, seconds since 1970, or a duration before now (`24h`).

    Raises:
        InvalidError: none of these.
    """
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", value, re.ASCII):
        return datetime.fromtimestamp(float(value), UTC)
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except ValueError:
        pass
    from ..image.healthcheck import duration

    try:
        return datetime.now(UTC) - timedelta(microseconds=duration(value) / 1000)
    except (InvalidError, OverflowError):
        raise InvalidError(f"{value!r} is not a time", hint="write 2024-06-01, 2024-06-01T12:00:00Z or 24h") from None


def matches_labels(image: Image, wanted: Sequence[str]) -> bool:
    """Whether an image has all these labels, given as `name` or `name=value`."""
    labels = image.run.labels or {}
    for text in wanted:
        name, equals, value = text.partition("=")
        if name not in labels or (equals and labels[name] != value):
            return False
    return True


def matches_reference(name: Reference, patterns: Sequence[str]) -> bool:
    """Whether a name fits one of these patterns, in either spelling, with or without its tag."""
    texts = (name.familiar, name.familiar_name, name.full, name.name)
    compiled = [_glob(pattern) for pattern in patterns]
    return any(pattern.fullmatch(text) for pattern in compiled for text in texts)


def _glob(pattern: str) -> re.Pattern[str]:
    """Go's path.Match: `*` and `?` don't match a slash, `[a-z]` and `[^a-z]` are sets, a backslash quotes."""
    parts: list[str] = []
    tokens = re.compile(r"\*|\?|\[\^?[^\]]+\]|\\.|.", re.DOTALL)
    for token in tokens.findall(pattern):
        if token == "*":
            parts.append("[^/]*")
        elif token == "?":
            parts.append("[^/]")
        elif len(token) > 2 and token[0] == "[":
            inner = re.escape(token[1:-1].removeprefix("^")).replace(r"\-", "-")
            parts.append(f"[{'^' if token[1] == '^' else ''}{inner}]")
        else:
            parts.append(re.escape(token[-1]))
    try:
        return re.compile("".join(parts), re.DOTALL)
    except re.error:
        raise InvalidError(f"invalid filter 'reference={pattern}': syntax error in pattern") from None


def image_document(store: ImageStore, image: Image) -> dict[str, Any]:
    """An image as `inspect` shows it, with Docker's keys."""
    config = image.config
    history = config.history or []
    document: dict[str, Any] = {
        "Id": image.id,
        "RepoTags": [str(name) for name in image.names],
        "RepoDigests": [str(name) for name in image.digests],
        "Parent": "",
        "Comment": history[-1].comment if history else "",
        "Created": config.created,
        "Author": config.author,
        "Config": _config_document(image.run),
        "Architecture": config.architecture,
    }
    if config.variant:
        document["Variant"] = config.variant
    document |= {
        "Os": config.os,
        "Size": store.size(image),
        "RootFS": {"Type": "layers", "Layers": image.diff_ids},
        "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
    }
    return document


def _config_document(run: spec.RunConfig) -> dict[str, Any]:
    """Docker shows some fields always, `null` where the image says nothing, and the others only where it does."""
    always: dict[str, Any] = {
        "Cmd": NilList(),
        "Entrypoint": NilList(),
        "Env": NilList(),
        "Labels": NilMap(),
        "OnBuild": NilList(),
        "User": "",
        "Volumes": NilMap(),
        "WorkingDir": "",
    }
    said = {name: value for name, value in msgspec.to_builtins(run).items() if value is not None}
    for name in ("Labels", "Volumes", "ExposedPorts"):
        if name in said:
            said[name] = Map(said[name])
    return dict(sorted((always | said).items()))
