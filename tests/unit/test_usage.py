"""Every command's usage line, beside Docker's."""

from __future__ import annotations

import click
import pytest

from rootless.cli.main import load
from rootless.cli.table import COMMANDS

DOCKER = """
attach [OPTIONS] CONTAINER
build [OPTIONS] PATH | ARCHIVE | -
builder prune [OPTIONS]
commit [OPTIONS] CONTAINER [REPOSITORY[:TAG]]
container prune [OPTIONS]
create [OPTIONS] IMAGE [COMMAND] [ARG...]
diff CONTAINER
events [OPTIONS]
exec [OPTIONS] CONTAINER COMMAND [ARG...]
export [OPTIONS] CONTAINER
history [OPTIONS] IMAGE
image prune [OPTIONS]
images [OPTIONS] [REPOSITORY[:TAG]]
import [OPTIONS] FILE|URL|- [REPOSITORY[:TAG]]
info [OPTIONS]
inspect [OPTIONS] NAME|ID [NAME|ID...]
kill [OPTIONS] CONTAINER [CONTAINER...]
load [OPTIONS]
login [OPTIONS] [SERVER]
logout [OPTIONS] [SERVER]
logs [OPTIONS] CONTAINER
network connect [OPTIONS] NETWORK CONTAINER
network create [OPTIONS] NETWORK
network disconnect [OPTIONS] NETWORK CONTAINER
network inspect [OPTIONS] NETWORK [NETWORK...]
network ls [OPTIONS]
network prune [OPTIONS]
network rm [OPTIONS] NETWORK [NETWORK...]
pause CONTAINER [CONTAINER...]
port CONTAINER [PRIVATE_PORT[/PROTO]]
ps [OPTIONS]
pull [OPTIONS] NAME[:TAG|@DIGEST]
push [OPTIONS] NAME[:TAG]
rename CONTAINER NEW_NAME
restart [OPTIONS] CONTAINER [CONTAINER...]
rm [OPTIONS] CONTAINER [CONTAINER...]
rmi [OPTIONS] IMAGE [IMAGE...]
run [OPTIONS] IMAGE [COMMAND] [ARG...]
save [OPTIONS] IMAGE [IMAGE...]
start [OPTIONS] CONTAINER [CONTAINER...]
stats [OPTIONS] [CONTAINER...]
stop [OPTIONS] CONTAINER [CONTAINER...]
system df [OPTIONS]
system prune [OPTIONS]
tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]
top CONTAINER [ps OPTIONS]
unpause CONTAINER [CONTAINER...]
update [OPTIONS] CONTAINER [CONTAINER...]
version [OPTIONS]
volume create [OPTIONS] [VOLUME]
volume inspect [OPTIONS] VOLUME [VOLUME...]
volume ls [OPTIONS]
volume prune [OPTIONS]
volume rm [OPTIONS] VOLUME [VOLUME...]
wait CONTAINER [CONTAINER...]
"""
"""As `docker COMMAND --help` (28) has them; the archive of `build` is a file here, and `logout` takes an option."""


@pytest.mark.parametrize("line", DOCKER.strip().splitlines())
def test_usage_lines_are_dockers(line: str) -> None:
    name = max((name for name in COMMANDS if f"{line} ".startswith(f"{name} ")), key=len)
    command = load(name)
    shown = command.get_usage(click.Context(command, info_name=f"rootless {name}", terminal_width=200))
    assert " ".join(shown.split()) == f"Usage: rootless {line}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_argument_has_its_place(name: str) -> None:
    """None is parsed and dropped: who takes any number has a tuple for them."""
    command = load(name)
    numbers = [each.nargs for each in command.params if isinstance(each, click.Argument)]
    assert command.at_most is not None or -1 in numbers
    assert -1 in numbers or command.at_most == len(numbers)
