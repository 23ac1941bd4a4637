"""`rootless version`."""

from __future__ import annotations

import os
import platform
from typing import Any

import click

from .. import __version__
from .options import Command
from .template import Template

TEXT = """\
Client:
 Version:           {{.Client.Version}}
 Python version:    {{.Client.PythonVersion}}
 OS/Arch:           {{.Client.Os}}/{{.Client.Arch}}

Server: {{.Server.Platform.Name}}
{{- range .Server.Components}}
 {{.Name}}:
  Version:          {{.Version}}
{{- end}}"""


@click.command(cls=Command, at_most=0, short_help="Show the version of the engine and what it stands on")
@click.option("-f", "--format", "form", default="", metavar="STRING", help="Format output using a custom template")
def version(form: str) -> None:
    """Show the version of the engine and what it stands on."""
    print(Template({"": TEXT, "json": "{{json .}}"}.get(form, form)).render(_document()))


def _document() -> dict[str, Any]:
    """Under Docker's keys. There is no daemon: what Docker calls the server is the command itself, and the kernel."""
    from ..image.spec import host_platform

    system, here = os.uname(), host_platform()
    both = {"Version": __version__, "Os": here.os, "Arch": here.architecture}
    return {
        "Client": both | {"PythonVersion": platform.python_version()},
        "Server": {
            "Platform": {"Name": "no daemon, the command is the engine"},
            **both,
            "KernelVersion": system.release,
            "Components": [
                {"Name": "Engine", "Version": __version__},
                {"Name": "Python", "Version": platform.python_version()},
                {"Name": "Linux", "Version": system.release},
            ],
        },
    }
