"""Mistakes: one line on standard error, the exit code of Docker's CLI, nothing left behind (the fixture looks)."""

from __future__ import annotations

import subprocess

import pytest

from tests.conftest import Rootless

IMAGE = "busybox:latest"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("nosuch",), 1, "unknown command: rootless nosuch"),
        (
            ("swarm", "init"),
            1,
            "unknown command: rootless swarm: it is for clusters of machines",
        ),
        (("run", "--gpus", "all", "x"), 125, "unknown flag: --gpus: the driver's own container tools"),
        (("container", "nosuch"), 1, "unknown command: rootless container nosuch"),
        (("--nosuch",), 125, "unknown flag: --nosuch"),
        (("run", "--nosuch", IMAGE), 125, "unknown flag: --nosuch"),
        (("run", "-Z", IMAGE), 125, "unknown shorthand flag: 'Z' in -Z"),
        (("ps", "--nosuch"), 125, "unknown flag: --nosuch"),
        (("rm", "--nosuch", "x"), 125, "unknown flag: --nosuch"),
        (("images", "--nosuch"), 125, "unknown flag: --nosuch"),
        (("inspect", "--nosuch", "x"), 125, "unknown flag: --nosuch"),
        (("import", "--nosuch", "x"), 125, "unknown flag: --nosuch"),
        (("run", "--name"), 125, "flag needs an argument: --name"),
        (("run", "-e"), 125, "flag needs an argument: 'e' in -e; see 'rootless run --help'"),
        (
            ("run", "-t=x", IMAGE),
            125,
            'invalid argument "x" for "-t, --tty" flag: strconv.ParseBool: parsing "x": invalid syntax',
        ),
        (("run",), 1, "'rootless run' requires at least 1 argument"),
        (("rm",), 1, "'rootless rm' requires at least 1 argument"),
        (("ps", "x"), 1, "'rootless ps' accepts no arguments"),
        (("run", "--rm", "--pull", "never", "nosuch:latest", "true"), 125, "No such image: nosuch:latest"),
        (("run", "--rm", "UPPER", "true"), 125, "must be lowercase"),
        (("run", "--rm", "-u", "nosuch", IMAGE, "true"), 125, "unable to find user nosuch"),
        (("run", "--rm", "-u", "70000", IMAGE, "true"), 125, "outside the container's ids"),
        (("run", "--rm", "-w", "relative", IMAGE), 125, "needs to be an absolute path"),
        (("run", "--rm", "--ulimit", "x=1", IMAGE), 125, "invalid ulimit type: x"),
        (("run", "--rm", "--cap-add", "FLY", IMAGE), 125, "FLY"),
        (("run", "--rm", "--security-opt", "magic", IMAGE), 125, 'invalid argument "magic" for "--security-opt"'),
        (("run", "--rm", "--security-opt", "seccomp=/no/such", IMAGE), 125, "/no/such"),
        (("run", "--rm", "--tmpfs", "tmp", IMAGE), 125, "mount path must be absolute"),
        (("run", "--rm", "--tmpfs", "/tmp:what", IMAGE, "true"), 125, 'invalid tmpfs option "what"'),
        (("run", "--rm", "--shm-size", "big", IMAGE), 125, "invalid size: 'big'"),
        (("run", "--rm", "--env-file", "/no/such", IMAGE), 125, "open /no/such: no such file or directory"),
        (("run", "--rm", "--name", "a/b", IMAGE), 125, "Invalid container name (a/b)"),
        # What Docker's client passes on and its engine refuses ends with 1, in `run` with 125.
        (("create", "--name", "a/b", IMAGE), 1, "Invalid container name (a/b)"),
        (("create", "--name=-x", IMAGE), 1, "Invalid container name (-x)"),
        (("create", "--memory", "1m", IMAGE), 1, "Minimum memory limit allowed is 6MB"),
        (("run", "--memory", "1m", IMAGE), 125, "Minimum memory limit allowed is 6MB"),
        (("create", "--stop-signal", "NOPE", IMAGE), 1, "invalid signal: NOPE"),
        (("run", "--stop-signal", "NOPE", IMAGE), 125, "invalid signal: NOPE"),
        (("kill", "-s", "NOPE", "nobody"), 1, "invalid signal: NOPE"),
        (("stop", "-s", "NOPE", "nobody"), 1, "invalid signal: NOPE"),
        (("update", "nobody"), 1, "you must provide one or more flags when using this command"),
        (("events", "--since", "x"), 1, 'failed to parse value as time or duration: "x"'),
        (("run", "-it", "--rm", IMAGE), 1, "the input device is not a TTY"),
        (("rm", "nosuch"), 1, "No such container: nosuch"),
        (("rmi", "nosuch"), 1, "No such image: nosuch"),
        (("inspect", "nosuch"), 1, "No such object: nosuch"),
        (("import", "/no/such/file", "x"), 1, "/no/such/file"),
        (("--storage-driver", "magic", "run", "--rm", IMAGE), 125, "unknown storage driver 'magic'"),
    ],
)
def test_mistakes(rootless: Rootless, words: tuple[str, ...], code: int, message: str) -> None:
    done = rootless(*words)
    assert b"Invalid value" not in done.stderr  # click's words
    assert message in done.stderr.decode()
    assert done.returncode == code
    assert done.stderr.count(b"\n") == 1, done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_a_name_that_is_taken(rootless: Rootless) -> None:
    first = rootless.ok("run", "-d", "--name", "taken", IMAGE, "sleep", "30").strip()
    done = rootless("run", "--rm", "--name", "taken", IMAGE, "true")
    assert done.returncode == 125
    assert f'The container name "/taken" is already in use by container "{first}"' in done.stderr.decode()
    rootless.ok("rm", "-f", "taken")


