"""`cp` both ways, into containers that run and that rest, on every storage driver, and against one that cheats."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from rootless import child
from rootless.container.copy import Copier
from rootless.container.store import Containers
from rootless.errors import RootlessError
from rootless.idmap import detect
from rootless.paths import Paths
from tests.conftest import Rootless
from tests.waiting import wait_for

IMAGE = "busybox:latest"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    found = tmp_path / "tree"
    (found / "sub").mkdir(parents=True)
    (found / "file").write_text("text")
    (found / "file").chmod(0o640)
    (found / "sub" / "link").symlink_to("../file")
    os.link(found / "file", found / "sub" / "other")
    return found


@pytest.mark.parametrize("running", [False, True])
def test_there_and_back(rootless: Rootless, driver: str, tree: Path, tmp_path: Path, running: bool) -> None:
    """Each rule of names: into a directory that is there, as a new name, only the contents, one file."""
    rootless.ok("--storage-driver", driver, "create", "--name", "cc", IMAGE, "sleep", "100")
    if running:
        rootless.ok("start", "cc")
    rootless.ok("cp", str(tree), "cc:/root")
    rootless.ok("cp", str(tree), "cc:/root/new")
    rootless.ok("cp", f"{tree}/.", "cc:/root/contents")
    rootless.ok("cp", f"{tree}/file", "cc:/root/")
    rootless.ok("cp", f"{tree}/file", "cc:/root/renamed")
    rootless.ok("cp", "cc:/root/.", str(tmp_path / "back"))
    back = tmp_path / "back"
    assert sorted(os.listdir(back)) == ["contents", "file", "new", "renamed", "tree"]
    for name in "contents", "new", "tree":
        assert sorted(os.listdir(back / name)) == ["file", "sub"]
        assert (back / name / "file").stat().st_mode & 0o7777 == 0o640
        assert (back / name / "file").stat().st_ino == (back / name / "sub/other").stat().st_ino
        assert os.readlink(back / name / "sub/link") == "../file"
        assert int((back / name / "file").stat().st_mtime) == int((tree / "file").stat().st_mtime)
    with tarfile.open(fileobj=io.BytesIO(rootless("cp", "cc:/root/tree", "-").stdout)) as archive:
        assert archive.getnames() == ["tree", "tree/file", "tree/sub", "tree/sub/link", "tree/sub/other"]
        assert {member.uid for member in archive} == {0}, "copied without -a they belong to the container's root"
    rootless.ok("rm", "-f", "cc")


def test_owners_with_and_without_a(rootless: Rootless) -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        entry = tarfile.TarInfo("x")
        entry.uid, entry.gid = 5, 6
        archive.addfile(entry)
    rootless.ok("run", "-d", "--name", "cc", IMAGE, "sleep", "100")
    for words in [], ["-a"]:
        rootless.ok("cp", *words, "-", f"cc:/{'root' if words else 'tmp'}", stdin=sink.getvalue())
    assert rootless.ok("exec", "cc", "stat", "-c", "%u:%g", "/tmp/x", "/root/x").split() == ["0:0", "5:6"]
    rootless.ok("rm", "-f", "cc")


def test_into_a_volume_of_a_container_that_was_never_started(rootless: Rootless, tree: Path) -> None:
    rootless.ok("create", "--name", "cc", "-v", "/data", IMAGE, "cat", "/data/file")
    rootless.ok("cp", f"{tree}/file", "cc:/data/")
    assert rootless.ok("start", "-a", "cc") == "text"
    assert rootless.ok("diff", "cc").splitlines() == ["A /data"], "it lies in the volume, not in the container"
    rootless.ok("rm", "-v", "cc")


def test_links_at_the_ends(rootless: Rootless, tmp_path: Path) -> None:
    """A source link is copied as one, with -L what it leads to; one that leads out of the container leads nowhere."""
    script = f"ln -s /etc/passwd /l; ln -s {tmp_path} /out; sleep 100"
    rootless.ok("run", "-d", "--name", "cc", IMAGE, "sh", "-c", script)
    deadline = time.monotonic() + 10
    while rootless("exec", "cc", "test", "-L", "/out").returncode and time.monotonic() < deadline:
        time.sleep(0.05)
    rootless.ok("cp", "cc:/l", str(tmp_path / "link"))
    rootless.ok("cp", "-L", "cc:/l", str(tmp_path / "file"))
    assert os.readlink(tmp_path / "link") == "/etc/passwd"
    assert (tmp_path / "file").read_text() == rootless.ok("exec", "cc", "cat", "/etc/passwd")
    done = rootless("cp", str(tmp_path / "file"), "cc:/out/stolen")
    assert (done.returncode, (tmp_path / "stolen").exists()) == (1, False)
    rootless.ok("rm", "-f", "cc")


def copy_often(paths: Paths, place: Path, tries: int) -> int:
    """Both ways, with what the command calls: how many succeeded while directories came and went."""
    container, ids = Containers(paths).resolve("cc"), detect()
    done = 0
    for number in range(tries):
        steps: list[tuple[str, Path, bool]] = [
            ("/d/x", place / f"back{number}", False),
            ("/d/x/secret", place / f"one{number}", False),
            ("/d/x/secret", place / "new", True),
        ]
        for path, here, into in steps:
            copier = Copier(container, ids)
            with suppress(RootlessError, OSError):
                copier.into(str(here), path) if into else copier.out(path, str(here))
                done += 1
    return done


def race(rootless: Rootless, tmp_path: Path, tries: int) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("of the host's")
    (tmp_path / "new").write_text("new")
    steps = f"ln -s {outside} /d/x; rm -rf /d/x; mkdir /d/x; rm -rf /d/x"
    swap = f"mkdir -p /d; while :; do {steps}; done"
    rootless.ok("run", "-d", "--name", "cc", IMAGE, "sh", "-c", swap)
    done = child.call(lambda: copy_often(rootless.paths, tmp_path, tries), "the one that copies")
    print(f"{done} of {3 * tries} copies were made")
    rootless.ok("rm", "-f", "cc")
    assert os.listdir(outside) == ["secret"]
    assert (outside / "secret").read_text() == "of the host's"
    for path in [*tmp_path.glob("back*/secret"), *tmp_path.glob("one*")]:
        if path.parent.is_symlink():
            continue  # the link itself was copied: what it leads to here was not
        assert path.is_symlink() or not path.is_file() or path.read_text() == "new"


def test_a_directory_that_becomes_a_link_meanwhile(rootless: Rootless, tmp_path: Path) -> None:
    race(rootless, tmp_path, 70)


@pytest.mark.long
def test_ten_thousand_tries(rootless: Rootless, tmp_path: Path) -> None:
    race(rootless, tmp_path, 3334)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["cc:/nope", "."], "Could not find the file /nope in container cc"),
        (["/nope", "cc:/"], "lstat /nope: no such file or directory"),
        (["/etc/passwd", "cc:/nope/x"], "Could not find the file /nope in container cc"),
        (["/etc/passwd", "cc:/nope/"], "no such directory"),
        (["cc:/etc/passwd", "/nope/x"], 'invalid output path: directory "/nope" does not exist'),
        (["/usr/bin", "cc:/etc/passwd"], "cannot copy directory"),
        (["cc:/etc", "cc:/x"], "copying between containers is not supported"),
        (["/etc", "/x"], "must specify at least one container source"),
        (["/dev/null", "cc:/"], "/dev/null is a device, which only an administrator may make"),
        (["cc:", "x"], "source can not be empty"),
        (["x", "cc:"], "destination can not be empty"),
        (["-", "cc:/etc/passwd"], "must be a directory"),
        (["nothing:/x", "."], "No such container: nothing"),
    ],
)
def test_mistakes(rootless: Rootless, words: list[str], text: str) -> None:
    rootless.ok("create", "--name", "cc", IMAGE)
    done = rootless("cp", *words)
    rootless.ok("rm", "cc")
    assert (done.returncode, done.stdout) == (1, b"")
    assert text in done.stderr.decode()


def test_a_device_is_told_and_not_left_out_without_a_word(rootless: Rootless, tmp_path: Path) -> None:
    rootless.ok("run", "-d", "--name", "cc", IMAGE, "sleep", "1000")
    done = rootless("cp", "cc:/dev/null", os.fspath(tmp_path / "null"))
    rootless.ok("rm", "-f", "cc")
    assert done.returncode == 1 and not (tmp_path / "null").exists()
    assert done.stderr == b"rootless: /dev/null is a device, which only an administrator may make\n"


def test_between_two_runs(rootless: Rootless) -> None:
    """Nobody is there whose files could be seen; the next run's mount must not meet that of a copy."""
    rootless.ok("run", "-d", "--name", "again", "--restart", "always", "busybox", "sh", "-c", "exit 3")
    refusal = b"is restarting, wait until the container is running"
    # It runs for a moment between ever longer pauses.
    wait_for(lambda: refusal in rootless("cp", "again:/etc/passwd", "-").stderr, "the refusal between two runs")
    rootless.ok("rm", "-f", "again")


