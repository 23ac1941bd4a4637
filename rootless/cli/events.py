"""`rootless events`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import click
import msgspec

from ..errors import InvalidError, UsageError
from ..events import Event, Reader
from ..paths import Paths
from .context import Context
from .moments import moment
from .options import Command

POLL = 0.1
"""Seconds between two looks at the file."""

FILTERS = ("container", "event", "image", "label", "network", "type", "volume")


@click.command(cls=Command, at_most=0, short_help="Get real time events from the engine")
@click.option(
    "-f", "--filter", "filters", multiple=True, metavar="FILTER", help="Filter output based on conditions provided"
)
@click.option("--format", "form", default="", metavar="STRING", help="Format output using a custom template")
@click.option("--since", default="", metavar="STRING", help="Show all events created since timestamp")
@click.option("--until", default="", metavar="STRING", help="Stream events until this timestamp")
@click.pass_context
def events(ctx: click.Context, /, filters: tuple[str, ...], form: str, since: str, until: str) -> None:
    """Show what happens to containers and images as it happens, until it is interrupted or --until is reached."""
    context: Context = ctx.obj
    wanted = [_filter(text) for text in filters]
    begin = moment(since, "--since") if since else time.time_ns()
    end = moment(until, "--until") if until else None
    show = _shower(form)
    for event in _follow(context.paths, begin, end):
        if _matches(event, wanted):
            show(event)
            sys.stdout.flush()


def _follow(paths: Paths, begin: int, end: int | None) -> Iterator[Event]:
    """Every event from `begin` on, and those that come, until `end`: nanoseconds since the epoch."""
    with closing(Reader(paths)) as reader:
        while True:
            now = time.time_ns()
            for event in reader.read():
                if event.time_nano >= begin and (end is None or event.time_nano <= end):
                    yield event
            if end is not None and now > end:
                return
            time.sleep(POLL)


def _filter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(
            f'invalid argument "{text}" for "-f, --filter" flag: invalid filter \'{text}\' (expected name=value)'
        )
    if name not in FILTERS:
        raise InvalidError(f"invalid filter '{name}'", hint=f"there are: {', '.join(FILTERS)}")
    return name, value


def _matches(event: Event, wanted: list[tuple[str, str]]) -> bool:
    """Docker's rule: values of one filter are alternatives, different filters must all hold."""
    return all(any(_holds(event, n, value) for n, value in wanted if n == name) for name, _ in wanted)


def _holds(event: Event, name: str, value: str) -> bool:
    attributes = event.actor.attributes
    match name:
        case "type":
            return event.type == value
        case "event":
            return event.action == value or event.action.startswith(f"{value}:")
        case "container":
            known = event.type == "container"
            return known and (event.actor.id.startswith(value) or attributes.get("name") == value)
        case "network":
            return event.type == "network" and (event.actor.id.startswith(value) or attributes.get("name") == value)
        case "volume":
            return event.type == "volume" and event.actor.id == value
        case "image":
            return value in (attributes.get("image"), attributes.get("name") if event.type == "image" else None)
        case _:
            label, equals, wanted = value.partition("=")
            return label in attributes and (not equals or attributes[label] == wanted)


def _shower(form: str) -> Any:
    if form in ("json", "{{json .}}"):
        return lambda event: sys.stdout.write(msgspec.json.encode(_document(event)).decode() + "\n")
    if not form:
        return lambda event: print(_line(event))
    from .template import Template

    template = Template(form)
    return lambda event: print(template.render(_fields(event)))


def _document(event: Event) -> dict[str, Any]:
    """Docker's document, with the fields that its older versions had in front."""
    legacy = {"status": event.action, "id": event.actor.id} if event.type in ("container", "image") else {}
    if "image" in event.actor.attributes:
        legacy["from"] = event.actor.attributes["image"]
    built: dict[str, Any] = msgspec.to_builtins(event)
    return legacy | built


def _fields(event: Event) -> dict[str, Any]:
    """The names that templates use are Go's, not JSON's."""
    document = _document(event)
    names = {"status": "Status", "id": "ID", "from": "From", "scope": "Scope", "time": "Time", "timeNano": "TimeNano"}
    return {names.get(key, key): value for key, value in document.items()}


def _line(event: Event) -> str:
    seconds, nanoseconds = divmod(event.time_nano, 1_000_000_000)
    local = time.localtime(seconds)
    zone = time.strftime("%z", local)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", local) + f".{nanoseconds:09d}{zone[:3]}:{zone[3:]}"
    attributes = ", ".join(f"{name}={value}" for name, value in sorted(event.actor.attributes.items()))
    return f"{stamp} {event.type} {event.action} {event.actor.id} ({attributes})"