def test_a_running_container_is_not_removed(rootless: Rootless) -> None:
    rootless.ok("run", "-d", "--name", "busy", IMAGE, "sleep", "30")
    done = rootless("rm", "busy")
    assert done.returncode == 1
    assert 'cannot remove container "/busy": container is running' in done.stderr.decode()
    assert rootless.ok("rm", "-f", "busy") == "busy\n"


def test_rm_goes_on_after_one_that_is_not_there(rootless: Rootless) -> None:
    rootless.ok("run", "--name", "here", IMAGE, "true")
    done = rootless("rm", "gone", "here")
    assert (done.returncode, done.stdout) == (1, b"here\n")
    assert rootless("rm", "-f", "gone").returncode == 0


def test_debug_shows_the_traceback(rootless: Rootless) -> None:
    done = rootless("--debug", "run", "--rm", "-u", "nosuch", IMAGE, "true")
    assert b"look_up" in done.stderr


def test_a_failed_start_without_rm_leaves_the_container_as_docker_does(rootless: Rootless) -> None:
    assert rootless("run", "--name", "failed", IMAGE, "nosuch").returncode == 127
    shown = rootless.ok("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}", "failed")
    assert shown.startswith('created 127 exec: "nosuch"')
    rootless.ok("rm", "failed")


def test_help_goes_to_standard_output(rootless: Rootless) -> None:
    for words in ("--help",), ("run", "--help"), ("image", "--help"), ("container", "ls", "--help"):
        done = rootless(*words)
        assert done.returncode == 0
        assert b"Usage:" in done.stdout


def test_an_image_that_is_not_here_is_looked_for(rootless: Rootless) -> None:
    """The registry of the name can't be there: the loopback address refuses at once."""
    done = rootless("run", "--rm", "127.0.0.1:9/nosuch:latest", "true")
    assert done.returncode == 125
    first, second = done.stderr.decode().splitlines()
    assert first == "Unable to find image '127.0.0.1:9/nosuch:latest' locally"
    assert "127.0.0.1:9" in second


@pytest.mark.parametrize(("words", "code"), [(("run", "--nope"), 125), (("run", "--rm", IMAGE, "nosuch"), 127)])
def test_a_full_disk_behind_standard_error_changes_no_exit_code(
    rootless: Rootless, words: tuple[str, ...], code: int
) -> None:
    with open("/dev/full", "wb") as full:
        assert rootless.popen(*words, stderr=full).wait(30) == code


def test_a_full_disk_behind_standard_output_is_the_engines_failure(rootless: Rootless) -> None:
    with open("/dev/full", "wb") as full:
        assert rootless.popen("run", "--rm", IMAGE, "echo", "x", stdout=full, stderr=subprocess.DEVNULL).wait(30) == 125


@pytest.mark.parametrize(
    "words", [("import", "-", "x"), ("load",), ("login", "--password-stdin", "-u", "me", "127.0.0.1:9")]
)
def test_a_closed_standard_input_is_an_empty_one(rootless: Rootless, words: tuple[str, ...]) -> None:
    command = ["sh", "-c", '"$@" <&-', "sh", *rootless.argv(*words)]
    done = subprocess.run(command, env=rootless.environment, capture_output=True, timeout=30)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_a_store_of_a_newer_format_is_left_alone_by_every_command(rootless: Rootless) -> None:
    rootless.ok("create", "--name", "kept", IMAGE)
    before = rootless.paths.version.read_bytes()
    rootless.paths.version.write_text('{"format": 99, "min_reader": 99}')
    try:
        for words in (
            ("ps", "-a"),
            ("start", "kept"),
            ("rm", "kept"),
            ("container", "prune", "-f"),
            ("images",),
            ("exec", "kept", "true"),
        ):
            done = rootless(*words)
            assert (done.returncode, b"has format 99" in done.stderr) == (1, True), words
    finally:
        rootless.paths.version.write_bytes(before)
    rootless.ok("rm", "kept")
