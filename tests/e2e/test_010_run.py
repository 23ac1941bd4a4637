"""`rootless run`: the options, each seen from inside the container."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from tests.conftest import Rootless

IMAGE = "busybox:latest"


def inside(rootless: Rootless, *words: str, stdin: bytes | None = None) -> str:
    """Run a shell command in a throw-away container: the options first, the script last."""
    *options, script = words
    return rootless.ok("run", "--rm", *options, IMAGE, "sh", "-c", script, stdin=stdin).strip()


@pytest.mark.parametrize("code", [0, 1, 7, 125, 126, 127, 128, 255])
def test_the_commands_own_exit_code_comes_back(rootless: Rootless, code: int) -> None:
    assert rootless("run", "--rm", IMAGE, "sh", "-c", f"exit {code}").returncode == code


def test_a_shell_without_input_ends_at_once(rootless: Rootless) -> None:
    assert rootless("run", "--rm", IMAGE, stdin=b"echo never seen\n").stdout == b""


def test_death_by_a_signal_is_128_and_the_signal(rootless: Rootless) -> None:
    """PID 1 itself can't be killed from inside by a signal it does not handle, so --init stands above the victim."""
    done = rootless("run", "--rm", "--init", IMAGE, "sh", "-c", "kill -KILL $$")
    assert done.returncode == 137


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("nosuch", 127, 'exec: "nosuch": executable file not found in $PATH'),
        ("/no/such", 127, "stat /no/such: no such file or directory"),
        ("/etc/passwd", 126, 'exec: "/etc/passwd": permission denied'),
        ("/etc", 126, 'exec: "/etc": is a directory'),
        ("/root/no/such", 126, "stat /root/no/such: permission denied"),  # nobody may search it, nor know
        ("x" * 100_000, 127, "xxx ... xxx"),  # longer than a packet between the processes
    ],
)
def test_a_command_that_cannot_be_executed(rootless: Rootless, command: str, code: int, message: str) -> None:
    done = rootless("run", "--rm", "-u", "1000" if "root" in command else "0", IMAGE, command)
    assert done.returncode == code
    assert message in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_streams_stay_apart(rootless: Rootless) -> None:
    done = rootless("run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")


def test_interactive_passes_input_and_its_end(rootless: Rootless) -> None:
    data = os.urandom(300_000)  # more than the pipes and sockets between hold
    assert rootless("run", "--rm", "-i", IMAGE, "cat", stdin=data).stdout == data


def test_much_output_is_whole(rootless: Rootless) -> None:
    done = rootless("run", "--rm", IMAGE, "sh", "-c", "seq 1 300000")
    assert done.stdout == b"".join(b"%d\n" % n for n in range(1, 300001))


def test_output_after_trio_is_whole(rootless: Rootless) -> None:
    """The monitor hands over from its first moments to trio: nothing may be lost or doubled between them."""
    done = rootless("run", "--rm", IMAGE, "sh", "-c", "for i in $(seq 40); do echo $i; sleep 0.01; done")
    assert done.stdout == b"".join(b"%d\n" % n for n in range(1, 41))


def test_a_file_written_in_one_container_is_not_in_the_next(rootless: Rootless) -> None:
    inside(rootless, "echo changed > /etc/motd; rm /etc/group; mkdir /new")
    assert inside(rootless, "cat /etc/motd 2>&1; ls /etc/group; ls -d /new 2>&1; true").splitlines() == [
        "cat: can't open '/etc/motd': No such file or directory",
        "/etc/group",
        "ls: /new: No such file or directory",
    ]


