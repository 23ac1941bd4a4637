"""What only the driver `cow` can do: a size limit, owners written down, and the machine's own root as an image."""

from __future__ import annotations

import io
import json
import os
import pwd
import random
import re
import shutil
import signal
import stat
import subprocess
import tarfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pexpect
import pytest

from rootless.idmap import detect
from tests.conftest import Rootless
from tests.waiting import wait_for

IMAGE = "busybox:latest"
OVERRIDE = "user.containers.override_stat"


@pytest.fixture(autouse=True)
def needs_cow() -> None:
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("/dev/fuse may not be opened")
    if find_spec("pyfuse3") is None:
        pytest.skip("pyfuse3 is not installed")


@pytest.fixture
def unprivileged() -> None:
    if os.getuid() == 0:
        pytest.skip("root's containers belong to a subordinate id")


@pytest.fixture
def home(unprivileged: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home directory of the test's own, in which the command is called."""
    made = tmp_path / "home"
    made.mkdir()
    (made / "mine").write_text("mine\n")
    monkeypatch.setenv("HOME", str(made))
    monkeypatch.setenv("SHELL", "/bin/sh")
    monkeypatch.chdir(made)
    yield made
    assert sorted(path.name for path in made.iterdir()) == ["mine"], "what is written stays in the sandbox"
    assert (made / "mine").read_text() == "mine\n"


def upper_of(rootless: Rootless, name: str) -> Path:
    return rootless.paths.names / name / "upper"


# --- a limit --------------------------------------------------------------------------------------------------------


def test_a_full_container_is_told_so_and_gets_back_what_it_removes(rootless: Rootless) -> None:
    script = (
        "dd if=/dev/zero of=/x bs=64k 2>&1 | grep space; df -k / | tail -n 1; rm /x; head -c 1m /dev/zero >/y && ls"
    )
    shown = rootless.ok("run", "--rm", "--storage-opt", "size=4m", IMAGE, "sh", "-c", script).splitlines()
    assert shown[0] == "dd: error writing '/x': No space left on device"
    assert shown[1].split()[:4] == ["cow", "4096", "4096", "0"]
    assert "y" in shown


def test_the_limit_holds_over_a_restart_and_inspect_tells_it(rootless: Rootless) -> None:
    script = "[ -e /x ] && dd if=/dev/zero of=/z bs=64k; head -c 3m /dev/zero > /x; du -k /x"
    rootless.ok("create", "--name", "limited", "--storage-opt", "size=4M", IMAGE, "sh", "-c", script)
    assert rootless.ok("start", "-a", "limited").split()[0] == "3072"
    rootless("start", "-a", "limited")
    size = (upper_of(rootless, "limited") / "z").stat().st_size
    assert 0 < size < 1 << 20, "what the first run has written counts in the second"
    assert json.loads(rootless.ok("inspect", "limited"))[0]["HostConfig"]["StorageOpt"] == {"size": "4M"}
    assert rootless.ok("inspect", "-f", "{{.Driver}}", "limited") == "cow\n"
    rootless.ok("rm", "limited")


def test_no_limit_is_what_zero_means(rootless: Rootless) -> None:
    rootless.ok("run", "--rm", "--storage-opt", "size=0", IMAGE, "sh", "-c", "head -c 8m /dev/zero > /x")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--storage-opt", "size"), "invalid storage option; 'size' is not of the form NAME=VALUE"),
        (("--storage-opt", "size=much"), "invalid size: 'much'"),
        (("--storage-opt", "Colour=red"), "Unknown option colour; --storage-opt has size and ownership"),
        (("--storage-opt", "ownership=mine"), "invalid ownership: 'mine'; it is owned or mapped"),
    ],
)
def test_bad_options_are_refused_in_dockers_words(rootless: Rootless, words: tuple[str, ...], message: str) -> None:
    for command in "run", "create":
        done = rootless(command, *words, IMAGE, "true")
        assert (done.returncode, done.stderr.decode()) == (125, f"rootless: {message}\n")


