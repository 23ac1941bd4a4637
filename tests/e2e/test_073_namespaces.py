"""Namespaces of the caller's and of other containers, and who the caller is inside."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rootless.container import strays
from rootless.idmap import detect
from rootless.storage.cow import Cow
from tests.conftest import Rootless

IMAGE = "busybox:latest"


@contextmanager
def running(rootless: Rootless, name: str, *options: str, script: str = "exec sleep 600") -> Iterator[str]:
    rootless.ok("run", "-d", "--name", name, *options, IMAGE, "sh", "-c", script)
    try:
        yield name
    finally:
        rootless.ok("rm", "-f", name)


def namespace(rootless: Rootless, name: str, kind: str) -> str:
    return rootless.ok("exec", name, "readlink", f"/proc/self/ns/{kind}").strip()


@pytest.mark.parametrize("kind", ["pid", "ipc", "uts", "cgroup"])
def test_the_callers_own(rootless: Rootless, kind: str) -> None:
    option = {"cgroup": "--cgroupns"}.get(kind, f"--{kind}")
    ours = os.readlink(f"/proc/self/ns/{kind}")
    assert rootless.ok("run", "--rm", IMAGE, "readlink", f"/proc/self/ns/{kind}").strip() != ours
    with running(rootless, "sharer", option, "host") as name:
        assert namespace(rootless, name, kind) == ours, "a process of exec is where the first one is"
        state = json.loads((rootless.paths.names / name / "state.json").read_text())
        assert os.readlink(f"/proc/{state['pid']}/ns/{kind}") == ours


def test_the_hosts_processes_and_name_are_seen(rootless: Rootless) -> None:
    shown = rootless.ok(
        "run", "--rm", "--pid", "host", "--uts", "host", IMAGE, "sh", "-c", f"hostname; ls /proc/{os.getpid()}"
    )
    assert shown.startswith(os.uname().nodename + "\n")
    assert "cmdline" in shown
    masked = rootless.ok(
        "run", "--rm", "--pid", "host", IMAGE, "sh", "-c", "wc -c < /proc/keys; echo x > /proc/sys/kernel/panic; :"
    )
    assert masked == "0\n", "what is masked is masked there, too"


def test_shared_memory_of_the_host(rootless: Rootless) -> None:
    path = Path(f"/dev/shm/rootless-test-{os.getpid()}")
    path.write_text("from outside")
    try:
        assert rootless.ok("run", "--rm", "--ipc", "host", IMAGE, "cat", str(path)) == "from outside"
    finally:
        path.unlink()


def test_the_end_of_the_first_process_is_the_end_of_all(rootless: Rootless) -> None:
    """In the host's pid namespace the kernel would leave the others running."""
    script = "(sleep 601 & sleep 602 &) ; exec sleep 603"
    with running(rootless, "many", "--pid", "host", script=script) as name:
        rootless.ok("exec", "-d", name, "sleep", "604")
        container_id = rootless.ok("inspect", "-f", "{{.Id}}", name).strip()
        deadline = time.monotonic() + 10
        while len(strays.find(container_id)) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(strays.find(container_id)) == 4
        assert rootless.ok("top", name, "-o", "pid").count("\n") == 5
        rootless.ok("stop", "-t", "5", name)
        assert strays.find(container_id) == set()
        # The same after the monitor was killed: PID 1 dies with it, and the next command ends the rest.
        rootless.ok("start", name)
        os.kill(json.loads((rootless.paths.names / name / "state.json").read_text())["monitor"], signal.SIGKILL)
        assert "Exited (137)" in rootless.ok("ps", "-a", "--format", "{{.Status}}")
        assert strays.find(container_id) == set()


def test_a_whole_paused_container_in_the_hosts_pid_namespace(rootless: Rootless) -> None:
    with running(rootless, "still", "--pid", "host", script="sleep 600 & exec sleep 600") as name:
        rootless.ok("pause", name)
        assert {line[0] for line in rootless.ok("top", name, "-o", "stat,pid").splitlines()[1:]} <= {"T", "D"}
        rootless.ok("unpause", name)


def test_another_containers_processes(rootless: Rootless) -> None:
    """As if it were there itself: it sees, signals and looks into them."""
    with running(rootless, "donor", script="sleep 600 & exec sleep 599") as name:
        see = ("run", "--rm", "--pid", f"container:{name}", IMAGE, "sh", "-c")
        assert "sleep 599" in rootless.ok(*see, "ps -o args")
        assert rootless.ok(*see, "ls /proc/1/root/bin/busybox; readlink /proc/1/ns/user").startswith("/proc/1/root/bin")
        assert rootless.ok(*see, "readlink /proc/self/ns/user") == rootless.ok(*see, "readlink /proc/1/ns/user")
        rootless.ok(
            "run",
            "-d",
            "--name",
            "guest",
            "--pid",
            f"container:{name}",
            IMAGE,
            "sh",
            "-c",
            "sleep 601 & exec sleep 602",
        )
        rootless.ok("rename", name, "renamed")
        shown = rootless.ok("inspect", "-f", "{{.HostConfig.PidMode}}", "guest").strip()
        assert shown == "container:" + rootless.ok("inspect", "-f", "{{.Id}}", "renamed").strip()
        rootless.ok("stop", "-t", "0", "guest")
        assert "sleep 60" not in rootless.ok("exec", "renamed", "ps", "-o", "args").replace("sleep 600", "")
        rootless.ok("start", "guest")
        rootless.ok("rename", "renamed", name)
        rootless.ok("kill", name)
        rootless.ok("wait", "guest")  # the end of a pid namespace's init is the end of all in it
        assert rootless.ok("inspect", "-f", "{{.State.ExitCode}}", "guest") == "137\n"
        done = rootless("start", "guest")
        assert (done.returncode, b"cannot join PID namespace of a non running container: donor" in done.stderr) == (
            1,
            True,
        )
        rootless.ok("rm", "guest")


