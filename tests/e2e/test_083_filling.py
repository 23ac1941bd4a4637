"""An empty volume takes over what the image holds: as Docker does it, once, and whole or not at all."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Iterator
from itertools import product

import pytest

from rootless.idmap import detect
from tests.conftest import Rootless
from tests.victims import kill_all

FILES = 600

MAKE = f"""
for n in 1 2 3 4; do
mkdir -p /empty$n /holding$n/sub; cd /holding$n
echo image > file; chmod 640 file; chown 5:6 file
ln file sub/second; ln -s file link; chmod 4711 sub; mkfifo pipe
chown 1000:1000 /empty$n .; chmod 750 /empty$n; chmod 2755 .
touch -d @1000000000 file .
done
mkdir /many; i=0; while [ $i -lt {FILES} ]; do echo $i > /many/$i; i=$((i+1)); done; echo begin > /many/log
"""
"""Four of each, because two volumes can't be mounted at one place."""


@pytest.fixture(scope="module")
def image(_store_with_image: Rootless) -> Iterator[str]:
    """An image with something at several places."""
    if detect().single:
        pytest.skip(f"no other ids: {detect().reason}")
    engine = _store_with_image
    engine.ok("run", "--name", "maker", "busybox", "sh", "-ec", MAKE)
    engine.ok("commit", "maker", "filling")
    engine.ok("rm", "maker")
    yield "filling"
    engine.ok("rmi", "-f", "filling")


@pytest.fixture
def engine(rootless: Rootless) -> Iterator[Rootless]:
    """The command; afterwards no volume is left."""
    yield rootless
    if names := rootless.ok("volume", "ls", "-q").split():
        rootless.ok("volume", "rm", "-f", *names)


CELLS = {
    f"{volume}-{place}-{mode}": (f"/{place}{number}", volume, place, mode)
    for place in ("missing", "empty", "holding")
    for number, (volume, mode) in enumerate(product(("fresh", "filled"), ("rw", "ro")), 1)
}
"""The names of the volumes: where each is mounted, and how."""


def looks(volume: str, place: str) -> tuple[str, list[str]]:
    """What Docker gives: owner and mode of the mount point, and what is in it (docs.docker.com, storage/volumes,
    "populate a volume using a container"; moby, container_unix.go, copyExistingContents)."""
    if volume == "filled":
        return "0:0 755", ["kept"]
    if place == "holding":
        return "1000:1000 2755", ["file", "link", "pipe", "sub"]
    return ("1000:1000 750" if place == "empty" else "0:0 755"), []


def writable(volume: str, place: str, mode: str, user: str) -> bool:
    return mode == "rw" and (user == "0" or looks(volume, place)[0].startswith(f"{user}:"))


@pytest.mark.parametrize("user", ["0", "1000"])
def test_every_cell_is_as_docker_has_it(engine: Rootless, image: str, driver: str, user: str) -> None:
    """Empty or filled volume, over a directory that is missing, empty or holds files, ro or rw, for root or another
    USER; the twelve cells of one user are twelve mounts of one container."""
    filled = [f"-v{name}:/{name}" for name, (_, volume, _, _) in CELLS.items() if volume == "filled"]
    engine.ok("run", "--rm", *filled, "busybox", "sh", "-c", "for d in /filled-*; do echo volume > $d/kept; done")
    mounts = [f"-v{name}:{target}:{mode}" for name, (target, _, _, mode) in CELLS.items()]
    each = "echo $d; stat -c '%u:%g %a' $d; ls $d; touch $d/x 2>/dev/null && { rm $d/x; echo written; }"
    script = f"for d in {' '.join(target for target, *_ in CELLS.values())}; do {each}; done; true"
    expected = []
    for target, volume, place, mode in CELLS.values():
        owner, names = looks(volume, place)
        expected += [target, owner, *names, *(["written"] if writable(volume, place, mode, user) else [])]
    words = ["--storage-driver", driver, "run", "--rm", "-u", user]
    assert engine.ok(*words, *mounts, image, "sh", "-c", script).splitlines() == expected
    look = "stat -c '%n %F %a %u:%g %h %Y' file sub/second sub link pipe; cat file; readlink link"
    words = ["run", "--rm", "-w", "/v", "-v", "fresh-holding-ro:/v", "busybox", "sh", "-c", look]
    shown = engine.ok(*words).splitlines()
    names = 1 if driver == "cow" else 2  # it numbers the names of a file of an image apart
    assert shown[0] == f"file regular file 640 5:6 {names} 1000000000"
    assert shown[1] == f"sub/second regular file 640 5:6 {names} 1000000000"
    assert shown[2].startswith("sub directory 4711 0:0") and shown[3].startswith("link symbolic link")
    assert shown[4].startswith("pipe fifo") and shown[5:] == ["image", "file"]