@pytest.mark.parametrize("driver", ["overlay", "fuse-overlayfs"])
@pytest.mark.parametrize("option", ["size=1g", "ownership=owned"])
def test_another_driver_says_that_it_cannot(rootless: Rootless, unprivileged: None, driver: str, option: str) -> None:
    """A limit that is silently none would be worse than no container."""
    done = rootless("--storage-driver", driver, "run", "--storage-opt", option, IMAGE, "true")
    wished = "size" if option.startswith("size") else option
    expected = f"--storage-opt {wished} is not supported by the storage driver {driver}; take --storage-driver cow"
    assert (done.returncode, done.stderr.decode()) == (125, f"rootless: {expected}\n")


# --- owners written down --------------------------------------------------------------------------------------------


def test_an_owned_container_shows_true_owners_and_belongs_wholly_to_the_caller(
    rootless: Rootless, unprivileged: None
) -> None:
    if detect().single:
        pytest.skip(f"no other ids to show: {detect().reason}")
    script = (
        "[ -e /f ] || { touch /f; chown 1000:2000 /f; chmod 4755 /f; mkfifo /p; rm /etc/group; mv /etc /moved; }; "
        "stat -c %u:%g:%a:%F /f /p /moved"
    )
    words = ("--storage-opt", "ownership=owned", IMAGE, "sh", "-c", script)
    expected = ["1000:2000:4755:regular empty file", "0:0:644:fifo", "0:0:755:directory"]
    assert rootless.ok("run", "--name", "ours", *words).splitlines() == expected
    assert rootless.ok("start", "-a", "ours").splitlines() == expected, "after a remount, too"
    upper = upper_of(rootless, "ours")
    assert os.getxattr(upper / "f", OVERRIDE) == b"1000:2000:4755:file"
    found = [upper, *upper.rglob("*")]
    assert {(path.lstat().st_uid, path.lstat().st_gid) for path in found} == {(os.getuid(), os.getgid())}
    assert not any(path.lstat().st_mode & (stat.S_ISUID | stat.S_ISGID) for path in found)
    record = json.loads((rootless.paths.names / "ours" / "config.json").read_text())
    assert record["owners"] == "owned"
    assert all(os.readlink(rootless.paths.store / layer).endswith("/owned") for layer in record["layers"])
    rootless.ok("rm", "ours")


def test_a_restart_policy_gives_the_next_run_a_server_too(rootless: Rootless, unprivileged: None) -> None:
    words = ("--storage-opt", "ownership=owned", IMAGE, "sh", "-c", "echo x >> /runs; cat /runs; exit 3")
    done = rootless("run", "--name", "again", "--restart", "on-failure:1", *words)
    assert done.returncode == 3
    deadline = time.monotonic() + 10
    while rootless.ok("inspect", "-f", "{{.State.Status}} {{.RestartCount}}", "again") != "exited 1\n":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (upper_of(rootless, "again") / "runs").read_text() == "x\nx\n"
    rootless.ok("rm", "again")


