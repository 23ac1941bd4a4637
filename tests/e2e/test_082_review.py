"""`diff`, `apply` and `discard`: somebody lets an installer run over their own files, looks, and decides."""

from __future__ import annotations

import json
import os
import random
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from rootless.container import review
from rootless.container.container import APPLYING
from rootless.container.store import Containers
from rootless.idmap import detect
from rootless.storage import drafts
from tests.conftest import Rootless
from tests.waiting import wait_for

IMAGE = "busybox:latest"

Tree = dict[str, tuple[object, ...]]


@pytest.fixture(params=["host", ":O"])
def ground(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of the caller's, the command's home and working directory."""
    if request.param == "host":
        if os.getuid() == 0:
            pytest.skip("the image host is not for root")
        if not os.access("/dev/fuse", os.R_OK | os.W_OK) or find_spec("pyfuse3") is None:
            pytest.skip("cow can't serve: /dev/fuse or pyfuse3 is missing")
    elif os.getuid() == 0:
        pytest.skip("root's containers belong to a subordinate id, which may not write root's files")
    made = tmp_path / "home"
    made.mkdir()
    fill(made)
    monkeypatch.setenv("HOME", str(made))
    monkeypatch.setenv("SHELL", "/bin/sh")
    monkeypatch.chdir(made)
    yield made
    for path in made.rglob("*"):  # or pytest could not remove them
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)


@pytest.fixture
def words(request: pytest.FixtureRequest, ground: Path) -> list[str]:
    """What makes a container over the ground, from the options of `create` to the image."""
    if request.node.callspec.params["ground"] == "host":
        return ["host", "--"]
    return ["-v", f"{ground}:{ground}:O", "-w", str(ground), IMAGE]


def fill(home: Path) -> None:
    for name in "edited", "deleted", "moved", "kept", "mode", "became-directory":
        (home / name).write_text(f"{name}, as it was\n")
    for name in "gone", "replaced", "entered", "became-file", "bits":
        (home / name / "deep").mkdir(parents=True)
        (home / name / "deep" / "file").write_text(f"{name}\n")
    (home / "link").symlink_to("kept")
    (home / "one").write_text("two names\n")
    (home / "other").hardlink_to(home / "one")


def run(rootless: Rootless, words: list[str], script: str) -> None:
    """A container `cc` over the ground, to its end."""
    rootless.ok("run", "--name", "cc", *words, "sh", "-c", script)


SCRIPT = r"""
set -e
echo more >> edited; rm deleted; mv moved renamed; chmod 600 mode
rm became-directory; mkdir became-directory; echo in > became-directory/in
rm -r gone; rm -r replaced; mkdir replaced; echo new > replaced/new
echo new > entered/deep/new; echo more >> entered/deep/file
rm -r became-file; echo file > became-file
chmod 755 bits; chmod 700 bits/deep
rm link; ln -s /etc/hosts link; ln -s nowhere dangling
echo first > first; ln first second; echo x > "$(printf 'line\nfeed')"
mkdir -p new/a/b; echo deep > new/a/b/c; chmod 444 new/a/b/c; chmod 555 new/a/b; mkfifo new/pipe
touch -d @1000000000 new/a/b/c new/a
rm one
"""


def snapshot(top: Path, *, times: bool = False) -> Tree:
    """Everything below `top` but the times of directories."""
    found: Tree = {}
    for path in sorted(top.rglob("*")):
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        content: object = None
        if stat.S_ISREG(kind):
            content = path.read_text()
        elif stat.S_ISLNK(kind):
            content = os.readlink(path)
        mode = stat.S_IMODE(status.st_mode)
        found[str(path.relative_to(top))] = (kind, mode, content, *([status.st_mtime_ns] if times else []))
    return found


EXPECTED: dict[str, str | None] = {
    "edited": "edited, as it was\nmore\n",
    "deleted": None,
    "moved": None,
    "renamed": "moved, as it was\n",
    "became-directory/in": "in\n",
    "gone": None,
    "replaced/deep": None,
    "replaced/new": "new\n",
    "entered/deep/new": "new\n",
    "entered/deep/file": "entered\nmore\n",
    "became-file": "file\n",
    "first": "first\n",
    "new/a/b/c": "deep\n",
    "line\nfeed": "x\n",
    "one": None,
    "other": "two names\n",
    "kept": "kept, as it was\n",
}


def lines(text: str, ground: Path) -> list[str]:
    """The lines of `diff` that are about what is in the ground."""
    return [line for line in text.splitlines() if line[2:].startswith(f"{ground}/")]


def test_nothing_changes_until_apply_and_then_exactly_the_diff(
    rootless: Rootless, ground: Path, words: list[str]
) -> None:
    before = snapshot(ground, times=True)
    run(rootless, words, SCRIPT)
    shown = rootless.ok("diff", "cc")
    dry = rootless.ok("apply", "--dry-run", "cc")
    assert snapshot(ground, times=True) == before, "nothing changes until apply"
    assert lines(dry, ground) == lines(shown, ground)
    assert "D " + str(ground / "gone") in shown and f"A {ground}/new/a/b/c" in shown

    applied = rootless.ok("apply", "cc")
    assert not list(rootless.root.glob("containers/*/applying")), "it was not killed"
    assert lines(applied, ground) == lines(shown, ground), "exactly the diff"
    for name, text in EXPECTED.items():
        path = ground / name
        assert (path.read_text() if os.path.lexists(path) else None) == text, name
    changed = {line[2:] for line in lines(shown, ground)}
    after = snapshot(ground, times=True)
    for name in before.keys() & after.keys():
        if str(ground / name).replace("\n", "\\n") not in changed:
            assert before[name] == after[name], f"{name} is not in the diff"
    assert after["mode"][1] == 0o600 and after["bits"][1] == 0o755 and after["bits/deep"][1] == 0o700
    assert os.readlink(ground / "link") == "/etc/hosts" and os.readlink(ground / "dangling") == "nowhere"
    assert (ground / "first").samefile(ground / "second"), "two names of one file stay that"
    assert after["new/a/b"][1] == 0o555 and after["new/a/b/c"][1:4:2] == (0o444, 10**18)
    assert (ground / "new/a").stat().st_mtime_ns == 10**18 and stat.S_ISFIFO((ground / "new/pipe").lstat().st_mode)
    assert all(path.lstat().st_uid == os.getuid() for path in ground.rglob("*"))

    assert lines(rootless.ok("diff", "cc"), ground) == [], "what is real is no change any more"
    assert rootless.ok("apply", "cc").splitlines() in ([], [f"C {ground}"])
    rootless.ok("rm", "cc")


def test_a_container_goes_on_after_an_apply(rootless: Rootless, ground: Path, words: list[str]) -> None:
    """It sees the machine as it is by now, and what it changes then can be applied as well."""
    rootless.ok("create", "--name", "cc", *words, "sh", "-c", "cat edited; echo run >> edited; rm -f deleted; ls")
    assert "deleted" not in rootless.ok("start", "-a", "cc").splitlines()
    rootless.ok("apply", "cc")
    assert not (ground / "deleted").exists()
    (ground / "edited").write_text("mine\n")
    (ground / "deleted").write_text("again\n")
    assert rootless.ok("start", "-a", "cc").startswith("mine\n")
    assert lines(rootless.ok("apply", "cc"), ground) == [f"D {ground}/deleted", f"C {ground}/edited"]
    assert (ground / "edited").read_text() == "mine\nrun\n"
    rootless.ok("rm", "cc")


def test_what_changed_meanwhile_is_told_and_not_overwritten(rootless: Rootless, ground: Path, words: list[str]) -> None:
    script = (
        "for f in edited deleted kept new-both same; do echo theirs > $f; done; rm mode; rm -r gone replaced;"
        "rm -r became-file; echo file > became-file; echo fine > fine; chmod 700 bits;"
        "echo x > entered/deep/file; echo y > entered/y"
    )
    run(rootless, words, script)
    (ground / "edited").write_text("mine\n")
    (ground / "deleted").unlink()
    (ground / "mode").write_text("still needed\n")
    (ground / "new-both").write_text("mine as well\n")
    (ground / "same").write_text("theirs\n")
    (ground / "gone/deep/late").write_text("late\n")
    (ground / "replaced/deep/file").write_text("edited\n")
    (ground / "became-file/late").mkdir()
    (ground / "bits").chmod(0o711)
    (ground / "entered").rename(ground / "elsewhere")
    for command in ["apply", "--dry-run", "cc"], ["apply", "cc"], ["apply", "cc"]:
        done = rootless(*command)
        left = {
            line.partition(": left as it is: ")[0].removeprefix("rootless: "): line.partition(": left as it is: ")[2]
            for line in done.stderr.decode().splitlines()
        }
        assert done.returncode == 1
        meanwhile, deleted = "it was changed on the machine meanwhile", "it was deleted on the machine meanwhile"
        assert left == {
            f"C {ground}/edited": meanwhile,
            f"A {ground}/deleted": deleted,
            f"D {ground}/mode": meanwhile,
            f"C {ground}/new-both": meanwhile,
            f"D {ground}/gone": left.get(f"D {ground}/gone"),
            f"D {ground}/replaced": left.get(f"D {ground}/replaced"),
            f"C {ground}/became-file": left.get(f"C {ground}/became-file"),
            f"C {ground}/bits": meanwhile,
            f"A {ground}/entered": deleted,
        }
        for name in "gone", "replaced", "became-file":
            (told,) = [text for line, text in left.items() if line.endswith(f"/{name}")]
            assert told is not None and told.endswith(" was changed on the machine meanwhile")
    assert (ground / "edited").read_text() == "mine\n" and not (ground / "deleted").exists()
    assert (ground / "mode").read_text() == "still needed\n" and (ground / "new-both").read_text() == "mine as well\n"
    assert (ground / "gone/deep/late").exists() and (ground / "replaced/deep/file").read_text() == "edited\n"
    assert (ground / "became-file/deep/file").exists() and stat.S_IMODE((ground / "bits").stat().st_mode) == 0o711
    assert not (ground / "entered").exists() and (ground / "elsewhere/deep/file").read_text() == "entered\n"
    assert (ground / "fine").read_text() == "fine\n" and (ground / "kept").read_text() == "theirs\n"
    rootless.ok("discard", "cc")
    assert lines(rootless.ok("diff", "cc"), ground) == []
    assert rootless.ok("apply", "cc") == ""
    rootless.ok("rm", "cc")


def test_only_some_of_it(rootless: Rootless, ground: Path, words: list[str]) -> None:
    run(rootless, words, "mkdir -p a/b; echo 1 > a/b/c; echo 2 > a/d; echo 3 > edited")
    rootless.ok("apply", "--only", "a/b", "cc")
    assert sorted(p.name for p in (ground / "a").rglob("*")) == ["b", "c"]
    assert (ground / "edited").read_text() == "edited, as it was\n"
    assert {f"C {ground}/edited", f"A {ground}/a/d"} <= set(rootless.ok("diff", "cc").splitlines())
    done = rootless("apply", "--only", str(ground / "nothing"), "cc")
    assert (done.returncode, done.stderr.decode()) == (
        1,
        f"rootless: container cc has changed nothing at {ground}/nothing\n",
    )
    rootless.ok("apply", "cc")
    assert (ground / "edited").read_text() == "3\n" and (ground / "a/d").read_text() == "2\n"
    rootless.ok("rm", "cc")


def test_discard_throws_everything_away(rootless: Rootless, ground: Path, words: list[str]) -> None:
    before = snapshot(ground, times=True)
    run(rootless, words, SCRIPT)
    assert rootless.ok("discard", "cc") == "cc\n"
    assert lines(rootless.ok("diff", "cc"), ground) == [] and snapshot(ground, times=True) == before
    rootless.ok("start", "-a", "cc")
    assert f"D {ground}/gone" in rootless.ok("diff", "cc"), "it begins anew"
    rootless.ok("rm", "cc")


ENDS = {
    "discard": ("discard", "cc"),
    "apply --only": ("apply", "--only", "edited", "cc"),
    "start": ("start", "-a", "cc"),
    "rm": ("rm", "cc"),
    "rm of a damaged one": ("rm", "cc"),
    "system prune": ("system", "prune", "-f"),
    "lost --rm": ("rm", "-f", "cc"),
}


def killed_apply(rootless: Rootless, ground: Path, container_id: str) -> Path:
    """What `apply` has when it is killed with two things half made; the container's directory."""
    container = Containers(rootless.paths).load(container_id)
    places = [review._place(container, area) for area in review.areas(container, detect())]
    drafts.write_down(container.directory / APPLYING, review._draft(container), places)
    draft = os.fsdecode(review._draft(container))
    (ground / draft / "inner").mkdir(parents=True)
    (ground / "entered" / "deep" / draft).write_text("half of it")
    return container.directory


@pytest.mark.parametrize("end", ENDS)
def test_whatever_follows_a_killed_apply_takes_away_what_it_has_left(
    rootless: Rootless, ground: Path, words: list[str], end: str
) -> None:
    run(rootless, words, "echo x > entered/deep/new; rm -rf gone; echo y > edited")
    directory = killed_apply(rootless, ground, rootless.ok("inspect", "-f", "{{.Id}}", "cc").strip())
    if end == "rm of a damaged one":
        (directory / "config.json").write_text("{")
    if end == "lost --rm":  # its monitor was killed, or it would have gone at its end
        spoiled = json.loads((directory / "config.json").read_bytes())
        spoiled["spec"]["auto_remove"] = True
        (directory / "config.json").write_text(json.dumps(spoiled))
    rootless.ok(*ENDS[end])
    assert not list(ground.rglob(".rootless-apply*")) and not (directory / APPLYING).exists()
    if directory.exists():
        rootless.ok("rm", "cc")


def test_what_cannot_be_taken_away_is_not_forgotten(rootless: Rootless, ground: Path, words: list[str]) -> None:
    """A container goes without it only when its caller says so."""
    run(rootless, words, "echo x > entered/deep/new")
    directory = killed_apply(rootless, ground, rootless.ok("inspect", "-f", "{{.Id}}", "cc").strip())
    (directory / APPLYING).write_text("{")
    for command in ["rm"], ["start"], ["apply"], ["discard"]:
        done = rootless(*command, "cc")
        assert (done.returncode, done.stderr.count(b"\n")) == (1, 1), done.stderr
        assert b"what an `apply` that was killed has left on the machine can't be taken away" in done.stderr
    assert b"an `apply` of it was killed" in rootless("system", "check").stdout
    assert rootless.ok("rm", "-f", "cc") == "cc\n"
    assert len(list(ground.rglob(".rootless-apply*"))) == 2


@pytest.mark.parametrize("spoil", ["chmod 0", "chown 33"])
def test_discard_of_a_layer_that_its_caller_may_not_enter(
    rootless: Rootless, ground: Path, words: list[str], spoil: str
) -> None:
    """The container may give what it has as its own, the mount or its root, to somebody else."""
    top = "/" if words[0] == "host" else str(ground)
    rootless.ok("create", "--name", "cc", *words, "sh", "-c", f"echo x > new && chmod 700 {top} && {spoil} {top}")
    directory = rootless.root / "containers" / rootless.ok("inspect", "-f", "{{.Id}}", "cc").strip()
    upper = directory / ("upper" if words[0] == "host" else "overlays/0/upper")
    first = (
        attributes(upper) if upper.exists() else (os.getuid(), os.getgid(), stat.S_IMODE(ground.stat().st_mode), b"")
    )
    rootless.ok("start", "-a", "cc")
    assert attributes(upper) != first
    assert rootless.ok("discard", "cc") == "cc\n"
    assert attributes(upper) == first and not list(upper.iterdir())
    assert lines(rootless.ok("diff", "cc"), ground) == []
    rootless.ok("rm", "cc")


def test_discard_empties_the_directory_that_the_caller_gave(rootless: Rootless, tmp_path: Path) -> None:
    if os.getuid() == 0:
        pytest.skip("root's containers belong to a subordinate id, which may not write root's files")
    lower, upper, work = tmp_path / "lower", tmp_path / "upper", tmp_path / "work"
    for path in lower, upper, work:
        path.mkdir(mode=0o755)
    volume = f"{lower}:/m:O,upperdir={upper},workdir={work}"
    rootless.ok(
        "run",
        "--name",
        "cc",
        "-v",
        volume,
        IMAGE,
        "sh",
        "-c",
        "mkdir -p /m/a/b; echo x > /m/f; chown 33 /m; chmod 0 /m",
    )
    inode = upper.stat().st_ino
    assert rootless.ok("discard", "cc") == "cc\n"
    assert attributes(upper) == attributes(lower) and upper.stat().st_ino == inode and not list(upper.iterdir())
    rootless.ok("rm", "cc")


def attributes(path: Path) -> tuple[int, int, int, bytes]:
    """Owner, mode, and those that are written down."""
    status = path.stat()
    name = "user.containers.override_stat"
    try:
        noted = os.getxattr(path, name)
    except OSError:
        noted = b""
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), noted


