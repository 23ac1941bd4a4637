"""`python -m rootless`, the same as the command `rootless`."""

from .cli.main import command

command()
