"""`rootless version`."""

from __future__ import annotations

import os
import sys

import click

from .. import __version__
from .options import Command


@click.command(cls=Command, at_most=0, short_help="Show the version of the engine and what it stands on")
def version() -> None:
    """Show the version of the engine and what it stands on."""
    system = os.uname()
    print(f"rootless {__version__}")
    print(f"Python   {sys.version.split()[0]}")
    print(f"Linux    {system.release} ({system.machine})")
