"""The server killed in the middle of work: a clean end for the container, a consistent upper directory, a new mount."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.drivers.arena import Arena
from tests.drivers.trial import manifest

NAMES = [f"f{number}" for number in range(12)]
DIRECTORIES = [f"d{number}" for number in range(4)]


def content(name: str, version: int) -> bytes:
    """What a file holds in each version, recognisable whole."""
    body = f"{name} {version} ".encode() * (version * 700 + 50)
    return hashlib.sha1(body).hexdigest().encode() + b"\n" + body


def whole(data: bytes) -> bool:
    """Whether this is some file's some version, and nothing else."""
    digest, _, body = data.partition(b"\n")
    return hashlib.sha1(body).hexdigest().encode() == digest


def make_lower() -> None:
    """An image of files in version 0, some in directories that are renamed as a whole."""
    for name in NAMES:
        Path("lower", name).write_bytes(content(name, 0))
    for directory in DIRECTORIES:
        Path("lower", directory, "below").mkdir(parents=True)
        for name in NAMES:
            Path("lower", directory, name).write_bytes(content(name, 0))
            Path("lower", directory, "below", name).write_bytes(content(name, 0))


def replace(path: str, name: str, version: int) -> None:
    """How careful programs write: a new file, then a rename over the old one."""
    with open(f"{path}.new", "wb") as file:
        file.write(content(name, version))
    os.rename(f"{path}.new", path)


def churn(seed: int, started: int) -> str:
    """Change things at random until the server is gone; gives the errno's name that said so."""
    source = random.Random(seed)
    os.write(started, b"x")
    version = 0
    end = time.monotonic() + 20
    while time.monotonic() < end:
        version += 1
        name = source.choice(NAMES)
        place = source.choice(["", *(f"{directory}/" for directory in DIRECTORIES)])
        actions: list[Callable[[], object]] = [
            partial(replace, place + name, name, version % 7),
            partial(os.chmod, place + name, source.choice([0o600, 0o644])),
            partial(os.rename, place + name, source.choice([f"d0/{name}", f"d1/{name}", f"{name}"])),
            partial(os.unlink, place + name),
            partial(os.rename, source.choice(DIRECTORIES), source.choice(DIRECTORIES) + "/moved"),
            partial(os.rename, source.choice(DIRECTORIES) + "/moved", source.choice(DIRECTORIES)),
            partial(os.link, place + name, f"{place}{name}.link"),
            partial(os.unlink, f"{place}{name}.link"),
        ]
        try:
            source.choice(actions)()
        except OSError as problem:
            if problem.errno in (errno.ENOTCONN, errno.ECONNABORTED):
                return errno.errorcode[problem.errno]
    return "never"


def check_tree(top: str = ".") -> dict[str, object]:
    """Every file is whole in some version (but for what was being written beside it); gives the manifest."""
    for directory, _, files in os.walk(top):
        for name in files:
            if not name.endswith(".new"):
                data = Path(directory, name).read_bytes()
                assert whole(data), f"{directory}/{name}: {data[:60]!r} of {len(data)}"
    return manifest(top, links=False)


def kill_once(arena: Arena, seed: int) -> None:
    """One run on top of what the runs before have left."""
    read, write = os.pipe()
    delay = random.Random(seed).uniform(0.005, 0.15)

    def killer(one: int, daemon: int) -> None:
        os.close(write)
        os.read(read, 1)
        time.sleep(delay)
        arena.in_room(lambda: os.kill(daemon, signal.SIGKILL))

    found = arena.container("cow", partial(churn, seed, write), started=killer)
    os.close(read)
    assert found in ("ENOTCONN", "ECONNABORTED"), "the container is told at once, and does not hang"
    seen = arena.container("cow", check_tree)
    assert seen == arena.container("overlay", check_tree), "both drivers read the same out of the upper directory"


def test_a_killed_server_leaves_old_or_new(arena: Arena) -> None:
    arena.in_room(make_lower)
    for seed in range(6):
        kill_once(arena, seed)


@pytest.mark.long
def test_a_hundred_kills(arena: Arena) -> None:
    arena.in_room(make_lower)
    for seed in range(100):
        kill_once(arena, seed)
