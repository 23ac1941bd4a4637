"""`run` and `create` with an image that is not here: out of a real registry, as `--pull` says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Rootless
from tests.images.registries import DockerRegistry, docker_registry

pytestmark = pytest.mark.usefixtures("nobody_at_home")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[DockerRegistry]:
    with docker_registry(tmp_path / "registry") as running:
        yield running


def publish(engine: Rootless, tar: Path, name: str, word: str) -> str:
    """Put an image into the registry whose containers say a word, and forget it; its id."""
    image = engine.ok("import", "-c", f'CMD ["echo", "{word}"]', str(tar), name).strip()
    engine.ok("push", "-q", name)
    engine.ok("rmi", name)
    return image


def test_run_pulls_what_is_missing(engine: Rootless, registry: DockerRegistry, busybox_tar: Path) -> None:
    """What the container says goes to standard output, what the pull says to standard error."""
    name = registry.name("box")
    publish(engine, busybox_tar, name, "first")
    done = engine("run", "--rm", name)
    assert (done.returncode, done.stdout) == (0, b"first\n"), done.stderr
    lines = done.stderr.decode().splitlines()
    assert lines[0] == f"Unable to find image '{name}:latest' locally"
    assert any(line.endswith(": Pull complete") for line in lines)
    again = engine("run", "--rm", name)
    assert (again.stdout, again.stderr) == (b"first\n", b"")
    container = engine.ok("create", "-q", name).strip()
    assert engine.ok("start", "-a", container) == "first\n"
    engine.ok("rm", container)


def test_pull_always_missing_and_never(engine: Rootless, registry: DockerRegistry, busybox_tar: Path) -> None:
    """A tag that has moved is noticed by `always` alone; `never` takes what is here or nothing; `-q` is quiet."""
    name = registry.name("box:1")
    for command in ["run", "--rm"], ["create"]:
        done = engine(*command, "--pull", "never", name)
        assert (done.returncode, done.stdout) == (125 if command[0] == "run" else 1, b"")
        assert done.stderr == f"rootless: No such image: {name}\n".encode()
    publish(engine, busybox_tar, name, "old")
    assert engine.ok("run", "--rm", "-q", "--pull=missing", name) == "old\n"
    engine.ok("tag", name, "keep:1")
    publish(engine, busybox_tar, name, "new")
    engine.ok("tag", "keep:1", name)
    for policy, word in ("missing", "old"), ("never", "old"), ("always", "new"), ("never", "new"):
        assert engine.ok("run", "--rm", "--pull", policy, name) == f"{word}\n", policy
    done = engine("run", "--rm", "--pull=often", name)
    assert (done.returncode, b"--pull" in done.stderr) == (125, True)


def test_run_of_what_is_nowhere(engine: Rootless, registry: DockerRegistry) -> None:
    done = engine("run", "--rm", registry.name("nowhere"))
    assert (done.returncode, done.stdout) == (125, b"")
    first, last = done.stderr.decode().splitlines()
    assert first == f"Unable to find image '{registry.name('nowhere')}:latest' locally"
    assert last.startswith(f"rootless: manifest for {registry.name('nowhere')}:latest not found: ")
