"""A disk that is too small, or that fills up in the middle of a pull: one line, and a store as before."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Rootless
from tests.images.conftest import contents
from tests.images.registries import FakeRegistry
from tests.storage.archives import Archive

MIB = 1 << 20
NOISE = random.Random(1).randbytes(2 * MIB)
TEXT = b"All work and no play makes Jack a dull boy.\n" * (24 * MIB // 44)
"""24 MiB that a gzip of a tenth of a MiB holds: whether there is room for them can't be told before."""

MOUNT = """
set -e
mount -t tmpfs -o size=12m none "$ROOTLESS_ROOT"
exec unshare --user --map-user="$1" --map-group="$2" sh -c "$3"
"""
SCRIPT = """
set -e
rootless() { PATH=/nowhere "$PYTHON" -m rootless "$@"; }  # no newuidmap: the caller's ids can't be mapped twice
state() { cd "$ROOTLESS_ROOT"; find . -type f ! -name '*.lock' ! -name lock | sort; cat index.json; cd "$OLDPWD"; }
rootless pull -q "$HOST/x:before"
state >"$WORK/before"
fill() {
    until [ -s "$ROOTLESS_ROOT"/partial/* ]; do sleep 0.01; done
    cat /dev/zero >"$ROOTLESS_ROOT/fill"
}
if [ -n "$FILL" ]; then fill 2>/dev/null & filling=$!; fi
code=0
rootless pull -q "$HOST/x:$TAG" 2>"$WORK/error" || code=$?
if [ -n "$FILL" ]; then kill $filling 2>/dev/null || true; wait $filling || true; fi
rm -f "$ROOTLESS_ROOT/fill"
state >"$WORK/after"
echo $code
rootless system check
"""


def full(engine: Rootless, fake: FakeRegistry, tmp_path: Path, tag: str, *, fill: bool = False) -> str:
    """Pull an image into a store on a file system of 12 MiB; the line that it ends with."""
    engine.root.mkdir(exist_ok=True)
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("needs unshare(1) and a user namespace of one's own")
    given = {"PYTHON": sys.executable, "HOST": fake.host, "TAG": tag, "WORK": str(tmp_path), "FILL": "1" * fill}
    done = subprocess.run(
        [*unshare, "sh", "-c", MOUNT, "sh", str(os.getuid()), str(os.getgid()), SCRIPT],
        env=engine.environment | given,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    _, code, *report = done.stdout.decode().splitlines()
    error = (tmp_path / "error").read_text()
    assert (code, error.count("\n"), report[-1].partition(": ")[2]) == ("1", 1, "nothing wrong"), (report, error)
    assert (tmp_path / "after").read_text() == (tmp_path / "before").read_text()
    return error


def test_room_is_asked_for_before_the_first_byte(engine: Rootless, fake: FakeRegistry, tmp_path: Path) -> None:
    """What can't fit at all is not begun: the line says how much is needed and how much there is."""
    fake.add([Archive().file("here", b"before").bytes()], "before")
    manifest = fake.add([Archive().file("f", NOISE * 4).bytes()], "big")
    error = full(engine, fake, tmp_path, "big")
    assert f"{fake.host}/x:big needs at least " in error and "are free; make room there, or name another store" in error
    assert fake.sent[manifest["layers"][0]["digest"]] == 0  # type: ignore[index]


def test_the_disk_is_full_while_a_layer_is_unpacked(engine: Rootless, fake: FakeRegistry, tmp_path: Path) -> None:
    fake.add([Archive().file("here", b"before").bytes()], "before")
    fake.add([Archive().file("first", b"1").bytes(), Archive().file("text", TEXT).bytes()], "wide")
    error = full(engine, fake, tmp_path, "wide")
    assert "No space left on device" in error and "name another store with --root" in error


def test_the_disk_is_full_while_a_layer_is_downloaded(engine: Rootless, fake: FakeRegistry, tmp_path: Path) -> None:
    """Somebody else fills it meanwhile."""
    fake.add([Archive().file("here", b"before").bytes()], "before")
    fake.add([Archive().file("first", b"1").bytes(), Archive().file("f", NOISE).bytes()], "slow")
    fake.rate = MIB
    error = full(engine, fake, tmp_path, "slow", fill=True)
    assert "No space left on device" in error and "name another store with --root" in error


@pytest.mark.parametrize("make", [lambda: NOISE, lambda: TEXT], ids=["blob", "layer"])
def test_the_same_with_real_ids(make: Callable[[], bytes], engine: Rootless, fake: FakeRegistry) -> None:
    """In a namespace of one id layers are `owned`; here a limit on the size of files stands in for the disk."""
    fake.add([Archive().file("f", make()).bytes()])
    engine.ok("images")
    done = subprocess.run(
        engine.argv("pull", "-q", fake.name()),
        env=engine.environment,
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB)),
    )
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1), done.stderr
    assert b"File too large" in done.stderr and b"make room " in done.stderr, done.stderr
    assert not any(contents(engine).values())
    assert engine.ok("system", "check").endswith("nothing wrong\n")