@pytest.fixture
def one_id(unprivileged: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busybox_tar: Path) -> Rootless:
    """A machine whose PATH has no newuidmap, and an image in which one file and one link are user 1000's."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sh").symlink_to(shutil.which("sh") or "/bin/sh")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    image = tmp_path / "image.tar"
    shutil.copy(busybox_tar, image)
    with tarfile.open(image, "a") as archive:
        for name, kind in ("theirs", tarfile.REGTYPE), ("link", tarfile.SYMTYPE):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.mode, entry.uid, entry.gid = kind, "theirs", 0o640, 1000, 1001
            entry.size = 2 if kind == tarfile.REGTYPE else 0
            archive.addfile(entry, io.BytesIO(b"x\n") if entry.size else None)
    engine = Rootless(tmp_path / "store")
    engine.ok("import", "-c", 'CMD ["/bin/sh"]', str(image), IMAGE)
    return engine


def test_with_one_id_everything_is_roots_and_what_it_truly_is_is_kept(one_id: Rootless) -> None:
    """The kernel shows no owner that a user namespace has no id for, and lets nobody write to such a file."""
    script = "stat -c %u:%g /theirs /link; echo y >> /theirs; chmod 600 /theirs; cat /link; touch /new; chown 5 /new"
    done = one_id("run", "--name", "one", IMAGE, "sh", "-c", script)
    assert done.stdout.decode().splitlines() == ["0:0", "0:0", "x", "y"]
    assert b"chown: /new: Invalid argument" in done.stderr
    upper = upper_of(one_id, "one")
    assert os.getxattr(upper / "theirs", OVERRIDE) == b"1000:1001:600:file"
    assert one_id.ok("inspect", "-f", "{{.Driver}}", "one") == "cow\n"
    one_id.ok("rm", "one")
    one_id.nothing_remains()


@pytest.fixture
def on_fuse(unprivileged: None, tmp_path: Path, busybox_tar: Path) -> Iterator[Rootless]:
    """A store on another's file system: as on NFS, nobody may give files away there, whosever root that is, and
    a file that is removed while it is open stays under another name."""
    if shutil.which("bindfs") is None or shutil.which("fusermount3") is None:
        pytest.skip("bindfs is not installed")
    for name in "real", "seen":
        (tmp_path / name).mkdir()
    subprocess.run(["bindfs", "--no-allow-other", tmp_path / "real", tmp_path / "seen"], check=True)
    engine = Rootless(tmp_path / "seen" / "store")
    try:
        engine.ok("import", "-c", 'CMD ["/bin/sh"]', str(busybox_tar), IMAGE)
        yield engine
        wait_for(lambda: engine.ok("ps", "-aq") == "" and not engine.remains(), "going with the next command", pause=1)
    finally:
        subprocess.run(["fusermount3", "-u", tmp_path / "seen"], check=True)


def test_a_store_where_files_cannot_be_given_away(on_fuse: Rootless) -> None:
    if detect().single:
        pytest.skip(f"no other ids to show: {detect().reason}")
    script = "touch /f; chown 1000:1000 /f; rm /etc/group; mv /etc /moved; stat -c %u:%g /f /moved"
    assert on_fuse.ok("run", "--name", "far", IMAGE, "sh", "-c", script).split() == ["1000:1000", "0:0"]
    assert "the store lies on fuse" in on_fuse.ok("info")
    assert os.getxattr(upper_of(on_fuse, "far") / "f", OVERRIDE) == b"1000:1000:644:file"
    on_fuse.ok("rm", "far")
    on_fuse.ok("run", "--rm", IMAGE, "true")
    on_fuse.ok("run", "--rm", "host", "true")


def test_info_says_why_one_id_is_served_by_cow(one_id: Rootless) -> None:
    text = one_id.ok("info")
    assert " Storage Driver: cow\n  Reason: there is only one id, and" in text


# --- the machine's own root -----------------------------------------------------------------------------------------


def test_the_machine_is_seen_and_not_changed(rootless: Rootless, home: Path) -> None:
    script = (
        "id -u; pwd; cat ~/mine; echo changed > ~/mine; cat ~/mine; echo new > ~/new; rm /etc/passwd; "
        "echo x > /etc/rootless-test; ls /etc/rootless-test; ls -A /run; cat /proc/1/comm"
    )
    before = Path("/etc/passwd").read_bytes()
    shown = rootless.ok("run", "--name", "sandbox", "host", "sh", "-c", script).splitlines()
    assert shown == ["0", str(home), "mine", "changed", "/etc/rootless-test", "sh"]
    assert Path("/etc/passwd").read_bytes() == before
    assert not Path("/etc/rootless-test").exists()
    upper = upper_of(rootless, "sandbox")
    assert (upper / str(home).lstrip("/") / "new").read_text() == "new\n"
    lines = (rootless.paths.names / "sandbox" / "base.jsonl").read_text().splitlines()
    noted = {entry["path"]: entry for entry in map(json.loads, lines)}
    assert {"/etc/passwd", f"{home}/mine"} <= noted.keys()
    assert noted[f"{home}/mine"]["ino"] == (home / "mine").stat().st_ino
    rootless.ok("rm", "sandbox")


def test_the_first_thing_that_is_ever_run_may_be_the_machine(tmp_path: Path, home: Path) -> None:
    """No image and no store is there yet."""
    engine = Rootless(tmp_path / "new" / "store")
    assert engine.ok("run", "--rm", "host", "cat", "mine") == "mine\n"
    engine.nothing_remains()


def test_a_sandbox_keeps_its_changes_until_it_is_removed(rootless: Rootless, home: Path) -> None:
    rootless.ok("create", "--name", "kept", "host", "sh", "-c", "cat ~/new; echo run >> ~/new")
    assert rootless("start", "-a", "kept").stdout == b""
    assert rootless.ok("start", "-a", "kept") == "run\n"
    assert rootless.ok("ps", "-a", "--format", "{{.Image}} {{.Names}}") == "host kept\n"
    rootless.ok("rm", "kept")


def test_owners_mean_something(rootless: Rootless, home: Path) -> None:
    """Root's files and the caller's are the container's root's, all others nobody's."""
    others = next((e for e in Path("/home").iterdir() if e.stat().st_uid not in (0, os.getuid())), None)
    if others is None:
        pytest.skip("nobody else has a home directory here")
    shown = rootless.ok("run", "--rm", "host", "stat", "-c", "%u:%g", "/etc/passwd", str(home), str(others)).split()
    assert shown == ["0:0", "0:0", "65534:65534"]