def test_environment(rootless: Rootless, tmp_path) -> None:
    """Docker's defaults, the options', and nothing of the caller's."""
    (tmp_path / "file").write_text("FROM_FILE=1\nSHARED=file\n")
    done = rootless(
        *("run", "--rm", "--hostname", "box", "-e", "A=b c", "-e", "SHARED=option", "-e", "TAKEN", "-e", "ABSENT"),
        *("--env-file", str(tmp_path / "file"), IMAGE, "env"),
        env={"TAKEN": "over", "SECRET": "of the host"},
    )
    assert sorted(done.stdout.decode().splitlines()) == [
        "A=b c",
        "FROM_FILE=1",
        "HOME=/root",
        "HOSTNAME=box",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "SHARED=option",
        "TAKEN=over",
    ]


def test_workdir_is_made_when_it_is_missing(rootless: Rootless) -> None:
    assert inside(rootless, "-w", "/deep/down", "pwd") == "/deep/down"


def test_workdir_is_made_before_the_root_becomes_read_only(rootless: Rootless) -> None:
    assert inside(rootless, "--read-only", "-w", "/deep/down", "pwd") == "/deep/down"


def test_workdir_may_be_one_that_only_root_can_enter(rootless: Rootless) -> None:
    """As with runc, which enters it before it becomes the user: images for root are run with -u."""
    assert (
        inside(rootless, "--tmpfs", "/only:mode=700", "-u", "1000", "-w", "/only", "pwd; ls / > /dev/null") == "/only"
    )


def test_entrypoint(rootless: Rootless) -> None:
    assert rootless.ok("run", "--rm", "--entrypoint", "/bin/echo", IMAGE, "a", "b") == "a b\n"
    assert rootless.ok("run", "--rm", "--entrypoint=", IMAGE, "echo", "c") == "c\n"


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("root", "uid=0(root) gid=0(root) groups=0(root)"),
        ("nobody", "uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup)"),
        ("1000:2000", "uid=1000 gid=2000 groups=2000"),
        ("65534:root", "uid=65534(nobody) gid=0(root) groups=0(root)"),
    ],
)
def test_user(rootless: Rootless, user: str, expected: str) -> None:
    assert inside(rootless, "-u", user, "id") == expected


def test_another_user_can_write_to_its_own_streams(rootless: Rootless) -> None:
    """Images of web servers log to /dev/stdout by name, as their own user."""
    assert inside(rootless, "-u", "1000", "echo seen > /dev/stdout") == "seen"


def test_hostname(rootless: Rootless) -> None:
    before = os.uname().nodename
    assert inside(rootless, "-h", "box", "hostname; cat /etc/hostname").split() == ["box", "box"]
    assert re.fullmatch("[0-9a-f]{12}", inside(rootless, "hostname"))
    assert os.uname().nodename == before


def test_read_only_root_with_a_writable_tmpfs(rootless: Rootless) -> None:
    script = "touch /x 2>/dev/null || echo refused; echo y > /tmp/x && cat /tmp/x; mount | grep ' /tmp '"
    refused, written, mount = inside(rootless, "--read-only", "--tmpfs", "/tmp:size=1m,mode=1770", script).splitlines()
    assert (refused, written) == ("refused", "y")
    assert "size=1024k,mode=1770" in mount
    assert "nosuid,nodev,noexec" in mount


def test_ulimit(rootless: Rootless) -> None:
    assert (
        inside(rootless, "--ulimit", "nofile=100:200", "--ulimit", "core=0", "ulimit -Sn; ulimit -Hn; ulimit -c")
        == "100\n200\n0"
    )


def test_a_limit_of_open_files_is_the_commands_alone(rootless: Rootless) -> None:
    """What the engine itself opens on the way to the command must not count."""
    assert inside(rootless, "--ulimit", "nofile=5", "ulimit -n; ulimit -Hn; cat /etc/group | head -n 0") == "5\n5"


def test_proc_stays_what_it_is(rootless: Rootless) -> None:
    done = rootless("run", "--rm", "--tmpfs", "/proc", IMAGE, "true")
    assert done.returncode == 125
    assert b'"/proc" cannot be mounted because it is not of type proc' in done.stderr


