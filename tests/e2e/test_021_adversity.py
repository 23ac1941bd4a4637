"""What goes wrong around a container: closed streams, slow readers, full disks, a foreign run directory."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rootless.container.store import Containers
from rootless.errors import UnavailableError
from rootless.paths import private_directory
from tests.conftest import Rootless
from tests.waiting import wait_for

IMAGE = "busybox:latest"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_streams_that_the_caller_closed(rootless: Rootless, closed: str) -> None:
    """A socket of the engine's that got the number of one of them would be overwritten, or written into."""
    command = rootless.argv("run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 3")
    done = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *command], env=rootless.environment, capture_output=True)
    assert done.returncode == 3
    assert done.stdout == (b"" if ">&-" in closed.replace("2>&-", "") else b"out\n")
    assert done.stderr == (b"" if "2>&-" in closed else b"err\n")


def test_a_reader_that_starts_late_gets_everything(rootless: Rootless) -> None:
    """PID 1 has long ended when the first byte is read."""
    process = rootless.popen(
        *("run", "--rm", IMAGE, "sh", "-c", "seq 1 100000; sleep 0.2"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    time.sleep(4)
    out, errors = process.communicate(timeout=60)
    assert (out, errors) == (b"".join(b"%d\n" % n for n in range(1, 100001)), b"")
    assert process.returncode == 0


def test_a_reader_that_never_reads_does_not_keep_a_container(rootless: Rootless) -> None:
    process = rootless.popen("run", "--name", "stuck", IMAGE, "yes", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    wait_for(lambda: rootless.ok("ps", "-q", "--filter", "name=stuck"))
    time.sleep(0.5)  # by now it has filled what lies between
    assert rootless.ok("rm", "-f", "stuck") == "stuck\n"
    process.kill()
    process.communicate()


def test_rm_force_takes_a_container_that_is_only_being_started(rootless: Rootless) -> None:
    """It does not run yet when `rm` looks at it, and its monitor has its lock: here one stopped in a start."""
    running = rootless.popen("run", "--name", "early", IMAGE, "sleep", "60", stderr=subprocess.DEVNULL)
    wait_for(rootless.containers)
    monitor = Containers(rootless.paths).resolve("early").stored_state().monitor
    os.kill(monitor, signal.SIGSTOP)
    removal = rootless.popen("rm", "-f", "early", stdout=subprocess.PIPE)
    time.sleep(1)  # whatever it does first, it does to a container that is not running
    os.kill(monitor, signal.SIGCONT)
    assert removal.communicate() == (b"early\n", None)
    assert (removal.returncode, running.wait()) == (0, 137)


@pytest.mark.parametrize(
    ("words", "code"), [(("ps",), 1), (("images",), 1), (("run", "--rm", IMAGE, "seq", "1", "100000"), 125)]
)
def test_a_full_disk_behind_standard_output(rootless: Rootless, words: tuple[str, ...], code: int) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            rootless.argv(*words), env=rootless.environment, stdout=full, stderr=subprocess.PIPE, timeout=60
        )
    assert done.returncode == code
    assert b"No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr
    time.sleep(0.2)


def test_a_full_store_can_be_emptied(busybox_tar: Path, tmp_path: Path) -> None:
    """A container fills the file system its store is on; its end is told all the same, and `rm` makes room.

    The small file system is a tmpfs in a user namespace; that one has no subordinate ids, so newuidmap is kept away.
    """
    if os.getuid() == 0:
        pytest.skip("in a user namespace of root's own, root is not an unprivileged caller any more")
    store, programs = tmp_path / "small", tmp_path / "bin"
    store.mkdir()
    programs.mkdir()
    for name in "sh", "mount":
        (programs / name).symlink_to(str(shutil.which(name)))
    script = f"""
mount -t tmpfs -o size=24m,mode=700 none {store} || exit 40
rl() {{ {sys.executable} -m rootless "$@"; }}
rl import {busybox_tar} {IMAGE} >/dev/null || exit 41
rl run --name fill {IMAGE} sh -c 'head -c 60m /dev/zero > /big 2>/dev/null; exit 7'
test $? = 7 || exit 42
rl ps -a > /dev/null || exit 43
rl rm -f fill || exit 44
rl run --rm {IMAGE} true || exit 45
"""
    done = subprocess.run(
        ["unshare", "--user", "--mount", "--map-current-user", "--keep-caps", "sh", "-c", script],
        env=Rootless(store).environment | {"PATH": f"{programs}"} | {"XDG_RUNTIME_DIR": str(tmp_path)},
        executable=shutil.which("unshare"),
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_a_run_directory_that_somebody_else_prepared_is_refused(tmp_path: Path) -> None:
    """/tmp/rootless-UID-BOOT has a name that anybody can guess: every directory from there down must be ours alone."""
    open_to_all = tmp_path / "rootless"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    with pytest.raises(UnavailableError, match="not a private directory"):
        private_directory(open_to_all / "tag" / "rooms")
    open_to_all.chmod(0o700)
    (open_to_all / "tag").symlink_to("/tmp")
    with pytest.raises(UnavailableError, match="not a private directory"):
        private_directory(open_to_all / "tag" / "rooms")


def test_the_next_command_clears_away_what_a_killed_monitor_left(rootless: Rootless) -> None:
    """Whichever command it is."""
    rootless.ok("run", "-d", "--rm", "--name", "lost", IMAGE, "sleep", "60")
    state = json.loads((rootless.paths.names / "lost" / "state.json").read_text())
    os.kill(state["monitor"], signal.SIGKILL)
    while Path(f"/proc/{state['monitor']}").exists():
        time.sleep(0.01)
    rootless.ok("images")
    assert rootless.containers() == []


@pytest.mark.parametrize("how", ["run", "logs", "export"])
def test_a_standard_output_that_does_not_block(rootless: Rootless, how: str) -> None:
    """O_NONBLOCK is the open file's: any program that shares a terminal or a pipe with the command may have set it."""
    size = 300_000
    made = ("run", "--name", "much", IMAGE, "sh", "-c", f"head -c {size} /dev/zero | tr '\\0' x | tee /much")
    if how != "run":
        rootless.ok(*made)
    read, write = os.pipe()
    os.set_blocking(write, False)
    with open(read, "rb") as stream:
        command = rootless.popen(*{"run": made}.get(how, (how, "much")), stdout=write, stderr=subprocess.PIPE)
        wait_for(lambda: not select.select([], [write], [], 0)[1], "a full pipe")
        os.close(write)
        got = stream.read()
        assert (command.communicate(timeout=60)[1], command.returncode) == (b"", 0)
    assert (got.count(b"x" * size) == 1) if how == "export" else got == b"x" * size
    rootless.ok("rm", "much")