def test_what_the_caller_may_not_read_stays_unreadable(rootless: Rootless, home: Path) -> None:
    if os.access("/etc/shadow", os.R_OK):
        pytest.skip("/etc/shadow can be read by this account")
    done = rootless("run", "--rm", "host", "cat", "/etc/shadow")
    assert done.returncode == 1
    assert b"Permission denied" in done.stderr


def test_even_a_privileged_sandbox_finds_nothing_of_the_machine_below_its_own_proc(
    rootless: Rootless, home: Path
) -> None:
    script = "umount -R /dev && umount /run && umount -R /sys && umount -R /proc && ls -A /proc /sys /dev /run"
    shown = rootless.ok("run", "--rm", "--privileged", "host", "sh", "-c", script).split()
    assert set(shown) <= {"/dev:", "/proc:", "/run:", "/sys:", "mount"}, "umount(8) itself makes /run/mount"


def test_a_shell_on_a_terminal_in_the_directory_where_one_is(rootless: Rootless, home: Path) -> None:
    argv = rootless.argv("run", "--rm", "-it", "host")
    shell = pexpect.spawn(argv[0], argv[1:], env=rootless.environment | {"PS1": "@ "}, encoding="utf-8", timeout=60)
    shell.sendline("pwd; tty; exit 7")
    shell.expect(f"{re.escape(str(home))}\r\n/dev/pts/0\r\n")
    shell.expect(pexpect.EOF)
    shell.close()
    assert shell.exitstatus == 7


