"""`python -m rootless`, the same as the command `rootless`."""

from .cli.entry import command

command()