def test_shm_size(rootless: Rootless) -> None:
    assert "size=2048k" in inside(rootless, "--shm-size", "2m", "mount | grep /dev/shm")


def test_init_reaps_orphans_and_passes_signals_on(rootless: Rootless) -> None:
    script = "for i in 1 2 3 4 5; do (sleep 0 &) ; done; sleep 0.2; ps -o pid,stat,comm"
    listing = inside(rootless, "--init", script)
    assert "rootless-init" in listing.splitlines()[1]
    assert " Z" not in listing
    assert "python" not in inside(rootless, "--init", "cat /proc/1/cmdline"), "the host's paths are nobody's business"


def test_pid_one_is_the_command_itself(rootless: Rootless) -> None:
    assert rootless.ok("run", "--rm", IMAGE, "sh", "-c", "echo $$").strip() == "1"


def test_network_is_loopback_and_up(rootless: Rootless) -> None:
    script = (
        "ls /sys/class/net; ip addr show lo | grep -o '127.0.0.1/8'; ping -c 1 127.0.0.1 >/dev/null && echo answers"
    )
    assert inside(rootless, "--network", "none", script).split() == ["lo", "127.0.0.1/8", "answers"]


def test_files_of_etc(rootless: Rootless) -> None:
    assert "127.0.0.1\tlocalhost" in inside(rootless, "cat /etc/hosts; test -e /etc/resolv.conf")


def test_interactive_container_gets_a_label_and_shows_it(rootless: Rootless) -> None:
    name = rootless.ok("run", "-d", "-l", "a=b", "--name", "labelled", IMAGE, "true").strip()
    shown = rootless.ok("inspect", "-f", "{{json .Config.Labels}} {{.Name}} {{.Id}}", "labelled")
    assert shown == f'{{"a":"b"}} /labelled {name}\n'
    rootless.ok("rm", "-f", "labelled")


def test_images_configuration_is_the_default(rootless: Rootless, busybox_tar) -> None:
    changes = ['ENTRYPOINT ["/bin/echo", "hi"]', 'CMD ["there"]', "ENV WHO=image", "WORKDIR /srv", "USER nobody"]
    arguments = [word for change in changes for word in ("-c", change)]
    rootless.ok("import", *arguments, str(busybox_tar), "configured")
    try:
        assert rootless.ok("run", "--rm", "configured") == "hi there\n"
        assert rootless.ok("run", "--rm", "configured", "you") == "hi you\n"
        shell = rootless.ok("run", "--rm", "--entrypoint", "sh", "configured", "-c", "id -u; pwd; echo $WHO")
        assert shell.split() == ["65534", "/srv", "image"]
    finally:
        rootless.ok("rmi", "configured")


def test_detached_prints_the_id_and_goes_on(rootless: Rootless) -> None:
    done = rootless("run", "-d", "--name", "background", IMAGE, "sleep", "30")
    assert re.fullmatch(rb"[0-9a-f]{64}\n", done.stdout)
    assert "Up " in rootless.ok("ps", "--format", "{{.Status}}")
    rootless.ok("rm", "-f", "background")


def test_detached_with_input_keeps_it_open(rootless: Rootless) -> None:
    """As in Docker: nobody is attached, and cat does not see an end."""
    rootless.ok("run", "-di", "--name", "waiting", IMAGE, "cat")
    assert rootless.ok("ps", "--format", "{{.Names}}") == "waiting\n"
    rootless.ok("rm", "-f", "waiting")


def test_the_readers_pipe_ends_with_a_detached_command(rootless: Rootless) -> None:
    """`ID=$(rootless run -d ...)` must not wait for the container: the monitor holds none of our descriptors."""
    done = subprocess.run(
        ["sh", "-c", '"$@" | cat', "sh", *rootless.argv("run", "-d", "--rm", "--name", "piped", IMAGE, "sleep", "30")],
        env=rootless.environment,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert len(done.stdout) == 65
    rootless.ok("rm", "-f", "piped")
