"""`rootless info`, also `rootless system info`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click

from .. import __version__
from .context import Context
from .options import Command
from .template import Template

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


@click.command(cls=Command, at_most=0, short_help="Display system-wide information")
@click.option("-f", "--format", "form", default="", metavar="STRING", help="Format output using a custom template")
@click.pass_context
def info(ctx: click.Context, form: str) -> None:
    """Show what there is, which storage driver is used and why, whose ids containers have, and where things lie."""
    from ..container.info import system_info

    context: Context = ctx.obj
    facts = system_info(context.engine)
    facts["ClientInfo"] = {"Version": __version__, "Debug": context.debug}
    if form:
        print(Template("{{json .}}" if form == "json" else form).render(facts))
        return
    print("\n".join(_lines(facts)))
    for warning in facts["Warnings"]:
        print(warning, file=sys.stderr)


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    """Docker's layout. Its `Server` is here what the command itself is."""
    yield from ("Client:", f" Version:    {__version__}", f" Debug Mode: {_bool(facts['Debug'])}", "", "Server:")
    yield f" Containers: {facts['Containers']}"
    for state in "Running", "Paused", "Stopped":
        yield f"  {state}: {facts[f'Containers{state}']}"
    yield f" Images: {facts['Images']}"
    yield f" Server Version: {facts['ServerVersion']}"
    yield f" Storage Driver: {facts['Driver']}"
    yield from (f"  {name}: {value}" for name, value in facts["DriverStatus"])
    yield f" Logging Driver: {facts['LoggingDriver']}"
    yield f" Cgroup Version: {facts['CgroupVersion']}"
    yield " Plugins:"
    yield f"  Log: {' '.join(facts['Plugins']['Log'])}"
    yield from (" Security Options:", "  seccomp", "   Profile: builtin", "  rootless")
    yield from _network(facts["Rootless"]["Network"])
    yield from _id_map(facts["Rootless"])
    for title, key in (
        ("Kernel Version", "KernelVersion"),
        ("Operating System", "OperatingSystem"),
        ("OSType", "OSType"),
        ("Architecture", "Architecture"),
        ("CPUs", "NCPU"),
    ):
        yield f" {title}: {facts[key]}"
    yield f" Total Memory: {_binary_size(facts['MemTotal'])}"
    yield f" Name: {facts['Name']}"
    yield f" Python Version: {facts['Rootless']['PythonVersion']}"
    yield f" Root Dir: {facts['DockerRootDir']}"
    yield f" Run Dir: {facts['Rootless']['RunDir']}"


def _network(own: dict[str, Any]) -> Iterator[str]:
    yield " Network:"
    yield f"  Default: {own['Default']}" + (f" ({own['Reason']})" if own["Reason"] else "")
    yield f"  Ping to the outside: {'no: ' + own['PingRefusal'] if own['PingRefusal'] else 'yes'}"
    yield f"  Ports of the host's: from {own['FirstPort']} on"


def _id_map(own: dict[str, Any]) -> Iterator[str]:
    yield " Id Map:"
    for kind in "UIDs", "GIDs":
        parts = (f"{_range(e['Inside'], e['Count'])} are {_range(e['Outside'], e['Count'])}" for e in own[kind])
        yield f"  {kind}: {', '.join(parts)}"


def _range(start: int, count: int) -> str:
    return str(start) if count == 1 else f"{start}-{start + count - 1}"


def _bool(value: bool) -> str:
    return str(value).lower()


def _binary_size(size: float) -> str:
    """Bytes in powers of 1024 with four digits: `23.47GiB` (go-units' BytesSize)."""
    unit = 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size /= 1024
        unit += 1
    return f"{size:.4g}{_UNITS[unit]}"
