"""`events`: what happened, in order, as it happens."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from rootless import events
from tests.conftest import Rootless
from tests.waiting import wait_for

IMAGE = "busybox:latest"


def actions(rootless: Rootless, since: float, *options: str) -> list[str]:
    shown = rootless.ok("events", "--since", f"{since:.9f}", "--until", "0s", "--format", "{{.Action}}", *options)
    return shown.splitlines()


def test_the_life_of_a_container(rootless: Rootless) -> None:
    began = time.time()
    rootless.ok("run", "-d", "--name", "told", "-l", "a=b", IMAGE, "sleep", "60")
    rootless.ok("exec", "told", "true")
    rootless.ok("pause", "told")
    rootless.ok("unpause", "told")
    rootless.ok("kill", "told")
    rootless.ok("wait", "told")
    rootless.ok("rename", "told", "retold")
    rootless.ok("rm", "retold")
    expected = ["create", "start", "pause", "unpause", "die", "rename", "destroy"]
    # These are noted by another process than what comes after them: either may be the first.
    beside = ["exec_create: true", "exec_die", "exec_start: true", "kill"]
    seen = actions(rootless, began, "--filter", "label=a=b")
    assert sorted(seen) == sorted(expected + beside)
    assert [action for action in seen if action not in beside] == expected
    assert actions(rootless, began, "--filter", "event=die", "--filter", "event=start") == ["start", "die"]
    assert actions(rootless, began, "--filter", "container=nobody") == []
    shown = rootless.ok(
        "events", "--since", f"{began:.9f}", "--until", "0s", "--filter", "event=die", "--format", "json"
    )
    event = json.loads(shown)
    assert (event["Type"], event["from"], event["Actor"]["Attributes"]["exitCode"]) == ("container", IMAGE, "137")


def test_they_are_seen_while_they_happen(rootless: Rootless) -> None:
    process = rootless.popen("events", "--format", "{{.Action}}", stdout=subprocess.PIPE)
    assert process.stdout is not None
    time.sleep(0.8)
    rootless.ok("run", "--rm", IMAGE, "true")
    assert [process.stdout.readline() for _ in range(4)] == [b"create\n", b"start\n", b"die\n", b"destroy\n"]
    process.terminate()
    process.communicate()


def test_a_rotation_takes_nothing_from_who_follows(rootless: Rootless) -> None:
    """It is stopped while the file reaches its limit and the next one begins, as on a busy machine."""
    process = rootless.popen("events", "--filter", "type=image", "--format", "{{.Action}}", stdout=subprocess.PIPE)
    assert process.stdout is not None

    def follows() -> bool:
        rootless.ok("tag", IMAGE, "rotated:0")
        return bool(select.select([process.stdout], [], [], 0)[0])

    wait_for(follows, "the first event", pause=0.2)
    process.send_signal(signal.SIGSTOP)
    with events.file(rootless.paths).open("ab") as file:
        file.write((b" " * 999 + b"\n") * (events.LIMIT // 1000 + 1))
    rootless.ok("save", "-o", "/dev/null", "rotated:0")
    assert events.file(rootless.paths).with_name("events.1").stat().st_size > events.LIMIT
    rootless.ok("rmi", "rotated:0")
    process.send_signal(signal.SIGCONT)
    seen = []
    while "untag\n" not in seen:
        seen.append(process.stdout.readline().decode())
    assert [line for line in seen if line != "tag\n"] == ["save\n", "untag\n"]
    process.terminate()
    process.communicate()


@pytest.mark.parametrize(
    ("option", "code", "message"),
    [("what", 125, "expected name=value"), ("colour=red", 1, "invalid filter 'colour'")],
)
def test_bad_filters(rootless: Rootless, option: str, code: int, message: str) -> None:
    done = rootless("events", "--filter", option)
    assert done.returncode == code
    assert message in done.stderr.decode()


def test_images(rootless: Rootless, tmp_path: Path) -> None:
    began = time.time()
    image_id = rootless.ok("inspect", "-f", "{{.Id}}", IMAGE).strip()
    rootless.ok("tag", IMAGE, "another:name")
    rootless.ok("save", "-o", str(tmp_path / "image.tar"), "another:name")
    rootless.ok("rmi", "another:name")
    rootless.ok("load", "-i", str(tmp_path / "image.tar"))
    rootless.ok("rmi", "another:name")
    assert actions(rootless, began, "--filter", "type=image") == ["tag", "save", "untag", "load", "untag"]
    assert actions(rootless, began, "--filter", "image=another:name") == ["tag", "load"]
    shown = rootless.ok("system", "events", "--since", f"{began:.9f}", "--until", "0s", "--format", "{{.Actor.ID}}")
    assert set(shown.split()) == {image_id}
