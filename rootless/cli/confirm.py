"""The question before something is removed."""

from __future__ import annotations

import sys

import click


def confirmed(warning: str) -> bool:
    """Whether standard input says yes to what the warning tells. Its end says no."""
    click.echo(warning)
    click.echo("Are you sure you want to continue? [y/N] ", nl=False)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
