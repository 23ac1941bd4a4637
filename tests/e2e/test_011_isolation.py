"""What a container sees of the host, and what it may do: nothing and little."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

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
        listing = process.communicate(timeout=60)[0].decode()
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


@pytest.mark.parametrize("path", ["/proc/keys", "/proc/timer_list", "/proc/interrupts"])
def test_masked_files_are_the_null_device(rootless: Rootless, path: str) -> None:
    if not Path(path).exists():
        pytest.skip(f"this kernel has no {path}")
    assert inside(rootless, f"stat -c %t:%T {path}; cat {path} | wc -c") == "1:3\n0"
    assert inside(rootless, "--privileged", f"stat -c %F {path}") == "regular empty file", "nothing is masked then"


def test_masked_directories_are_empty(rootless: Rootless) -> None:
    assert inside(rootless, "ls /sys/firmware; ls /proc/scsi 2>/dev/null; ls /proc/acpi 2>/dev/null; true") == ""


@pytest.mark.parametrize("path", ["/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/sys/power/state"])
def test_the_kernels_knobs_are_read_only(rootless: Rootless, path: str) -> None:
    assert inside(rootless, f"test -e {path} || echo read-only; echo x 2>/dev/null > {path} || echo refused").endswith(
        "refused"
    )


def test_devices(rootless: Rootless) -> None:
    script = "cd /dev; ls; echo x > null; head -c 3 zero | wc -c; stat -c %t:%T full random urandom tty null zero"
    listing = inside(rootless, script).splitlines()
    names = "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero".split()
    assert listing == [*names, "3", "1:7", "1:8", "1:9", "5:0", "1:3", "1:5"]


def test_the_hosts_files_are_not_there(rootless: Rootless) -> None:
    """After pivot_root(2) nothing of the old root is reachable: every mount that is left is the container's own."""
    mounts = [line.split() for line in inside(rootless, "cut -d' ' -f1,2,3 /proc/mounts").splitlines()]
    own = {"overlay", "proc", "tmpfs", "devpts", "mqueue", "sysfs", "cgroup2"}
    files = {"/etc/resolv.conf", "/etc/hostname", "/etc/hosts"}
    nodes = {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")}
    assert [m for m in mounts if m[2] not in own and m[1] not in files | nodes and not m[1].startswith("/proc/")] == []


@pytest.mark.parametrize("link", ["../run/resolve/resolv.conf", "/run/resolve/resolv.conf", "../../../run/resolve/x"])
def test_a_link_to_nowhere_is_followed_within_the_container(
    rootless: Rootless, tmp_path: Path, busybox_tar: Path, link: str
) -> None:
    """As /etc/resolv.conf leads into /run on many machines, and in images made of them."""
    image = tmp_path / "image.tar"
    shutil.copy(busybox_tar, image)
    with tarfile.open(image, "a") as archive:
        entry = tarfile.TarInfo("etc/resolv.conf")
        entry.type, entry.linkname = tarfile.SYMTYPE, link
        archive.addfile(entry)
    rootless.ok("import", str(image), "linked:latest")
    try:
        script = "readlink /etc/resolv.conf; cat /etc/resolv.conf; ls /run/resolve"
        shown = rootless.ok("run", "--rm", "linked:latest", "sh", "-c", script)
        assert shown == f"{link}\n{Path('/etc/resolv.conf').read_text()}{Path(link).name}\n"
        assert not Path("/run/resolve").exists()
    finally:
        rootless.ok("rmi", "linked:latest")


def test_keyring_is_the_containers_own(rootless: Rootless) -> None:
    """What is in the caller's session keyring is not in the container's, even where nothing is masked or forbidden."""
    keyctl, add_key = {"x86_64": (250, 248), "aarch64": (219, 217)}[os.uname().machine]
    plant = (
        "import ctypes, os, sys; call = ctypes.CDLL(None).syscall\n"
        f"call({keyctl}, 1, None)  # KEYCTL_JOIN_SESSION_KEYRING\n"
        f"call({add_key}, b'user', b'planted', b'x', 1, -3)  # into KEY_SPEC_SESSION_KEYRING\n"
        "os.execvp(sys.argv[1], sys.argv[1:])\n"
    )

    def keys(*command: str) -> str:
        argv = [sys.executable, "-c", plant, *command]
        done = subprocess.run(argv, env=rootless.environment, capture_output=True, text=True, check=True)
        return done.stdout

    assert "planted" in keys("cat", "/proc/keys"), "the key was not planted: the test would prove nothing"
    seen = keys(*rootless.argv("run", "--rm", "--privileged", IMAGE, "cat", "/proc/keys"))
    # The key itself may be seen, not read: it belongs to the same user. In the session's own keyring there is nothing.
    assert "_ses: empty" in seen


def test_processes_of_the_engine_cannot_be_looked_into(rootless: Rootless) -> None:
    """The init of --init is a program of the host's: neither its file nor its memory may be opened from inside."""
    script = "readlink /proc/1/exe || echo hidden; cat /proc/1/environ 2>/dev/null || echo hidden"
    assert inside(rootless, "--init", script).splitlines()[:2] == ["hidden", "hidden"]


LINKER = """
static long call(long n, long a, long b, long c) {
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return r;
}
void _start(void) {
    char path[256];
    long size = call(89, (long)"/proc/self/exe", (long)path, sizeof path); /* readlink */
    call(1, 1, (long)"LOADED ", 7);
    call(1, 1, (long)path, size);
    call(60, 0, 0, 0);
}
"""


@pytest.mark.parametrize("command", ["/proc/self/exe", "/exe", "/script"])
def test_the_hosts_python_is_never_executed_inside(rootless: Rootless, command: str, tmp_path: Path) -> None:
    """CVE-2019-5736: as a command, a link or a script's interpreter, /proc/self/exe must not be a file of the host's.

    The image brings the dynamic linker that the host's Python would be started with; it tells what it was started for.
    """
    source, linker, tree = tmp_path / "ld.c", tmp_path / "ld.so", tmp_path / "tree"
    source.write_text(LINKER)
    build = [
        "gcc",
        "-nostdlib",
        "-static",
        "-fno-stack-protector",
        "-fno-pie",
        "-no-pie",
        "-o",
        str(linker),
        str(source),
    ]
    if shutil.which("gcc") is None or os.uname().machine != "x86_64":
        pytest.skip("a dynamic linker can be built for x86_64 and with a C compiler")
    subprocess.run(build, check=True)
    for directory in "lib64", "lib", "bin", "proc", "dev", "sys", "etc":
        (tree / directory).mkdir(parents=True)
    for name in "lib64/ld-linux-x86-64.so.2", "lib/ld-linux-aarch64.so.1":
        shutil.copy(linker, tree / name)
    (tree / "exe").symlink_to("/proc/self/exe")
    (tree / "script").write_text("#!/proc/self/exe\n")
    (tree / "script").chmod(0o755)
    subprocess.run(["tar", "-C", tree, "-cf", tmp_path / "image.tar", "."], check=True)
    rootless.ok("import", str(tmp_path / "image.tar"), "hostile")
    try:
        done = rootless("run", "--rm", "hostile", command)
        assert b"LOADED" not in done.stdout, f"the image's linker was started for {done.stdout.decode()}"
        assert done.returncode != 0
    finally:
        rootless.ok("rmi", "hostile")


def test_a_working_directory_behind_a_descriptor_leads_nowhere(rootless: Rootless) -> None:
    """CVE-2024-21626: no descriptor of the engine's may serve as a way to the host's directories."""
    for number in range(3, 12):
        done = rootless("run", "--rm", "-w", f"/proc/self/fd/{number}", IMAGE, "ls", "../../../../..")
        if done.returncode not in (125, 126):
            assert done.stdout.decode() == rootless.ok("run", "--rm", IMAGE, "ls", "/")
