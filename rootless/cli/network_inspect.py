"""`rootless network inspect`."""

from __future__ import annotations

import sys
from typing import Any

import click

from ..errors import NotFoundError
from ..network.store import Networks
from .context import Context
from .inspect import print_documents
from .network_common import find, network_document
from .options import Command


@click.command(cls=Command, at_least=1, short_help="Display detailed information on one or more networks")
@click.option("-f", "--format", "form", default="json", metavar="STRING", help="Format output using a template")
@click.argument("names", nargs=-1, metavar="NETWORK [NETWORK...]")
@click.pass_context
def network_inspect(ctx: click.Context, /, names: tuple[str, ...], form: str) -> int:
    """Show everything that is known of each of the networks NAMES."""
    context: Context = ctx.obj
    networks = Networks(context.paths)
    documents: list[dict[str, Any]] = []
    missing: list[str] = []
    for name in names:
        try:
            documents.append(network_document(networks, find(networks, name)))
        except NotFoundError as problem:
            missing.append(str(problem))
    print_documents(documents, form)
    for message in missing:
        print(f"rootless: {message}", file=sys.stderr)
    return 1 if missing else 0
