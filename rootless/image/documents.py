"""JSON documents from outside: checked when they are read, and not impoverished when they are written again.

A newer version of this engine, or another tool, may have put fields into a document that this one doesn't know.
Rewriting it must not drop them: `read_whole` keeps them aside, at every depth, and `write` puts them back.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Self, TypeVar

import msgspec

from ..errors import InvalidError


class Document(msgspec.Struct, dict=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A JSON object. What its fields don't cover stands in `unknown`, if it was read by `read_whole`."""

    @property
    def unknown(self) -> dict[str, Any]:
        """Fields by their JSON name. Empty after `read`."""
        kept: dict[str, Any] = self.__dict__.get("_unknown", {})
        return kept

    def changed(self, **fields: Any) -> Self:
        """A copy with these fields changed and the unknown ones kept."""
        copy = msgspec.structs.replace(self, **fields)
        copy.__dict__.update(self.__dict__)
        return copy


D = TypeVar("D", bound=Document)


def read(data: bytes, kind: type[D], what: str) -> D:
    """Decode and check a document that will not be written again.

    Args:
        what: names the document in an error: `manifest sha256:...`.

    Raises:
        InvalidError: it is not JSON, lacks a field or has one of another type; the line says which.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise InvalidError(f"{what} is not valid: {problem}") from None


def read_whole(data: bytes, kind: type[D], what: str) -> D:
    """As `read`, with the unknown fields kept for `write`.

    Raises:
        InvalidError: as `read`.
    """
    document = read(data, kind, what)
    _keep(document, msgspec.json.decode(data))
    return document


def write(document: Document) -> bytes:
    """The document as JSON: known fields in their order, without those that say nothing, then the unknown ones."""
    return msgspec.json.encode(_plain(document))


@cache
def _fields(kind: type[Document]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(kind)


def _keep(value: Any, raw: Any) -> None:
    if isinstance(value, Document):
        fields = _fields(type(value))
        unknown = raw.keys() - {field.encode_name for field in fields}
        if unknown:
            value.__dict__["_unknown"] = {name: raw[name] for name in raw if name in unknown}
        for field in fields:
            _keep(getattr(value, field.name), raw.get(field.encode_name))
    elif isinstance(value, list):
        for item, raw_item in zip(value, raw, strict=True):
            _keep(item, raw_item)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, Document):
        return value
    plain = {}
    for field in _fields(type(value)):
        item = getattr(value, field.name)
        if field.required or (item is not None and item != field.default):
            plain[field.encode_name] = _plain(item)
    return plain | value.unknown