def test_what_is_taken_over_once_is_not_again(engine: Rootless, image: str) -> None:
    """A second container sees what the first one left, even nothing; nocopy and a subpath take over nothing."""
    engine.ok("run", "--rm", "-v", "vv:/holding1", image, "sh", "-c", "echo mine > /holding1/file")
    assert engine.ok("run", "--rm", "-v", "vv:/holding1", image, "cat", "/holding1/file") == "mine\n"
    assert engine.ok("run", "--rm", "-v", "nn:/holding1:nocopy", image, "ls", "/holding1") == ""
    engine.ok("create", "--name", "cc", "-v", "ee:/holding1", image, "sh", "-c", "ls /holding1; rm -rf /holding1/*")
    assert engine.ok("start", "-a", "cc").split() == ["file", "link", "pipe", "sub"]
    assert engine.ok("start", "-a", "cc") == "", "a container that is started again fills nothing"
    engine.ok("rm", "cc")


def count_in(engine: Rootless, volume: str) -> int:
    return len(os.listdir(engine.paths.volumes / volume / "_data"))


def leftovers(engine: Rootless, volume: str) -> list[str]:
    return sorted(set(os.listdir(engine.paths.volumes / volume)) - {"_data", "lock", "users", "volume.json"})


@pytest.mark.parametrize("mounted", [False, True], ids=["", "while it is mounted elsewhere"])
def test_ten_containers_at_once_fill_it_once(engine: Rootless, image: str, mounted: bool) -> None:
    """All see all of it, and none fills over what another has written already. Where it was empty and mounted before,
    whoever has it sees it come."""
    engine.ok("volume", "create", "vv")
    if mounted:
        engine.ok("run", "-d", "--name", "first", "-v", "vv:/elsewhere", "busybox", "sleep", "300")
    script = "echo line >> /many/log; ls /many | wc -l; cat /many/0 /many/599"
    started = [
        engine.popen("run", "--rm", "-v", "vv:/many", image, "sh", "-c", script, stdout=subprocess.PIPE)
        for _ in range(10)
    ]
    for process in started:
        out, _ = process.communicate(timeout=240)
        assert (process.returncode, out.split()) == (0, [b"%d" % (FILES + 1), b"0", b"599"])
    data = engine.paths.volumes / "vv" / "_data"
    assert (data / "log").read_text().splitlines() == ["begin"] + ["line"] * 10
    assert leftovers(engine, "vv") == []
    if mounted:
        assert engine.ok("exec", "first", "sh", "-c", "ls /elsewhere | wc -l").strip() == str(FILES + 1)
        engine.ok("rm", "-f", "first")


