"""What a container sees of the host, and what it may do: nothing and little."""

from __future__ import annotations

import fcntl
import os
import subprocess

import pytest

from tests.conftest import Rootless

IMAGE = "busybox:latest"

DOCKERS_DEFAULT = "00000000a80425fb"
"""CapEff of a process in a Docker container: the 14 capabilities of its default set."""


def inside(rootless: Rootless, *words: str) -> str:
    *options, script = words
    return rootless.ok("run", "--rm", *options, IMAGE, "sh", "-c", script).strip()


def test_only_its_own_processes(rootless: Rootless) -> None:
    assert inside(rootless, "ps -o pid,comm").split() == ["PID", "COMMAND", "1", "ps"]


def test_the_host_sees_the_containers_processes(rootless: Rootless) -> None:
    rootless.ok("run", "-d", "--rm", "--name", "seen", IMAGE, "sleep", "4217")
    assert "sleep 4217" in subprocess.run(["ps", "-ef"], capture_output=True, text=True, check=True).stdout
    rootless.ok("rm", "-f", "seen")


def test_no_descriptor_of_the_caller_leaks(rootless: Rootless) -> None:
    """Also one that the caller left inheritable, as shells do."""
    secret = os.open("/etc/hostname", os.O_RDONLY)
    fcntl.fcntl(secret, fcntl.F_SETFD, 0)
    try:
        process = rootless.popen(
            *("run", "--rm", IMAGE, "sh", "-c", "ls -l /proc/1/fd"), stdout=subprocess.PIPE, pass_fds=[secret]
        )
        listing = process.communicate(timeout=20)[0].decode()
    finally:
        os.close(secret)
    numbers = [line.split()[-3] for line in listing.splitlines() if "->" in line]
    assert numbers == ["0", "1", "2"]


def test_umask_is_the_usual_one(rootless: Rootless) -> None:
    done = subprocess.run(
        [
            "sh",
            "-c",
            'umask 077; "$@"',
            "sh",
            *rootless.argv("run", "--rm", IMAGE, "sh", "-c", "umask; touch /f; stat -c %a /f"),
        ],
        env=rootless.environment,
        capture_output=True,
        check=True,
    )
    assert done.stdout.split() == [b"0022", b"644"]


def test_signals_that_the_caller_ignores_work_inside(rootless: Rootless) -> None:
    """nohup ignores SIGHUP, and Python SIGPIPE: an ignored signal would stay ignored over execve(2)."""
    argv = rootless.argv("run", "--rm", IMAGE, "grep", "SigIgn", "/proc/self/status")
    done = subprocess.run(
        ["sh", "-c", 'trap "" HUP; "$@"', "sh", *argv], env=rootless.environment, capture_output=True, check=True
    )
    assert done.stdout.split()[1] == b"0000000000000000"


def test_capabilities(rootless: Rootless) -> None:
    shown = "grep CapEff /proc/self/status | cut -f 2"
    assert inside(rootless, shown) == DOCKERS_DEFAULT
    assert inside(rootless, "--cap-drop", "ALL", shown) == "0" * 16
    assert inside(rootless, "--cap-drop", "all", "--cap-add", "chown", shown) == "0" * 15 + "1"
    assert inside(rootless, "--cap-add", "SYS_ADMIN", shown) == "00000000a82425fb"
    assert inside(rootless, "-u", "1000", shown) == "0" * 16


def test_seccomp_and_capabilities_stop_a_mount(rootless: Rootless) -> None:
    mount = "mount -t tmpfs none /mnt 2>/dev/null && echo mounted || echo refused"
    prepare = "mkdir -p /mnt; "
    assert inside(rootless, prepare + mount) == "refused"
    assert inside(rootless, "--cap-add", "SYS_ADMIN", prepare + mount) == "mounted"
    assert inside(rootless, "--privileged", prepare + mount) == "mounted"


def test_seccomp_filter_can_be_left_out(rootless: Rootless) -> None:
    mode = "grep -w Seccomp: /proc/self/status | cut -f 2"
    assert inside(rootless, mode) == "2"
    assert inside(rootless, "--security-opt", "seccomp=unconfined", mode) == "0"


def test_no_new_privileges(rootless: Rootless) -> None:
    shown = "grep NoNewPrivs /proc/self/status | cut -f 2"
    assert inside(rootless, shown) == "0"
    assert inside(rootless, "--security-opt", "no-new-privileges", shown) == "1"


def test_a_profile_of_ones_own(rootless: Rootless, tmp_path) -> None:
    (tmp_path / "profile.json").write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}'
    )
    option = f"seccomp={tmp_path}/profile.json"
    assert inside(rootless, "--security-opt", option, "mkdir /x 2>&1; touch /y && echo made").splitlines() == [
        "mkdir: can't create directory '/x': Operation not permitted",
        "made",
    ]


@pytest.mark.parametrize("path", ["/proc/kcore", "/proc/keys", "/proc/timer_list"])
def test_masked_files_are_empty(rootless: Rootless, path: str) -> None:
    assert inside(rootless, f"cat {path} 2>/dev/null | wc -c") == "0"


def test_masked_directories_are_empty(rootless: Rootless) -> None:
    assert inside(rootless, "ls /sys/firmware; ls /proc/scsi 2>/dev/null; ls /proc/acpi 2>/dev/null; true") == ""


@pytest.mark.parametrize("path", ["/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/sys/power/state"])
def test_the_kernels_knobs_are_read_only(rootless: Rootless, path: str) -> None:
    assert inside(rootless, f"test -e {path} || echo read-only; echo x 2>/dev/null > {path} || echo refused").endswith(
        "refused"
    )


def test_devices(rootless: Rootless) -> None:
    script = (
        "cd /dev; ls; echo x > null; head -c 3 zero | wc -c; stat -c %F full random urandom tty ptmx pts shm mqueue"
    )
    listing = inside(rootless, script).splitlines()
    names = "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero".split()
    assert listing[: len(names)] == names
    assert "3" in listing


def test_the_hosts_files_are_not_there(rootless: Rootless) -> None:
    """After pivot_root(2) nothing of the old root is reachable, not even through the mount table."""
    assert inside(rootless, "cut -d' ' -f5 /proc/self/mountinfo | sort | head -3").splitlines()[0] == "/"
    assert inside(rootless, "cat /proc/1/mountinfo | grep -c ' / / ' || true") == inside(rootless, "echo 1")


def test_keyring_is_the_containers_own(rootless: Rootless) -> None:
    """The filter forbids keyctl; without it a key of the caller's session must not be found."""
    script = "grep -c . /proc/keys || true"
    assert inside(rootless, "--security-opt", "seccomp=unconfined", script) == "0"


def test_processes_of_the_engine_cannot_be_looked_into(rootless: Rootless) -> None:
    """The init of --init is a program of the host's: neither its file nor its memory may be opened from inside."""
    script = "readlink /proc/1/exe || echo hidden; cat /proc/1/environ 2>/dev/null || echo hidden"
    assert inside(rootless, "--init", script).splitlines()[:2] == ["hidden", "hidden"]
