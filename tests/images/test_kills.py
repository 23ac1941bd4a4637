"""kill -9 in the middle of what makes and removes images: the next command that changes the store cleans up.

What is left then is what the images need, and nothing else: no blob, no unpacked layer, no draft, no note.
"""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rootless.idmap import detect
from rootless.image import garbage
from rootless.image.store import ImageStore
from rootless.storage.layers import Layers
from tests.conftest import Rootless
from tests.storage.archives import Archive

FILES = 400
"""In a layer: enough for its removal to take a while."""


def needless(engine: Rootless) -> list[str]:
    """What the store holds though no image needs it."""
    store = ImageStore(engine.paths)
    needed = garbage.referenced(store, store.read_index())
    chains = {chain for image in store.all() for chain in image.chain_ids}
    found = [digest for digest in garbage.blobs(store) if digest not in needed]
    found += [f"layer {chain}" for chain in Layers(engine.paths, detect()).present() if chain not in chains]
    return found + [str(path) for part in (engine.paths.tmp, engine.paths.pins) for path in part.iterdir()]


def archive(seed: int) -> bytes:
    chance, made = random.Random(seed), Archive()
    for number in range(FILES):
        made.file(f"f{number}", chance.randbytes(2000))
    return made.bytes()


def small(engine: Rootless) -> None:
    """The next command: one that has nothing to do with what was killed."""
    engine.ok("import", "-", "next", stdin=Archive().file("f", b"x").bytes())


def an_import(engine: Rootless, work: Path) -> list[str]:
    path = work / "a.tar"
    path.write_bytes(archive(1))
    return ["import", str(path), "big"]


def a_load(engine: Rootless, work: Path) -> list[str]:
    if not (work / "l.tar").exists():
        engine.ok(*an_import(engine, work))
        engine.ok("save", "-o", str(work / "l.tar"), "big")
        engine.ok("rmi", "big")
    return ["load", "-i", str(work / "l.tar")]


def an_rmi(engine: Rootless, work: Path) -> list[str]:
    engine.ok(*an_import(engine, work))
    return ["rmi", "-f", "big"]


def a_prune(engine: Rootless, work: Path) -> list[str]:
    engine.ok(*an_import(engine, work))
    return ["image", "prune", "-af"]


Job = Callable[[Rootless, Path], list[str]]
JOBS: list[Job] = [an_import, a_load, an_rmi, a_prune]


def kill_points(job: Job, engine: Rootless, work: Path, count: int, seed: int) -> None:
    words = job(engine, work)
    started = time.monotonic()
    engine.ok(*words)
    whole = time.monotonic() - started
    engine("rmi", "-f", "big")
    chance = random.Random(seed)
    for _ in range(count):
        process = engine.popen(
            *job(engine, work), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        delay = chance.uniform(0.3, 1.05) * whole
        time.sleep(delay)
        process.kill()
        process.wait()
        small(engine)
        assert needless(engine) == [], delay
        assert engine.ok("system", "check").endswith("nothing wrong\n")
        engine("rmi", "-f", "big", "next")


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.__name__)
def test_the_next_command_cleans_up(job: Job, engine: Rootless, tmp_path: Path) -> None:
    kill_points(job, engine, tmp_path, 1, seed=0)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.__name__)
def test_the_next_command_cleans_up_after_200_kills(job: Job, seed: int, engine: Rootless, tmp_path: Path) -> None:
    """Ten for each of five seeds and four commands."""
    kill_points(job, engine, tmp_path, 10, seed)


def test_a_kill_between_the_index_and_the_files(engine: Rootless, tmp_path: Path) -> None:
    """The point that chance seldom meets: the image is gone from the index, and nothing else has happened yet."""
    engine.ok(*an_import(engine, tmp_path))
    script = (
        "import os, signal, sys\n"
        "from rootless.image import garbage\n"
        "garbage.release = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from rootless.cli.main import main\nmain(sys.argv[1:])"
    )
    command = [*engine.argv()[:1], "-c", script, "rmi", "big"]
    assert subprocess.run(command, env=engine.environment).returncode == -9
    assert engine.ok("images", "-q") == ""
    assert any(name.startswith("layer ") for name in needless(engine))
    small(engine)
    assert needless(engine) == []
