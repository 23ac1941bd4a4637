"""`diff` and `commit`: what a container changed, told and kept, the same on every storage driver."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.conftest import Rootless

IMAGE = "busybox:latest"
DRIVERS = ["overlay", "cow", "fuse-overlayfs", "owned"]

SCRIPT = """
echo x > /new; ln /new /other; ln -s ../etc /link; mkfifo /tmp/fifo; chown 5:6 /new; chmod 4711 /new
mkdir -p /d/e/f; touch /d/e/f/g; mv /d/e /d/h
rm /etc/group; rm -r /home; mkdir /home; touch /home/fresh
echo x >> /etc/passwd; chmod 700 /tmp
truncate -s 50M /big; echo end >> /big
true 2>/dev/null > "/.wh.etc"; mkdir /a; touch "/a/$(printf 'n%.0s' $(seq 200))"
nc -l -U /sock & sleep 0.2; kill $!
touch -h -d @1000000000 /new /link /tmp/fifo /d/h/f/g /home/fresh /big /etc/passwd /a/*
for d in / /tmp /d /d/h /d/h/f /home /a /etc /root; do touch -d @1000000000 $d; done
"""
"""Every kind of change; the times are set, so that equal changes make equal layers."""

CHANGES = [
    *("A /a", f"A /a/{'n' * 200}", "A /big", "A /d", "A /d/h", "A /d/h/f", "A /d/h/f/g", "C /etc", "D /etc/group"),
    *("C /etc/passwd", "C /home", "A /home/fresh", "D /home/old", "A /link", "A /new", "A /other", "C /tmp"),
    "A /tmp/fifo",
]


def chosen(driver: str) -> list[str]:
    """The words before `run` and after it."""
    return ["--storage-driver", "cow" if driver == "owned" else driver]


def options(driver: str) -> list[str]:
    return ["--storage-opt", "ownership=owned"] if driver == "owned" else []


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name != "overlay" and not os.access("/dev/fuse", os.W_OK):
        pytest.skip("/dev/fuse may not be opened")
    if name in ("cow", "owned") and find_spec("pyfuse3") is None:
        pytest.skip("pyfuse3 is not installed")
    if name == "fuse-overlayfs" and shutil.which(name) is None:
        pytest.skip("fuse-overlayfs is not installed")
    return name


@pytest.fixture(scope="module")
def base(_store_with_image: Rootless) -> Iterator[str]:
    """An image with something to hide: made by a commit, too."""
    engine = _store_with_image
    engine.ok("run", "--name", "base", IMAGE, "sh", "-c", "mkdir -p /home/old/deep; touch -d @1000000000 /home /root")
    engine.ok("commit", "base", "base")
    engine.ok("rm", "base")
    yield "base"
    engine.ok("rmi", "-f", "base")


def layers(rootless: Rootless, image: str) -> list[str]:
    found: list[str] = json.loads(rootless.ok("inspect", "--format", "{{json .RootFS.Layers}}", image))
    return found


def listing(rootless: Rootless, image: str) -> str:
    """Every file of an image as a container sees it."""
    script = (
        "find / -xdev ! -path '/proc*' ! -path '/dev*' ! -path '/sys*' ! -path '/etc/h*' ! -path '/etc/resolv.conf'"
        " -exec stat -c '%n %F %a %u:%g %h %s %Y' {} + | grep -v ' directory ' | sort"
        "; cat /new /etc/passwd /big | md5sum"
        "; find / -xdev -type d ! -path / -exec stat -c '%n %a %u:%g' {} + | sort; du -k /big"
    )
    return rootless.ok("run", "--rm", image, "sh", "-c", script)


def test_every_kind_of_change_is_told_and_kept(rootless: Rootless, driver: str, base: str) -> None:
    rootless.ok(*chosen(driver), "run", "--name", "cc", *options(driver), base, "sh", "-c", SCRIPT)
    assert rootless.ok("diff", "cc").splitlines() == CHANGES
    rootless.ok("commit", "cc", "kept")
    (layer,) = layers(rootless, "kept")[2:]
    rootless.ok("rm", "cc")
    shown = listing(rootless, "kept")
    assert "/new regular file 4711 5:6 2 2 1000000000" in shown
    assert "/other regular file 4711 5:6 2 2 1000000000" in shown
    assert "/tmp/fifo fifo" in shown
    assert "/home/old" not in shown and "/etc/group" not in shown and ".wh." not in shown and "/sock" not in shown
    assert int(shown.split()[-2]) < 1000, "the hole of /big was filled"
    rootless.ok("rmi", "kept")
    if driver != "fuse-overlayfs":  # which gives directories that it copies up other times
        assert known.setdefault("layer", layer) == layer, "the same changes make the same layer, whatever the driver"
    assert known.setdefault("listing", shown) == shown


known: dict[str, str] = {}


def test_nothing_is_a_change_but_what_the_container_did(rootless: Rootless, driver: str) -> None:
    """Neither the mount points that the engine made, nor a directory copied up for what came to nothing."""
    script = "chmod 644 /etc/passwd 2>/dev/null; ls -lR / >/dev/null 2>&1; cat /etc/passwd >/dev/null"
    rootless.ok(*chosen(driver), "run", "--name", "cc", *options(driver), IMAGE, "sh", "-c", script)
    assert rootless.ok("diff", "cc").splitlines() in (["C /etc", "C /etc/passwd"], [])
    rootless.ok("rm", "cc")


def test_a_commit_without_changes_adds_no_layer(rootless: Rootless) -> None:
    rootless.ok("create", "--name", "cc", IMAGE)
    image = rootless.ok("commit", "cc").strip()
    assert layers(rootless, image) == layers(rootless, IMAGE)
    assert json.loads(rootless.ok("history", "--format", "json", image).splitlines()[0])["Size"] == "0B"
    rootless.ok("rm", "cc")
    rootless.ok("rmi", image)


def test_configuration_author_message_and_changes(rootless: Rootless) -> None:
    words = [
        "-e",
        "A=1",
        "-w",
        "/work",
        "-u",
        "5",
        "-l",
        "k=v",
        "-t",
        "--stop-signal",
        "SIGINT",
        "--entrypoint",
        "echo",
    ]
    rootless.ok("create", "--name", "cc", *words, IMAGE, "hello")
    changes = ["-c", "ENV B=$A", "-c", 'CMD ["bye"]']
    image = rootless.ok("commit", "-a", "Jane <j@example.org>", "-m", "a message", *changes, "cc", "made:1").strip()
    (found,) = json.loads(rootless.ok("inspect", "made:1"))
    assert (found["Id"], found["Author"], found["Comment"]) == (image, "Jane <j@example.org>", "a message")
    config = found["Config"]
    assert config["Env"] == ["A=1", "B=1"], "neither HOSTNAME nor TERM nor PATH, which every container gets"
    assert (config["Cmd"], config["Entrypoint"], config["WorkingDir"]) == (["bye"], ["echo"], "/work")
    assert (config["User"], config["Labels"], config["StopSignal"]) == ("5", {"k": "v"}, "SIGINT")
    assert rootless.ok("run", "--rm", "made:1") == "bye\n"
    assert json.loads(rootless.ok("history", "--format", "json", "made:1").splitlines()[0])["CreatedBy"] == "hello"
    rootless.ok("rm", "cc")
    rootless.ok("rmi", "made:1")


def test_a_running_container_is_paused_meanwhile(rootless: Rootless, driver: str) -> None:
    """It writes two files in turn: a moment's picture never has the second one further than the first."""
    write = "echo $i > /a.n; mv /a.n /a; echo $i > /b.n; mv /b.n /b"
    script = f"echo 0 > /a; echo 0 > /b; i=0; while :; do i=$((i+1)); {write}; done"
    rootless.ok(*chosen(driver), "run", "-d", "--name", "cc", *options(driver), IMAGE, "sh", "-c", script)
    time.sleep(0.5)
    for _ in range(3):
        image = rootless.ok("commit", "cc").strip()
        a, b = rootless.ok("run", "--rm", image, "cat", "/a", "/b").split()
        assert int(a) - int(b) in (0, 1) and int(a) > 0
        assert rootless.ok("inspect", "-f", "{{.State.Status}}", "cc").strip() == "running"
        rootless.ok("rmi", image)
    rootless.ok("rm", "-f", "cc")


def test_names_that_mislead(rootless: Rootless) -> None:
    """An archive that begins with the name of a compression's magic number, line feeds, bytes that are no UTF-8."""
    names = r"""set -- "$(printf '/\037\213\010')" "$(printf '/a\nb')" "$(printf '/\377')" "$(printf '/\033[31m')"; """
    rootless.ok("run", "--name", "cc", IMAGE, "sh", "-c", names + 'touch "$@"')
    shown = rootless("diff", "cc").stdout
    assert shown.splitlines() == [rb"A /\x1b[31m", b"A /\\x1f\x8b\\x08", rb"A /a\nb", b"A /\xff"]
    image = rootless.ok("commit", "cc").strip()
    assert rootless.ok("run", "--rm", image, "sh", "-c", names + 'for f; do [ -f "$f" ] || echo "$f"; done') == ""
    rootless.ok("rm", "cc")
    rootless.ok("rmi", image)


def test_an_export_is_the_whole_root(rootless: Rootless, driver: str, base: str) -> None:
    """Imported again it has the same files as the committed image; running or stopped makes no difference."""
    rootless.ok(*chosen(driver), "run", "-d", "--name", "cc", *options(driver), base, "sh", "-c", SCRIPT + "\nsleep 60")
    deadline = time.monotonic() + 20
    while rootless("exec", "cc", "stat", "/sys/../etc/group").returncode == 0 and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    running = rootless("export", "cc").stdout
    rootless.ok("kill", "cc")
    rootless.ok("commit", "cc", "kept")
    exported = rootless("export", "cc").stdout
    assert exported == running
    rootless.ok("import", "-", "again", stdin=exported)
    assert listing(rootless, "again") == listing(rootless, "kept")
    rootless.ok("rm", "-f", "cc")
    rootless.ok("rmi", "kept", "again")


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["diff"], 1, "'rootless diff' requires 1 argument; see 'rootless diff --help'"),
        (["diff", "nothing"], 1, "No such container: nothing"),
        (["export", "nothing"], 1, "No such container: nothing"),
        (["export", "-o", "/nope/x", "cc"], 1, "/nope/x can't be written: No such file or directory"),
        (["commit", "nothing"], 1, "No such container: nothing"),
        (["commit", "cc", "Upper:x"], 1, "must be lowercase"),
        (["commit", "-c", "RUN x", "cc"], 1, "RUN is not a valid change command"),
        (["commit", "--chagne", "cc"], 125, "unknown flag: --chagne; see 'rootless commit --help'"),
    ],
)
def test_mistakes(rootless: Rootless, words: list[str], code: int, text: str) -> None:
    rootless.ok("create", "--name", "cc", IMAGE)
    done = rootless(*words)
    rootless.ok("rm", "cc")
    assert (done.returncode, done.stdout) == (code, b"")
    assert text in done.stderr.decode()
