"""`rootless volume inspect`."""

from __future__ import annotations

import sys

from ..errors import RootlessError
from . import flags
from .context import Context
from .inspect import print_documents
from .volume_common import volume_document, volumes


@flags.command("VOLUME [VOLUME...]", at_least=1)
@flags.option("-f", "--format", "form", default="json", metavar="STRING", help="Format output using a template")
@flags.argument("names", many=True)
def volume_inspect(context: Context, /, names: tuple[str, ...], form: str) -> int:
    """Show everything that is known of each of the volumes NAMES."""
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
