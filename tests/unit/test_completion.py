"""What a shell is told about an unfinished line."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rootless.cli import completion
from rootless.cli.main import rootless
from rootless.cli.table import COMMANDS, GROUPS
from rootless.image.store import ImageStore
from rootless.paths import Paths, locate
from tests.unit.image_maker import make_image

CHECKOUT = Path(__file__).parents[2]
LIMIT = 0.1
"""Seconds."""


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A store with containers in several states."""
    monkeypatch.setenv("ROOTLESS_ROOT", str(tmp_path / "store"))
    found = locate()
    found.names.mkdir(parents=True)
    for number, (name, status) in enumerate(
        {"web": "running", "work": "exited", "wild": "paused", "db": "created", "gone": ""}.items()
    ):
        container = found.container(f"{number}abc" + "0" * 60)
        container.mkdir(parents=True)
        if status:
            (container / "state.json").write_text(f'{{"status":"{status}","pid":1}}')
        (found.names / name).symlink_to(f"../containers/{container.name}")
    return found


def candidates(line: str) -> list[str]:
    kind, *lines = completion.answer(rootless, line)
    assert kind == "words"
    return [text.partition("\t")[0] for text in lines]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("rootless rena", ["rename"]),
        ("rootless container rena", ["rename"]),
        ("rootless image pu", ["pull", "push"]),
        ("rootless rm w", ["web", "wild", "work"]),
        ("rootless rm web w", ["wild", "work"]),
        ("rootless container rm -f web w", ["wild", "work"]),
        ("rootless stop w", ["web", "wild"]),
        ("rootless start ", ["db", "work"]),
        ("rootless unpause ", ["wild"]),
        ("rootless logs -f --tail 3 d", ["db"]),
        ("rootless logs db ", []),
        ("rootless rename d", ["db"]),
        ("rootless rename db d", []),
        ("rootless exec -it we", ["web"]),
        ("rootless exec -it web w", []),
        ("rootless rm 0ab", ["0abc00000000"]),
        ("rootless stop 1ab", []),
        ("rootless --storage-driver c", ["cow"]),
        ("rootless run --restart=on", ["on-failure"]),
        ("rootless kill --signal QUI", ["QUIT"]),
        ("rootless inspect --type im", ["image"]),
        ("rootless rm --fo", ["--force"]),
        ("rootless completion f", ["fish"]),
        ("/usr/bin/rootless rena", ["rename"]),
        ("rootless nosuch w", []),
        ("rootless rm --nosuch w", ["web", "wild", "work"]),
        ("rootless rm 'w", ["web", "wild", "work"]),
        ("rootless --root /nowhere rm w", []),
        ("rootless run --rm=maybe w", []),
    ],
)
def test_candidates(paths: Paths, line: str, expected: list[str]) -> None:
    assert candidates(line) == expected


@pytest.mark.parametrize(
    ("line", "kind"),
    [("rootless run --env-file x", "file"), ("rootless import ", "file"), ("rootless --root /", "dir")],
)
def test_files_are_the_shells_business(paths: Paths, line: str, kind: str) -> None:
    assert list(completion.answer(rootless, line)) == [kind]


def test_images_by_the_names_that_people_write(paths: Paths) -> None:
    store = ImageStore(paths)
    for name in "alpine:3.20", "alpine:latest", "quay.io/someone/tool:v1":
        make_image(store, name, layers=(name.encode(),))
    assert candidates("rootless run -it al") == ["alpine:3.20", "alpine:latest"]
    assert candidates("rootless rmi alpine:latest alpine:") == ["alpine:3.20"]
    assert candidates("rootless tag quay.io/someone/tool:v1 a") == ["alpine:3.20", "alpine:latest"]
    assert candidates("rootless images ") == ["alpine", "quay.io/someone/tool"]
    assert candidates("rootless inspect w") == ["web", "wild", "work"]
    assert candidates("rootless inspect a") == ["alpine:3.20", "alpine:latest"]
    assert candidates("rootless image inspect ") == ["alpine:3.20", "alpine:latest", "quay.io/someone/tool:v1"]
    assert candidates("rootless container inspect a") == []


def test_a_key_makes_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOTLESS_ROOT", str(tmp_path / "store"))
    assert candidates("rootless run ") == candidates("rootless rm ") == []
    assert not (tmp_path / "store").exists()


def test_every_word_is_offered_and_has_its_help() -> None:
    lines = list(completion.answer(rootless, "rootless "))[1:]
    words = {name for name in COMMANDS if " " not in name} | GROUPS.keys()
    assert {line.partition("\t")[0] for line in lines} == words
    assert all(line.partition("\t")[2] for line in lines)
    for group, (_, members) in GROUPS.items():
        assert candidates(f"rootless {group} ") == sorted(members)


def test_the_table_names_commands_that_exist() -> None:
    assert completion.ARGUMENTS.keys() <= COMMANDS.keys()


def test_an_unfinished_line_is_not_an_error_on_the_screen(paths: Paths) -> None:
    """A command that counts its arguments must not complain while they are being typed."""
    done = subprocess.run(
        [sys.executable, "-m", "rootless", "completion", "line", "rootless tag "],
        capture_output=True,
        cwd=CHECKOUT,
        check=True,
    )
    assert (done.stdout, done.stderr) == (b"words\n", b"")


LINES = ["rootless stop w", "rootless run -it ", "rootless con"]


@pytest.mark.parametrize("line", LINES)
def test_nothing_slow_is_imported(paths: Paths, line: str) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "rootless", "completion", "line", line]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=True, text=True)
    imported = {text.rpartition("|")[2].strip() for text in done.stderr.splitlines()}
    assert imported.isdisjoint({"trio", "rich", "ssl", "subprocess", "asyncio", "rootless.container.lifecycle"})


@pytest.mark.parametrize("line", LINES)
def test_a_key_is_answered_within_a_tenth_of_a_second(paths: Paths, tmp_path: Path, line: str) -> None:
    """Of the processor's time, with compiled modules as they are installed; others work on this machine, so that the
    best of many tries counts."""
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(tmp_path / "pyc"), "PYTHONPATH": str(CHECKOUT)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-m", "rootless", "completion", "line", line]
    best = 1.0
    deadline = time.monotonic() + 20
    while best > LIMIT and time.monotonic() < deadline:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert best <= LIMIT
