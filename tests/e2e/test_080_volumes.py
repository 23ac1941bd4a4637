"""Volumes and mounts as their users see them: what is taken over, what is kept, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Rootless

IMAGE = "busybox:latest"


@pytest.fixture
def engine(rootless: Rootless) -> Iterator[Rootless]:
    """The command; afterwards no volume is left."""
    yield rootless
    volumes = rootless.paths.volumes
    for name in [entry.name for entry in volumes.iterdir()] if volumes.exists() else []:
        rootless("volume", "rm", "-f", name)


def inside(engine: Rootless, *words: str) -> str:
    """What a container says that was run with these words."""
    return engine.ok("run", "--rm", *words).strip()


def test_a_volume_outlives_its_containers(engine: Rootless) -> None:
    inside(engine, "-v", "data:/data", "busybox", "sh", "-c", "echo kept > /data/file")
    assert inside(engine, "-v", "data:/elsewhere", "busybox", "cat", "/elsewhere/file") == "kept"


def test_a_directory_of_the_machine_is_the_same_on_both_sides(engine: Rootless, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("from outside")
    script = "cat /w/there; echo from inside > /w/here"
    assert inside(engine, "-v", f"{tmp_path}:/w", "busybox", "sh", "-c", script) == "from outside"
    assert (tmp_path / "here").read_text() == "from inside\n"


def test_the_words_of_a_volumes_options_hold(engine: Rootless, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    device = f"device={tmp_path}"
    engine.ok("volume", "create", "--opt", "type=none", "--opt", "o=bind,ro,noexec", "--opt", device, "data")
    assert engine("run", "--rm", "-v", "data:/v", IMAGE, "touch", "/v/x").returncode == 1
    assert "noexec" in engine.ok("run", "--rm", "-v", "data:/v", IMAGE, "grep", " /v ", "/proc/mounts")
    assert not list(tmp_path.iterdir())
    for word in "suid", "uid=5":
        done = engine("volume", "create", "--opt", "type=none", "--opt", f"o=bind,{word}", "--opt", device, "other")
        assert (done.returncode, f'invalid option "{word}"' in done.stderr.decode()) == (1, True)


def test_a_directory_of_the_machine_that_a_volume_stands_for_is_filled_as_well(
    engine: Rootless, tmp_path: Path
) -> None:
    """As Docker's local driver has it: it is an empty volume like any other, and stays when the volume goes."""
    device = tmp_path / "device"
    device.mkdir()
    engine.ok("volume", "create", "--opt", "type=none", "--opt", "o=bind", "--opt", f"device={device}", "data")
    assert inside(engine, "-v", "data:/etc", IMAGE, "cat", "/etc/group") == (device / "group").read_text().strip()
    (device / "group").write_text("mine\n")
    assert inside(engine, "-v", "data:/etc", IMAGE, "cat", "/etc/group") == "mine"
    engine.ok("volume", "rm", "data")
    assert (device / "group").read_text() == "mine\n"


@pytest.mark.parametrize("finished", [False, True])
def test_a_filling_of_the_machines_directory_that_was_killed(engine: Rootless, tmp_path: Path, finished: bool) -> None:
    """The next start takes away what is not finished, and goes on with what is."""
    device = tmp_path / "device"
    left = device / (".rootless-filled" if finished else ".rootless-filling.0123456789abcdef")
    left.mkdir(parents=True)
    (left / "group").write_text("half\n")
    engine.ok("volume", "create", "--opt", "type=none", "--opt", "o=bind", "--opt", f"device={device}", "data")
    shown = inside(engine, "-v", "data:/etc", IMAGE, "cat", "/etc/group")
    assert (shown == "half") is finished and "root" in (shown if not finished else "root")
    assert not list(device.glob(".rootless*"))


def test_what_is_not_the_callers_to_give_is_named_as_the_caller_did(engine: Rootless) -> None:
    done = engine("run", "--rm", "-v", "/etc:/m:U", "-u", "5", IMAGE, "true")
    assert done.returncode == 125
    assert "/etc can't be given to 5:0: it is not yours" in done.stderr.decode()
