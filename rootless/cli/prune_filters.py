"""The filters that the prunes of containers, networks and volumes share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from ..container.query import has_label
from .image_common import parse_until


class Chosen:
    """What a prune takes, of what nobody uses: every `label`, no `label!`, and not made after any `until`.

    Raises:
        InvalidError: a moment of `until` that is none.
    """

    def __init__(self, filters: Mapping[str, Sequence[str]]) -> None:
        self._labels = filters.get("label", ())
        self._without = filters.get("label!", ())
        self._until = [parse_until(value) for value in filters.get("until", ())]

    def fits(self, labels: Mapping[str, str], created: str) -> bool:
        """Whether something with these labels, made at this moment (RFC 3339, UTC), is taken."""
        return (
            all(has_label(labels, label) for label in self._labels)
            and not any(has_label(labels, label) for label in self._without)
            and all(_moment(created) <= moment for moment in self._until)
        )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.rstrip("Z")[:26] + "+00:00")
