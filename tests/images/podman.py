"""podman beside us: a storage of its own, and whether an image's tree is the same in both."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rootless.idmap import detect
from rootless.image.store import ImageStore
from rootless.storage.layers import Layers, LayerSource
from tests.conftest import CHECKOUT, Rootless


class Podman:
    """The command, on a storage of its own.

    Attributes:
        run: its directory for what belongs to a boot, whose path podman wants to have 50 characters at most.
    """

    def __init__(self, root: Path, run: Path, *options: str) -> None:
        self.run = run
        self.root = root
        self.environment = {
            **os.environ,
            "XDG_RUNTIME_DIR": str(run),
            "XDG_CONFIG_HOME": str(run / "config"),
        }
        self.environment.pop("CONTAINERS_REGISTRIES_CONF", None)
        self.options = ["--root", str(root), "--runroot", str(run), "--events-backend=none", *options]

    def __call__(self, *words: str | Path) -> str:
        done = subprocess.run(["podman", *self.options, *words], env=self.environment, capture_output=True, timeout=300)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def close(self) -> None:
        command = ["podman", *self.options, "unshare", "rm", "-rf", str(self.root)]
        subprocess.run(command, env=self.environment, capture_output=True)
        pause = self.run / "libpod/tmp/pause.pid"
        if pause.exists():
            os.kill(int(pause.read_text()), signal.SIGKILL)


@contextmanager
def podman_in(directory: Path, *options: str) -> Iterator[Podman]:
    """podman with its storage in `directory`, or a skip where there is none that works."""
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="p", ignore_cleanup_errors=True) as short:
        podman = Podman(directory / "p", Path(short), *options)
        try:
            podman("info")
        except AssertionError as problem:
            pytest.skip(f"podman does not run here: {str(problem).strip().splitlines()[0]}")
        try:
            yield podman
        finally:
            podman.close()


_SCRIPT = """
set -e
cd "$1"
layers=$(echo $2 | tr ' ' ':')
mkdir -p "$3/ours"
mount -t overlay overlay -o "ro,userxattr,lowerdir=$layers" "$3/ours"
theirs=$(podman $5 image mount "$4")
python3 "$6" "$3/ours" >"$3/ours.txt"
python3 "$6" "$theirs" >"$3/theirs.txt"
diff -r --no-dereference "$3/ours" "$theirs" >"$3/diff.txt" 2>&1 || true
podman $5 image umount "$4" >/dev/null
umount "$3/ours"
"""


def compare(engine: Rootless, podman: Podman, name: str, work: Path) -> int:
    """Demand that the trees of an image which both have pulled are the same: content, owners, modes, times, links,
    attributes. Gives the number of files that were compared."""
    links = below(engine, name)
    if len(links) == 1:  # overlayfs wants two
        (engine.root / "empty").mkdir(exist_ok=True)
        links.append("empty")
    podman(
        *("unshare", "sh", "-c", _SCRIPT, "sh", engine.root, " ".join(links), work, name),
        *(" ".join(podman.options), CHECKOUT / "tests/images/listing.py"),
    )
    ours, theirs = ((work / f"{whose}.txt").read_text().splitlines() for whose in ("ours", "theirs"))
    # The root itself: podman gives it the time of the pull, and a mode of its own where the top layer doesn't name it.
    ours, theirs = ([line for line in lines if not line.startswith(". ")] for lines in (ours, theirs))
    ours_only, theirs_only = sorted(set(ours) - set(theirs)), sorted(set(theirs) - set(ours))
    assert (ours_only[:20], theirs_only[:20], len(ours)) == ([], [], len(theirs))
    # All that diff can say of two pipes is that they are some.
    differences = [line for line in (work / "diff.txt").read_text().splitlines() if not line.endswith("is a fifo")]
    assert differences == []
    return len(ours)


def below(engine: Rootless, name: str) -> list[str]:
    """The unpacked layers of an image, top first, as paths in the store."""
    image = ImageStore(engine.paths).resolve(name)
    sources = [LayerSource(layer.diff_id, layer.blob.digest) for layer in image.layers]
    return Layers(engine.paths, detect()).ensure(sources)
