"""`rootless volume inspect`."""

from __future__ import annotations

import sys

import click

from ..errors import RootlessError
from .context import Context
from .inspect import print_documents
from .options import Command
from .volume_common import volume_document, volumes


@click.command(cls=Command, at_least=1, short_help="Display detailed information on one or more volumes")
@click.option("-f", "--format", "form", default="json", metavar="STRING", help="Format output using a template")
@click.argument("names", nargs=-1, metavar="VOLUME [VOLUME...]")
@click.pass_context
def volume_inspect(ctx: click.Context, /, names: tuple[str, ...], form: str) -> int:
    """Show everything that is known of each of the volumes NAMES."""
    context: Context = ctx.obj
    documents, failures = [], []
    for name in names:
        try:
            documents.append(volume_document(volumes(context).get(name)))
        except RootlessError as problem:
            failures.append(problem)
    print_documents(documents, form)
    for failure in failures:
        print(f"rootless: {failure}", file=sys.stderr)
    return 1 if failures else 0
