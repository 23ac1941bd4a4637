"""Where commands look for a container's monitor: where it listens, which may be another session's run directory."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from rootless.container.container import Container
from rootless.container.record import Record, Spec, State
from rootless.container.state import Status
from rootless.errors import ConflictError
from rootless.kernel.process import boot_id, machine_id
from rootless.paths import Paths
from rootless.runtime import control, stream

RUNNING = State(status=Status.RUNNING, boot_id=boot_id(), machine_id=machine_id())


@pytest.fixture
def container(tmp_path: Path) -> Container:
    """One whose monitor listens in `login`, seen from a session whose run directory is `cron`."""
    paths = Paths(tmp_path / "store", tmp_path / "cron")
    record = Record(
        id="ab" * 32, name="web", created="2026-01-02T03:04:05.000000006Z", driver="overlay", layers=(), idmap="0",
        spec=Spec(image="alpine", image_id="sha256:" + "0" * 64, argv=("sh",)),
    )  # fmt: skip
    for directory in (paths.tmp, paths.container(record.id)):
        directory.mkdir(parents=True)
    for name in ("login", "cron"):
        (tmp_path / name).mkdir(mode=0o700)
    return Container(paths, record)


def test_a_request_goes_where_the_monitor_listens(container: Container, tmp_path: Path) -> None:
    login = msgspec.structs.replace(container.paths, run=tmp_path / "login")
    listener = control.listen(login, container.id)
    with pytest.raises(ConflictError, match="is not running"):
        control.ask(container, stream.Wait())
    container.write_state(msgspec.structs.replace(RUNNING, run_directory=str(login.run)))
    connection = control.ask(container, stream.Wait())
    heard, _ = listener.accept()
    assert stream.decode(heard.recv(stream.CHUNK)) == stream.Wait()
    for socket in (heard, listener, connection.messages):
        socket.close()
    control.stop_listening(container.runtime_paths, container.id)
    assert os.listdir(login.run) == []


@pytest.mark.parametrize("change", ["boot_id", "machine_id", "relative", "missing", "open", "link"])
def test_a_directory_that_is_not_ours_here_and_now_is_not_gone_to(
    container: Container, tmp_path: Path, change: str
) -> None:
    """The document may come from another machine or boot, or from somebody: requests carry descriptors."""
    directory = tmp_path / "login"
    named, state = str(directory), RUNNING
    match change:
        case "relative":
            named = "login"
        case "missing":
            directory.rmdir()
        case "open":
            directory.chmod(0o777)
        case "link":
            (tmp_path / "link").symlink_to(directory)
            named = str(tmp_path / "link")
        case _:
            state = msgspec.structs.replace(state, **{change: "another"})
    container.write_state(msgspec.structs.replace(state, run_directory=named))
    assert container.runtime_paths == container.paths


def test_a_stop_between_two_runs_holds_though_its_caller_has_gone(container: Container, tmp_path: Path) -> None:
    """It was asked for: that it can't be answered any more must not let the container start again."""
    login = msgspec.structs.replace(container.paths, run=tmp_path / "login")
    with control.listen(login, container.id) as listener:
        running = msgspec.structs.replace(RUNNING, run_directory=str(login.run))
        container.write_state(running)
        control.ask(container, stream.Stop(15, 10)).close()
        waiting: list[stream.Connection] = []
        assert control.stopped_within(listener, 60, waiting)
        waiting[0].close()
