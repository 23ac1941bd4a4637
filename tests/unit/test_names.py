"""A container's name: one container each at any moment, whoever is killed while it changes hands."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rootless.container import store
from rootless.container.container import Container
from rootless.container.record import Record, Spec, State
from rootless.container.state import Status
from rootless.container.store import Containers
from rootless.errors import ConflictError, InvalidError, NotFoundError
from rootless.paths import Paths

TOUCHES = ("open", "os.rename", "os.symlink", "os.remove", "os.mkdir", "fcntl.flock")
"""Audit events (sys.addaudithook) of what touches files: a kill is tried before each of them."""


@pytest.fixture
def containers(tmp_path: Path) -> Containers:
    paths = Paths(tmp_path / "store", tmp_path / "run")
    for directory in (paths.containers, paths.names, paths.tmp, paths.run):
        directory.mkdir(parents=True)
    return Containers(paths)


def make(containers: Containers, name: str, status: Status = Status.EXITED) -> Container:
    container_id = os.urandom(32).hex()
    draft = containers.paths.tmp / container_id
    draft.mkdir()
    spec = Spec(image="alpine", image_id="sha256:" + "0" * 64, argv=("sh",))
    record = Record(
        id=container_id, name=name, created="2026-01-02T03:04:05.000000006Z", spec=spec, driver="overlay",
        layers=("l/ABCDEFGHIJ",), idmap="01234567",
    )  # fmt: skip
    container, hold = containers.publish(record, draft, State(status=status))
    hold.release()
    return container


def links(containers: Containers) -> dict[str, str]:
    names = containers.paths.names
    return {name: Path(os.readlink(names / name)).name for name in os.listdir(names)}


def die_before(number: int) -> None:
    """SIGKILL the calling process before it touches files for the `number`-th time."""
    seen = 0

    def count(event: str, _: tuple[object, ...]) -> None:
        nonlocal seen
        if event in TOUCHES:
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def in_a_child(work: Callable[[], object]) -> int:
    """Run `work` in a forked child; how it ended, as os.waitstatus_to_exitcode tells it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_rename(containers: Containers) -> None:
    container = make(containers, "old")
    containers.rename(container, "/new")
    assert links(containers) == {"new": container.id}
    assert containers.resolve("new").name == "new"
    assert containers.resolve(container.id[:12]).name == "new"
    with pytest.raises(NotFoundError, match="No such container: old"):
        containers.resolve("old")
    make(containers, "old")  # it is free again


def test_the_words_are_dockers(containers: Containers) -> None:
    container, other = make(containers, "web"), make(containers, "db")
    with pytest.raises(ConflictError) as taken:
        containers.rename(container, "db")
    conflict = f'Conflict. The container name "/db" is already in use by container "{other.id}"'
    assert taken.value.message == f"Error when allocating new name: {conflict}"
    with pytest.raises(ConflictError, match="Renaming a container with the same name as its current name"):
        containers.rename(container, "web")
    with pytest.raises(InvalidError, match=r"Error when allocating new name: Invalid container name \(we b\)"):
        containers.rename(container, "we b")
    assert links(containers) == {"web": container.id, "db": other.id}


def test_a_record_that_was_read_before_does_not_bring_the_old_name_back(containers: Containers) -> None:
    """A monitor knows its container by the name of its start; another command has renamed it twice since."""
    container = make(containers, "first")
    containers.rename(container, "second")
    containers.rename(container, "third")
    assert links(containers) == {"third": container.id}
    with container.hold("remove"):
        containers.remove(container)
    assert links(containers) == {}


def test_what_a_newer_version_wrote_survives(containers: Containers) -> None:
    container = make(containers, "old")
    path = container.directory / "config.json"
    document = json.loads(path.read_bytes())
    document["colour"] = "green"
    document["spec"]["shape"] = [1, 2.5, None]
    path.write_text(json.dumps(document))
    containers.rename(container, "new")
    assert json.loads(path.read_bytes()) == document | {"name": "new"}


def test_a_container_that_is_being_removed_is_gone(containers: Containers) -> None:
    container = make(containers, "old", Status.REMOVING)
    with pytest.raises(NotFoundError, match="No such container: old"):
        containers.rename(container, "new")
    assert links(containers) == {"old": container.id}


def test_kill_at_every_step_leaves_one_name(containers: Containers) -> None:
    """Before, between and after the system calls of a rename: one name leads to the container, the other is free."""
    container = make(containers, "n0")
    killed = step = 0
    while True:
        step += 1
        old = containers.resolve(container.id).name
        new = f"n{step}"

        def rename(number: int = step, new: str = new) -> None:
            die_before(number)
            containers.rename(container, new)

        code = in_a_child(rename)
        name = containers.resolve(container.id).name
        assert name in (old, new)
        assert containers.id_of(name) == container.id
        free = new if name == old else old
        with pytest.raises(NotFoundError):
            containers.resolve(free)
        other = make(containers, free)  # although a link of that name may be left
        assert links(containers)[free] == other.id
        with other.hold("remove"):
            containers.remove(other)
        containers.sweep()
        assert links(containers) == {name: container.id}
        assert os.listdir(containers.paths.tmp) == []
        if code == 0:
            break
        assert code == -signal.SIGKILL
        killed += 1
    assert killed >= 6, "the kills missed the rename"


def test_one_of_many_gets_the_name(containers: Containers) -> None:
    """Eight commands want the same name for eight containers at once, seven times over."""
    candidates = [make(containers, f"c{number}") for number in range(8)]
    for turn in range(7):
        wanted = f"wanted{turn}"
        children = []
        for candidate in candidates:
            pid = os.fork()
            if pid == 0:
                code = 4
                try:
                    containers.rename(candidate, wanted)
                    code = 0
                except ConflictError:
                    code = 3
                finally:
                    os._exit(code)
            children.append(pid)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
        assert sorted(codes) == [0] + [3] * 7
        winner = candidates[codes.index(0)]
        assert containers.id_of(wanted) == winner.id
        assert sorted(links(containers).values()) == sorted(c.id for c in candidates)


def test_a_damaged_container_keeps_its_name(containers: Containers) -> None:
    """`rm` must still find it by the name that it was made with."""
    container = make(containers, "hurt")
    (container.directory / "config.json").write_bytes(b"\0\0\0")
    containers.sweep()
    assert containers.id_of("hurt") == container.id
    other = make(containers, "well")
    with pytest.raises(ConflictError, match="already in use"):
        containers.rename(other, "hurt")
    containers.remove_directory(container.id)
    assert links(containers) == {"well": other.id}


def test_stopped_containers_are_listed_without_a_lock(containers: Containers, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ps` may have a thousand to show, and must not get in the way of whoever starts one of them."""
    for number, status in enumerate((Status.EXITED, Status.CREATED, Status.DEAD)):
        make(containers, f"c{number}", status)
    monkeypatch.setattr(store.Hold, "take", lambda directory: pytest.fail(f"a lock was tried: {directory}"))
    assert [state.status for _, state in containers.survey()] != []