def kill_while_filling(engine: Rootless, image: str, delay: float, *, mounted: bool) -> str:
    """One start whose processes are all killed; what was seen then: "empty", "full", or "part" of a finished copy that
    the next one goes on with."""
    engine.ok("volume", "create", "vv")
    if mounted:
        engine.ok("run", "-d", "--name", "first", "-v", "vv:/elsewhere", "busybox", "sleep", "600")
    process = engine.popen(
        "run", "--name", "victim", "-v", "vv:/many", image, "true", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    directory = engine.paths.volumes / "vv"
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if leftovers(engine, "vv"):  # it has begun
            break
        time.sleep(0.001)
    time.sleep(delay)
    kill_all(process.pid)
    process.wait()
    count = count_in(engine, "vv")
    found = "empty" if count == 0 else "full" if count == FILES + 1 else "part"
    assert found != "part" or (mounted and "filled" in leftovers(engine, "vv")), "never a mixture"
    assert engine.ok("volume", "ls", "-q").split() == ["vv"]
    engine("rm", "-f", "victim")
    script = "ls /many | wc -l; cat /many/* | grep -vc begin"
    assert engine.ok("run", "--rm", "-v", "vv:/many", image, "sh", "-c", script).split() == [str(FILES + 1), str(FILES)]
    assert leftovers(engine, "vv") == []
    assert {path.stat().st_uid for path in directory.rglob("*") if path.name != "volume.json"} == {os.getuid()}
    if mounted:
        engine.ok("rm", "-f", "first")
    engine.ok("volume", "rm", "vv")
    return found


@pytest.mark.parametrize("mounted", [False, True], ids=["", "while it is mounted elsewhere"])
def test_a_kill_while_filling_leaves_it_empty(engine: Rootless, image: str, mounted: bool) -> None:
    kill_while_filling(engine, image, random.uniform(0, 0.1), mounted=mounted)


@pytest.mark.long
@pytest.mark.parametrize("mounted", [False, True], ids=["", "while it is mounted elsewhere"])
def test_fifty_kills_while_filling(engine: Rootless, image: str, mounted: bool) -> None:
    seen = [kill_while_filling(engine, image, random.uniform(0, 0.15), mounted=mounted) for _ in range(50)]
    print({what: seen.count(what) for what in set(seen)})
    assert "empty" in seen, "no kill came in time"


def kill_while_committing(engine: Rootless, delay: float) -> bool:
    """A commit that is killed; whether the image was there."""
    process = engine.popen("commit", "cc", "killed", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(delay)
    kill_all(process.pid)
    process.wait()
    made = engine("inspect", "killed").returncode == 0
    if not made:
        engine.ok("commit", "cc", "killed")
    assert engine.ok("run", "--rm", "killed", "sh", "-c", "ls /many | wc -l; cat /many/599 /new").split() == [
        str(FILES + 1),
        "599",
        "new",
    ]
    engine.ok("rmi", "-f", "killed")
    return made


def commit_with_kills(engine: Rootless, image: str, count: int) -> None:
    script = "echo new > /new; head -c 4m /dev/urandom > /big; for f in /many/*5; do echo x >> $f; done"
    engine.ok("run", "--name", "cc", image, "sh", "-c", script)
    began = time.monotonic()
    engine.ok("commit", "cc", "whole")
    lasts = time.monotonic() - began
    made = [kill_while_committing(engine, random.uniform(0, lasts)) for _ in range(count)]
    print(f"{sum(made)} of {count} images were there")
    engine.ok("rm", "cc")
    engine.ok("rmi", "-f", "whole")
    engine.ok("system", "prune", "-f")
    assert engine("system", "check").returncode == 0


def test_a_kill_while_committing_makes_an_image_or_none(engine: Rootless, image: str) -> None:
    commit_with_kills(engine, image, 1)


@pytest.mark.long
def test_fifty_kills_while_committing(engine: Rootless, image: str) -> None:
    commit_with_kills(engine, image, 50)


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["..", "../x", "a\nb", "x" * 300], ids=["dots", "slash", "newline", "long"])
def test_hostile_names(engine: Rootless, name: str) -> None:
    """Refused in one line and with nothing made, in each place that takes a name (tests/unit/test_volume_names.py has
    more of them)."""
    before = listing(engine)
    for words in (
        ["volume", "create", name],
        ["volume", "rm", name],
        ["volume", "export", name],
        ["run", "--rm", "--mount", f"type=volume,source={name},target=/v", "busybox", "true"],
        *([] if name[0] == "." else [["run", "--rm", "-v", f"{name}:/v", "busybox", "true"]]),  # else it is a path
    ):
        done = engine(*words)
        error = done.stderr.decode()
        assert done.returncode == (125 if words[0] == "run" else 1), (words, done)
        assert error.startswith("rootless: ") and len(error.splitlines()) == 1 + (name == "a\nb") * error.count("a\nb")
    assert engine.ok("volume", "ls", "-q") == ""
    assert listing(engine) == before


def listing(engine: Rootless) -> list[list[str]]:
    return [
        sorted(set(os.listdir(engine.root)) - {"volumes", "volumes.lock", "tmp"}),
        os.listdir(engine.root.parent),
        os.listdir(engine.paths.volumes) if engine.paths.volumes.exists() else [],
    ]