def test_no_link_leads_out(rootless: Rootless, ground: Path, words: list[str], tmp_path: Path) -> None:
    """A directory that has become a link meanwhile is not gone through."""
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep" / "file").write_text("not yours\n")
    run(rootless, words, "echo x > entered/deep/file; echo y > entered/deep/y; rm -r gone/deep")
    for name in "entered", "gone":
        (ground / name).rename(ground / f"{name}.aside")
        (ground / name).symlink_to(outside)
    done = rootless("apply", "cc")
    assert done.returncode == 1 and done.stderr.count(b"changed on the machine meanwhile") == 2
    assert snapshot(outside) == {
        "deep": snapshot(outside)["deep"],
        "deep/file": (stat.S_IFREG, (outside / "deep/file").stat().st_mode & 0o777, "not yours\n"),
    }
    rootless.ok("rm", "cc")


def test_set_id_programs_are_not_made(rootless: Rootless, ground: Path, words: list[str]) -> None:
    run(rootless, words, "echo x > tool; chmod 4755 tool; chmod 2755 bits")
    done = rootless("apply", "cc")
    assert (done.returncode, done.stderr.decode()) == (0, f"rootless: {ground}/tool: without its set-id bit\n")
    assert stat.S_IMODE((ground / "tool").stat().st_mode) == 0o755
    assert stat.S_IMODE((ground / "bits").stat().st_mode) == 0o2755, "of a directory it is about groups"
    rootless.ok("rm", "cc")


