"""`rootless logs`: what a container wrote, afterwards and while it writes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import Rootless
from tests.waiting import processor_time, wait_for

IMAGE = "busybox:latest"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"


@contextmanager
def container(rootless: Rootless, script: str, *options: str, name: str = "speaker") -> Iterator[str]:
    """A detached container that runs a shell script."""
    rootless.ok("run", "-d", "--name", name, *options, IMAGE, "sh", "-c", script)
    try:
        yield name
    finally:
        rootless("rm", "-f", name)


def ended(rootless: Rootless, name: str) -> Callable[[], bool]:
    return lambda: rootless.ok("inspect", "-f", "{{.State.Running}}", name) == "false\n"


def test_streams_stay_apart(rootless: Rootless) -> None:
    with container(rootless, "echo out; echo err >&2; printf last") as name:
        wait_for(ended(rootless, name), "the end")
        done = rootless("logs", name)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"out\nlast", b"err\n")
        done = rootless("container", "logs", name[:4] + "ker")
        assert done.stdout == b"out\nlast"


def told(rootless: Rootless, name: str, word: str) -> bool:
    done = rootless("logs", name)
    return word.encode() in done.stdout + done.stderr


def test_order_is_kept_where_both_go_to_one_place(rootless: Rootless, tmp_path: Path) -> None:
    """What is written before the other stream was read comes first; they are two pipes, so it waits until it was."""
    words = [f"{stream}{number}" for number in (1, 2, 3) for stream in "oe"]
    script = "say() { echo $1; until test -e /read/$1; do sleep 0.02; done; }; "
    script += "; ".join(f"say {word} >&{1 if word[0] == 'o' else 2}" for word in words)
    with container(rootless, script, "-v", f"{tmp_path}:/read") as name:
        for word in words:
            wait_for(partial(told, rootless, name, word), word)
            (tmp_path / word).touch()
        wait_for(ended(rootless, name), "the end")
        process = rootless.popen("logs", name, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert process.communicate()[0].decode().split() == words


def test_a_terminals_output_comes_as_it_was(rootless: Rootless) -> None:
    with container(rootless, "echo one; echo two >&2", "-t") as name:
        wait_for(ended(rootless, name), "the end")
        done = rootless("logs", name)
        assert (done.stdout, done.stderr) == (b"one\r\ntwo\r\n", b"")


def test_timestamps_stand_before_lines(rootless: Rootless) -> None:
    with container(rootless, "echo a; head -c 40000 /dev/zero | tr '\\0' x; echo; echo e >&2") as name:
        wait_for(ended(rootless, name), "the end")
        done = rootless("logs", "-t", name)
        assert re.fullmatch(rf"{TIME} a\n{TIME} x{{40000}}\n", done.stdout.decode())
        assert re.fullmatch(rf"{TIME} e\n", done.stderr.decode())
        assert rootless.ok("logs", "--details", "--tail", "1", name) == "", "the last line is one of standard error"
        assert rootless("logs", "--details", "-n1", name).stderr == b" e\n", "Docker's: no details, and a blank"


def test_tail_and_times(rootless: Rootless) -> None:
    with container(rootless, "echo early; sleep 1.1; seq 3") as name:
        wait_for(ended(rootless, name), "the end")
        assert rootless.ok("logs", "--tail", "2", name) == "2\n3\n"
        assert rootless.ok("logs", "-n", "0", name) == ""
        assert (
            rootless.ok("logs", "--tail=all", name) == rootless.ok("logs", "--tail", "-1", name) == "early\n1\n2\n3\n"
        )
        first = rootless.ok("logs", "-t", name).split()[0]
        middle = rootless.ok("logs", "-t", "-n3", name).split()[0]
        assert rootless.ok("logs", "--since", middle, name) == "1\n2\n3\n"
        assert rootless.ok("logs", "--until", first, name) == "early\n"
        assert rootless.ok("logs", "--since", "1h", name) == "early\n1\n2\n3\n"
        assert rootless.ok("logs", "--until", "1h", name) == ""
        assert rootless.ok("logs", "--since", str(time.time() + 60).partition(".")[0], name) == ""


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--tail", "x"], 125, 'invalid argument "x" for "-n, --tail" flag: '),
        (["--since", "x"], 1, 'invalid value for "since": failed to parse value as time or duration: "x"\n'),
        (["--until", "2006-01-02T"], 1, 'invalid value for "until": '),
    ],
)
def test_bad_values_are_refused(rootless: Rootless, options: list[str], code: int, message: str) -> None:
    done = rootless("logs", *options, "nobody")
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (code, b"", 1)
    assert f"rootless: {message}" in done.stderr.decode()


def test_no_such_container(rootless: Rootless) -> None:
    done = rootless("logs", "-f", "nobody")
    assert (done.returncode, done.stderr) == (1, b"rootless: No such container: nobody\n")


def test_follow_ends_with_the_container(rootless: Rootless) -> None:
    """It is told of the end, and does not find it after a time: the fastest of some counts on a busy machine."""
    times: list[float] = []
    while len(times) < 5 and min(times, default=1) >= 0.9:
        times.append(time_to_follow_an_end(rootless))
    assert min(times) < 0.9


def time_to_follow_an_end(rootless: Rootless) -> float:
    with container(rootless, "echo first; read wait; echo last", "-i") as name:
        process = rootless.popen("logs", "-f", name, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"first\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)
        rootless.ok("kill", name)
        start = time.monotonic()
        assert process.wait(60) == 0
        taken = time.monotonic() - start
        assert process.communicate() == (b"", None)
    return taken


def test_followers_get_every_line_and_each_at_once(rootless: Rootless) -> None:
    with container(rootless, "for i in $(seq 20); do echo $i; sleep 0.05; done") as name:
        followers = [rootless.popen("logs", "-f", name, stdout=subprocess.PIPE) for _ in range(2)]
        for follower in followers:
            out = follower.communicate(timeout=60)[0]
            assert out.split() == [b"%d" % n for n in range(1, 21)]
            assert follower.returncode == 0


def test_follow_a_container_that_removes_itself(rootless: Rootless) -> None:
    with container(rootless, "echo hello; sleep 1; echo bye", "--rm") as name:
        process = rootless.popen("logs", "-f", name, stdout=subprocess.PIPE)
        assert process.communicate(timeout=60)[0] == b"hello\nbye\n"
        assert process.returncode == 0


def test_follow_a_container_whose_monitor_was_killed(rootless: Rootless) -> None:
    with container(rootless, "echo hello; sleep 60") as name:
        process = rootless.popen("logs", "-f", name, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"hello\n"
        os.kill(json.loads((rootless.paths.names / name / "state.json").read_text())["monitor"], signal.SIGKILL)
        assert process.communicate(timeout=60) == (b"", None)
        assert process.returncode == 0


def test_follow_of_a_stopped_container_ends_at_once(rootless: Rootless) -> None:
    with container(rootless, "echo over") as name:
        wait_for(ended(rootless, name), "the end")
        assert rootless.ok("logs", "-f", name) == "over\n"


def test_follow_until(rootless: Rootless) -> None:
    with container(rootless, "while :; do echo x; sleep 0.1; done") as name:
        assert set(rootless.ok("logs", "-f", "--until", "-1s", name).split()) == {"x"}


def test_ctrl_c_and_a_reader_that_has_enough(rootless: Rootless) -> None:
    with container(rootless, "while :; do echo x; sleep 0.01; done") as name:
        process = rootless.popen("logs", "-f", name, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.communicate()[1].strip() == b"", "no traceback"
        process = rootless.popen("logs", "-f", name, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        with process.stderr:
            assert process.stderr.read() == b""
        process.wait(60)


def test_a_million_lines(rootless: Rootless) -> None:
    """All of them, and the last ones without reading the others."""
    with container(rootless, "seq 1000000") as name:
        wait_for(ended(rootless, name), "the end", 60)
        assert rootless.ok("logs", name) == "".join(f"{n}\n" for n in range(1, 1_000_001))
        before = processor_time()
        assert rootless.ok("logs", "--tail", "1", name) == "1000000\n"
        assert processor_time() - before < 1
