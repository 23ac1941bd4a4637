"""Where `save` and `export` write an archive."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import RootlessError


@contextmanager
def written(output: str, doing: str) -> Iterator[BinaryIO]:
    """Where to write: a file, which gets its name when it is whole, or standard output.

    Args:
        doing: the command, for the refusal to write to a terminal; in Docker's words.
    """
    if not output:
        if sys.stdout.isatty():
            raise RootlessError(f"cowardly refusing to {doing} to a terminal", hint="use the -o flag or redirect")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if os.path.exists(output) and not os.path.isfile(output):  # a pipe, /dev/null
        with open(output, "wb") as sink:
            yield sink
        return
    draft = Path(f"{output}.{os.getpid()}.part")
    try:
        with open(draft, "wb") as sink:
            yield sink
        draft.rename(output)
    except OSError as problem:
        raise RootlessError(f"{output} can't be written: {problem.strerror}") from problem
    finally:
        draft.unlink(missing_ok=True)