def test_one_that_runs_is_not_applied(rootless: Rootless, ground: Path, words: list[str]) -> None:
    rootless.ok("run", "-d", "--name", "cc", *words, "sh", "-c", "echo new > edited; exec sleep 60")
    wait_for(lambda: f"C {ground}/edited" in rootless.ok("diff", "cc"))
    for command in "apply", "discard":
        done = rootless(command, "cc")
        assert done.returncode == 1 and b"container cc: it is running; stop it first: rootless stop cc" in done.stderr
    rootless.ok("rm", "-f", "cc")
    assert (ground / "edited").read_text() == "edited, as it was\n"


def test_what_has_nothing_of_the_machine(rootless: Rootless) -> None:
    rootless.ok("run", "--name", "cc", IMAGE, "touch", "/x")
    for command in "apply", "discard":
        done = rootless(command, "cc")
        assert done.returncode == 1
        assert b"rootless: container cc has changed nothing of the machine's" in done.stderr
    rootless.ok("rm", "cc")


def test_what_belongs_to_others_is_left(rootless: Rootless, ground: Path, words: list[str]) -> None:
    if words[0] != "host":
        pytest.skip("below :O is a directory of the caller's own here")
    run(rootless, words, "rm /etc/passwd; echo x > /etc/new; echo mine > mine; chown 33 edited")
    before = Path("/etc/passwd").read_bytes()
    for command in ["apply", "--dry-run", "cc"], ["apply", "cc"]:
        done = rootless(*command)
        assert done.returncode == 1
        assert done.stderr.decode().splitlines() == [
            "rootless: A /etc/new: left as it is: permission denied",
            "rootless: D /etc/passwd: left as it is: it belongs to another user of the machine",
            f"rootless: C {ground}/edited: left as it is: it belongs to user 33 of the container",
        ]
    assert Path("/etc/passwd").read_bytes() == before and (ground / "mine").read_text() == "mine\n"
    rootless.ok("rm", "cc")