def test_a_directory_that_the_container_has_for_itself_is_no_place_to_start(
    rootless: Rootless, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/proc/self")
    assert rootless.ok("run", "--rm", "host", "pwd") == "/\n"


def test_others_enter_and_sizes_can_be_limited(rootless: Rootless, home: Path) -> None:
    rootless.ok("run", "-d", "--name", "open", "--storage-opt", "size=2m", "host", "sleep", "60")
    done = rootless("exec", "open", "sh", "-c", "cat ~/mine; head -c 4m /dev/zero > ~/big")
    assert done.stdout == b"mine\n"
    assert b"No space left on device" in done.stderr
    rootless.ok("rm", "-f", "open")


def test_the_word_host_always_means_the_machine(rootless: Rootless, home: Path, busybox_tar: Path) -> None:
    """What it means must not depend on what has been pulled; an image of that name is reached with its tag."""
    rootless.ok("import", "-c", 'CMD ["/bin/sh"]', str(busybox_tar), "host:latest")
    try:
        assert rootless.ok("run", "--rm", "host", "cat", "mine") == "mine\n"
        assert rootless.ok("run", "--rm", "host:latest", "cat", "/proc/mounts").split()[0] != "cow"
    finally:
        rootless.ok("rmi", "host:latest")


def test_what_the_image_host_cannot_do_is_said(rootless: Rootless, home: Path) -> None:
    done = rootless("--storage-driver", "overlay", "run", "host", "true")
    expected = b"rootless: the image host is not supported by the storage driver overlay; take --storage-driver cow\n"
    assert (done.returncode, done.stderr) == (125, expected)
    done = rootless("run", "--storage-opt", "ownership=mapped", "host", "true")
    assert done.returncode == 125
    assert b"ownership=mapped can't be had with the image host" in done.stderr


def test_a_server_that_ends_at_once_is_told_of(rootless: Rootless) -> None:
    """Not as the mount that failed over it, by chance the first one."""
    rootless.ok("--storage-driver", "cow", "create", "--name", "unserved", IMAGE, "true")
    config = rootless.paths.names / "unserved" / "config.json"
    config.write_text(config.read_text().replace('"layers":["l/', '"layers":["l/no'))
    done = rootless("start", "unserved")
    expected = (
        "the process of the container's file system ended as soon as it had begun; rootless --debug shows what it"
    )
    assert done.returncode == 1
    assert expected in done.stderr.decode()
    assert "FileNotFoundError" in rootless("--debug", "start", "unserved").stderr.decode()
    rootless.ok("rm", "unserved")


# --- kills ----------------------------------------------------------------------------------------------------------

OUTSIDE = [("--storage-opt", "ownership=owned", IMAGE), ("host",)]
"""Containers whose server is the caller's process in the initial user namespace."""


@pytest.mark.parametrize("words", OUTSIDE, ids=["owned", "host"])
@pytest.mark.parametrize("victim", ["monitor", "server"])
def test_a_kill_leaves_nothing(rootless: Rootless, home: Path, words: tuple[str, ...], victim: str) -> None:
    rootless.ok(
        "run",
        "-d",
        "--rm",
        "--network",
        "none",
        "--name",
        "doomed",
        *words,
        "sh",
        "-c",
        "while :; do echo x >> /x; done",
    )
    state = json.loads((rootless.paths.names / "doomed" / "state.json").read_text())
    monitor = state["monitor"]
    children = Path(f"/proc/{monitor}/task/{monitor}/children").read_text().split()
    (server,) = {int(child) for child in children} - {state["pid"]}
    assert os.stat(f"/proc/{server}/ns/user").st_ino == os.stat("/proc/self/ns/user").st_ino
    os.kill(monitor if victim == "monitor" else server, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in (monitor, server, state["pid"])):
        assert time.monotonic() < deadline, "a process survived"
        time.sleep(0.02)
    assert rootless.ok("ps", "-aq") == ""


def test_a_command_that_is_killed_at_any_point_leaves_nothing_half_made(rootless: Rootless, home: Path) -> None:
    """With the server forked before the container's namespaces exist, there is a moment more that can go wrong."""
    points = random.Random(4)
    for _ in range(12):
        process = rootless.popen("run", "--rm", "host", "true", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(points.uniform(0.1, 0.6))
        process.kill()
        process.wait()
    deadline = time.monotonic() + 10
    while rootless.ok("ps", "-aq"):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_caller_is_who_the_record_says(rootless: Rootless, home: Path) -> None:
    """So that whoever later reads the upper directory knows how to."""
    rootless.ok("create", "--name", "noted", "host", "true")
    record = json.loads((rootless.paths.names / "noted" / "config.json").read_text())
    assert (record["layers"], record["owners"], record["driver"]) == (["/"], "owned", "cow")
    assert (rootless.paths.names / "noted" / "upper").stat().st_uid == pwd.getpwuid(os.getuid()).pw_uid
    rootless.ok("rm", "noted")
