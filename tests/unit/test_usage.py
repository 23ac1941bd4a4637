"""Every command's usage line and help, beside Docker's."""

from __future__ import annotations

import pytest

from rootless.cli import help as text
from rootless.cli.main import OPTIONS, SINGLE, load
from rootless.cli.table import COMMANDS, GROUPS

DOCKER = """
attach [OPTIONS] CONTAINER
build [OPTIONS] PATH | ARCHIVE | -
builder prune [OPTIONS]
commit [OPTIONS] CONTAINER [REPOSITORY[:TAG]]
container prune [OPTIONS]
create [OPTIONS] IMAGE [COMMAND] [ARG...]
cp [OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-
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
    shown = text.of_command(load(name), name, f"rootless {name}")
    assert shown.splitlines()[0] == f"Usage:  rootless {line}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_argument_has_its_place(name: str) -> None:
    """None is parsed and dropped: who takes any number has a tuple for them. And the function takes what is read."""
    command = load(name)
    room = float("inf") if any(each.many for each in command.arguments) else len(command.arguments)
    assert (command.at_most if command.at_most is not None else float("inf")) <= room
    assert (command.at_most == 0) == (not command.usage)
    code = command.function.__code__
    taken = set(code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount])
    read = {each.field for each in (*command.options, *command.arguments)}
    assert taken <= read
    assert taken == read or code.co_flags & 0x08, "without **given every one of them must be named"


@pytest.mark.parametrize("name", COMMANDS)
def test_no_name_stands_for_two_options(name: str) -> None:
    names = [word for each in load(name).options for word in (*each.names, each.off) if word]
    assert len(names) == len(set(names))


def test_the_help_of_a_command() -> None:
    assert text.of_command(load("stop"), "stop", "rootless container stop").splitlines() == [
        "Usage:  rootless container stop [OPTIONS] CONTAINER [CONTAINER...]",
        "",
        "Stop one or more running CONTAINERS: by their stop signal, and after a while by SIGKILL.",
        "",
        "Aliases:",
        "  rootless container stop, rootless stop",
        "",
        "Options:",
        "  -s, --signal string   Signal to send to the container",
        "  -t, --timeout int     Seconds to wait before killing the container",
    ]


def test_long_texts_are_wrapped_beside_their_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = text.of_command(load("run"), "run", "rootless run").splitlines()
    lines = lines[lines.index("Options:") + 1 :]
    where = lines.index(next(line for line in lines if "--restart string" in line))
    assert lines[where + 1].startswith(" " * 37)
    assert '(default "no")' in " ".join(line.strip() for line in lines[where : where + 5])


def test_the_help_of_a_group_and_of_all() -> None:
    shown = text.of_group("rootless image", "image")
    assert all(f"\n  {word} " in shown for word in GROUPS["image"][1])
    shown = text.of_root("rootless", OPTIONS, SINGLE)
    assert all(f"\n  {word} " in shown for word in (*SINGLE, *GROUPS))
    assert "  -D, --debug " in shown