def test_over_a_directory_of_somebody_else(rootless: Rootless) -> None:
    """Nothing there is the caller's, and that its owner is another one is no change."""
    if os.getuid() == 0:
        pytest.skip("root owns it")
    rootless.ok("run", "--name", "cc", "-v", "/usr/share:/m:O", IMAGE, "true")
    assert rootless.ok("diff", "cc") == "A /m\n" and rootless.ok("apply", "cc") == ""
    rootless.ok("rm", "cc")


# --- killed ---------------------------------------------------------------------------------------------------------

COUNT = 60


def has_applied(rootless: Rootless) -> bool:
    """Whether `apply` came to its end; not while the child of a killed one still holds the container's lock."""
    done = rootless("apply", "cc")
    assert done.returncode == 0 or b"a command is at work on it" in done.stderr, done.stderr
    return done.returncode == 0


def kill_somewhere(rootless: Rootless, ground: Path, words: list[str], chance: random.Random) -> None:
    """One container that edits, deletes and makes files; its `apply` is killed with all of its processes."""
    names = [f"f{number:03}" for number in range(COUNT)]
    for name in names:
        (ground / name).write_text("old\n")
    change = "case $f in *[0-4]) echo new > $f;; *) rm $f;; esac; mkdir d$f; echo in > d$f/in"
    script = f"for f in $(ls | grep ^f); do {change}; done"
    run(rootless, words, script)
    process = rootless.popen("apply", "cc", stdout=subprocess.DEVNULL, start_new_session=True)
    time.sleep(chance.uniform(0.15, 0.7))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for name in names:
        text = (ground / name).read_text() if (ground / name).exists() else None
        wanted = "new\n" if name[-1] in "01234" else None
        assert text in ("old\n", wanted), f"{name} is neither old nor new"
    wait_for(lambda: has_applied(rootless), "another apply")
    for name in names:
        text = (ground / name).read_text() if (ground / name).exists() else None
        assert text == ("new\n" if name[-1] in "01234" else None)
        assert (ground / f"d{name}/in").read_text() == "in\n"
    assert not list(ground.rglob(".rootless-apply*"))
    assert lines(rootless.ok("diff", "cc"), ground) == []
    rootless.ok("rm", "cc")
    for path in ground.glob("df*"):
        subprocess.run(["rm", "-r", path], check=True)


def test_a_kill_leaves_old_or_new_files_and_another_apply_finishes(
    rootless: Rootless, ground: Path, words: list[str]
) -> None:
    kill_somewhere(rootless, ground, words, random.Random())


@pytest.mark.long
def test_fifty_kills_while_applying(rootless: Rootless, ground: Path, words: list[str]) -> None:
    chance = random.Random()
    for _ in range(50):
        kill_somewhere(rootless, ground, words, chance)
