"""What becomes of what was built: an image of the store, an archive of one, or its files (`--output`)."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal

from ..errors import UsageError

Kind = Literal["image", "local", "tar", "oci", "docker"]
KINDS: tuple[Kind, ...] = ("image", "local", "tar", "oci", "docker")
STDOUT = "-"


@dataclass(frozen=True)
class Output:
    """One `--output`.

    Attributes:
        kind: `image` is an image of the store; `oci` and `docker` are archives of one; `local` and `tar` its files.
        destination: a directory for `local`; a file for the others, `-` for standard output.
    """

    kind: Kind = "image"
    destination: str = ""


def parse_output(text: str) -> Output:
    """`type=KIND,dest=PATH`; a path alone is `local`, and `-` alone `tar` on standard output.

    Raises:
        UsageError: malformed.
    """
    if "=" not in text:
        return Output("tar", STDOUT) if text == STDOUT else Output("local", text)
    import csv

    fields: dict[str, str] = {}
    for part in next(csv.reader([text])):
        name, equals, value = part.partition("=")
        if not equals or name.lower() not in ("type", "dest"):
            raise UsageError(f"invalid output {text!r}: unexpected {part!r}", hint="as type=local,dest=DIR")
        fields[name.lower()] = value
    kind, destination = fields.get("type", ""), fields.get("dest", "")
    for known in KINDS:
        if kind == known:
            return Output(known, _checked(known, destination))
    raise UsageError(f"invalid output type {kind!r}", hint=f"there are {', '.join(KINDS)}")


def _checked(kind: Kind, destination: str) -> str:
    if kind == "local" and not destination:
        raise UsageError("dest is required for local output", hint="as type=local,dest=DIR")
    if kind == "local" and destination == STDOUT:
        raise UsageError("a directory can't be written to standard output", hint="take type=tar")
    if kind != "image" and (destination or STDOUT) == STDOUT and sys.stdout.isatty():
        raise UsageError("dest file is required: an archive is not written to a terminal", hint="redirect the output")
    return destination or ("" if kind == "image" else STDOUT)