def test_a_set_uid_program_of_the_containers_is_none_of_the_callers(rootless: Rootless, tmp_path: Path) -> None:
    """With -a as well: what can't keep its owner must not keep the bit that lends that owner's rights."""
    rootless.ok(
        "run", "--name", "cc", IMAGE, "sh", "-c", "mkdir /s; cp /bin/busybox /s/a; chown 5:5 /s/a; chmod 6755 /s/a"
    )
    rootless.ok("cp", "-a", "cc:/s", os.fspath(tmp_path / "s"))
    rootless.ok("rm", "cc")
    assert stat.S_IMODE((tmp_path / "s/a").stat().st_mode) == 0o755


def test_a_tree_deeper_than_there_are_descriptors(rootless: Rootless, tmp_path: Path) -> None:
    rootless.ok("run", "--name", "cc", IMAGE, "sh", "-c", f"mkdir -p /deep/{'d/' * 1100}")
    few = ["sh", "-c", 'ulimit -S -n 256; exec "$@"', "sh", *rootless.argv("cp", "cc:/deep", os.fspath(tmp_path))]
    done = subprocess.run(few, env=rootless.environment, capture_output=True, timeout=60)
    rootless.ok("rm", "cc")
    assert (done.returncode, done.stderr) == (0, b"")
    assert os.path.isdir(tmp_path / "deep" / ("d/" * 1100))