def test_another_containers_shared_memory(rootless: Rootless) -> None:
    with running(rootless, "owner", "--ipc", "shareable", script="echo word > /dev/shm/f; exec sleep 600") as name:
        guest = ("run", "--rm", "--ipc", f"container:{name}", IMAGE, "sh", "-c")
        shown = rootless.ok(*guest, "cat /dev/shm/f; echo more > /dev/shm/g; readlink /proc/self/ns/ipc").split()
        assert shown == ["word", namespace(rootless, name, "ipc")]
        assert rootless.ok("exec", name, "cat", "/dev/shm/g") == "more\n"
        with running(rootless, "second") as second:
            # Of two containers at once: the one's user namespace, the other's mounts.
            both = rootless.ok("run", "--rm", "--ipc", f"container:{name}", "--pid", f"container:{second}", IMAGE,
                               "sh", "-c", "cat /dev/shm/f; ps -o args; grep mqueue /proc/mounts")  # fmt: skip
            assert both.startswith("word\n") and "sleep 600" in both and "/dev/mqueue mqueue" in both
            done = rootless("run", "--rm", "--ipc", f"container:{second}", IMAGE, "true")
            assert (done.returncode, b"non-shareable IPC" in done.stderr) == (125, True)


def test_no_shared_memory(rootless: Rootless) -> None:
    assert rootless("run", "--rm", "--ipc", "none", IMAGE, "ls", "/dev/shm").returncode == 1
    assert (
        rootless.ok("run", "--rm", "--shm-size", "1m", IMAGE, "sh", "-c", "df /dev/shm | tail -n 1").split()[1]
        == "1024"
    )


def test_kernel_parameters(rootless: Rootless) -> None:
    options = ("--sysctl", "net.ipv4.ip_default_ttl=77", "--sysctl", "kernel.shmmax=4321")
    script = "cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/shmmax"
    shown = rootless.ok("run", "--rm", *options, IMAGE, "sh", "-c", script)
    assert shown == "77\n4321\n"


def test_a_device(rootless: Rootless) -> None:
    words = ("run", "--rm", "--device", "/dev/zero:/dev/nothing", IMAGE, "head", "-c", "3", "/dev/nothing")
    assert rootless.ok(*words) == "\0\0\0"


def test_unmasked_paths(rootless: Rootless) -> None:
    words = (
        "run",
        "--rm",
        "--security-opt",
        "systempaths=unconfined",
        IMAGE,
        "grep",
        "-c",
        " /proc/keys ",
        "/proc/mounts",
    )
    assert rootless(*words).stdout == b"0\n"


# --- who the caller is -----------------------------------------------------------------------------------------------


@pytest.fixture
def _keeps_ids() -> None:
    if lacking := Cow().unavailable():
        pytest.skip(lacking)
    if detect().single:
        pytest.skip("no subordinate ids")
    if os.geteuid() == 0:
        pytest.skip("root's containers have none of its ids")


@pytest.mark.usefixtures("_keeps_ids")
def test_keep_id(rootless: Rootless) -> None:
    uid, gid = os.geteuid(), os.getegid()
    script = "id -u; id -g; stat -c %u:%g /bin/busybox /etc; touch /tmp/f; stat -c %u:%g /tmp/f; id -un"
    shown = rootless.ok(
        "run", "--rm", "--userns", "keep-id", IMAGE, "sh", "-c", f"chmod 1777 /tmp 2>/dev/null; {script}"
    )
    name = detect_name()
    assert shown.split() == [str(uid), str(gid), "0:0", "0:0", f"{uid}:{gid}", name]
    with running(rootless, "mine", "--userns", "keep-id") as container:
        state = json.loads((rootless.paths.names / container / "state.json").read_text())
        assert os.stat(f"/proc/{state['pid']}").st_uid == uid, "outside it is the caller's process"
        assert rootless.ok("exec", container, "id", "-u").strip() == str(uid)
        assert rootless.ok("exec", "-u", "0", container, "id", "-u").strip() == "0"
        rootless.ok("exec", "-u", "0", container, "sh", "-c", "echo kept > /root/f; chown 12:34 /root/f")
        rootless.ok("restart", "-t", "0", container)
        assert rootless.ok("exec", "-u", "0", container, "stat", "-c", "%u:%g", "/root/f").strip() == "12:34"
        done = rootless("run", "--rm", "--pid", f"container:{container}", IMAGE, "true")
        assert (done.returncode, b"start both with the same --userns" in done.stderr) == (125, True)
        together = ("run", "--rm", "--userns", "keep-id", "--pid", f"container:{container}", IMAGE, "ps", "-o", "args")
        assert "sleep 600" in rootless.ok(*together)


@pytest.mark.usefixtures("_keeps_ids")
def test_keep_id_under_another_number(rootless: Rootless) -> None:
    words = ("run", "--rm", "--userns", "keep-id:uid=5,gid=7", IMAGE, "sh", "-c", "id -u; id -g")
    assert rootless.ok(*words).split() == ["5", "7"]


def detect_name() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name
