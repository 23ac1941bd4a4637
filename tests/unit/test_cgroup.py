"""Where a container's cgroup may be made. On directories that look like cgroups: real ones with controllers are rare
where tests run; what the kernel itself does is tested in tests/e2e/test_070_resources.py, as far as there is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rootless.kernel import cgroup as kernel
from rootless.runtime import cgroup, delegation, systemd
from rootless.runtime.cgroup import Base

MEMORY = frozenset({"memory"})
BOTH = frozenset({"memory", "pids"})

unprivileged = pytest.mark.skipif(os.geteuid() == 0, reason="real root may write everywhere")


def make(directory: Path, *, has: str = "", passes: str = "", processes: str = "", root: bool = False) -> Path:
    """A directory with the files of a cgroup."""
    directory.mkdir(parents=True, exist_ok=True)
    files = {
        "cgroup.controllers": has,
        "cgroup.subtree_control": passes,
        "cgroup.procs": processes,
        "cgroup.events": "populated 0",
    }
    if not root:
        files["cgroup.type"] = "domain"
    for name, text in files.items():
        (directory / name).write_text(text + "\n")
    return directory


def not_mine(directory: Path) -> Path:
    for path in (*directory.glob("cgroup.*"), directory):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return directory


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a hierarchy, on a machine without systemd."""
    monkeypatch.setattr(systemd, "sockets", list)
    return make(tmp_path / "top", has="cpu memory pids", passes="cpu memory pids", processes="1", root=True)


def live_in(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    monkeypatch.setattr(kernel, "own", lambda: directory)


# --- where a process is ---------------------------------------------------------------------------------------------


def own(tmp_path: Path, mountinfo: str, membership: str) -> Path | None:
    (tmp_path / "mountinfo").write_text(mountinfo)
    (tmp_path / "cgroup").write_text(membership)
    return kernel.own(str(tmp_path / "mountinfo"), str(tmp_path / "cgroup"))


def test_own_cgroup_below_the_mount_point(tmp_path: Path) -> None:
    there = make(tmp_path / "cg roup" / "user.slice")
    escaped = str(tmp_path / "cg roup").replace(" ", "\\040")
    mountinfo = f"30 24 0:26 / /proc rw - proc proc rw\n31 24 0:27 / {escaped} rw shared:9 - cgroup2 cgroup2 rw\n"
    assert own(tmp_path, mountinfo, "1:name=systemd:/x\n0::/user.slice\n") == there


def test_a_mount_of_a_part_of_the_hierarchy(tmp_path: Path) -> None:
    make(tmp_path / "part")
    there = make(tmp_path / "part" / "x")
    mountinfo = f"31 24 0:27 /a/b {tmp_path}/part rw - cgroup2 cgroup2 rw\n"
    assert own(tmp_path, mountinfo, "0::/a/b/x\n") == there
    assert own(tmp_path, mountinfo, "0::/a/b\n") == tmp_path / "part"
    assert own(tmp_path, mountinfo, "0::/a/bb\n") is None


@pytest.mark.parametrize("membership", ["", "9:name=systemd:/\n", "0::/../x\n", "0::/gone (deleted)\n"])
def test_what_can_not_be_seen(tmp_path: Path, membership: str) -> None:
    make(tmp_path / "m")
    assert own(tmp_path, f"31 24 0:27 / {tmp_path}/m rw - cgroup2 cgroup2 rw\n", membership) is None


def test_version_one_alone_is_no_cgroup(tmp_path: Path) -> None:
    assert own(tmp_path, f"31 24 0:27 / {tmp_path} rw - cgroup cgroup rw,memory\n", "0::/\n") is None


# --- the base -------------------------------------------------------------------------------------------------------


@unprivileged
def test_nothing_is_delegated(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    not_mine(top)
    live_in(monkeypatch, top)
    assert cgroup.find(MEMORY) is None


def test_no_cgroup_at_all(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "own", lambda: None)
    assert cgroup.find(MEMORY) is None


@unprivileged
def test_one_s_own_cgroup_has_processes_and_the_one_above_has_none(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The administrator's line of delegation.py: the shell in a leaf, and what is above it free to pass on."""
    mine = make(top / "rootless-me", has="cpu memory pids")
    shell = make(mine / "shell", processes="4711")
    not_mine(top)
    live_in(monkeypatch, shell)
    assert cgroup.find(BOTH) == Base(mine, BOTH, home=shell)


@unprivileged
def test_without_limits_the_nearest_one_will_do(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = make(top / "rootless-me", has="cpu memory pids")
    shell = make(mine / "shell", processes="4711")
    not_mine(top)
    live_in(monkeypatch, shell)
    assert cgroup.find(frozenset()) == Base(shell, frozenset(), home=shell)


@unprivileged
def test_with_processes_of_its_own_it_gives_what_it_gives_already(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = make(top / "me", has="memory pids", passes="pids", processes="4711")
    not_mine(top)
    live_in(monkeypatch, mine)
    assert cgroup.find(BOTH) == Base(mine, frozenset({"pids"}), home=mine)


@unprivileged
def test_a_cgroup_that_one_may_enter_but_not_leave_is_of_no_use(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Delegation containment: cgroup.procs must be writable, not the directory alone."""
    mine = make(top / "me", has="memory")
    (mine / "cgroup.procs").chmod(0o444)
    not_mine(top)
    live_in(monkeypatch, mine)
    assert cgroup.find(MEMORY) is None


@unprivileged
@pytest.mark.parametrize("kind", ["threaded", "domain invalid"])
def test_threaded_cgroups_hold_no_whole_processes(top: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    mine = make(top / "me", has="memory")
    (mine / "cgroup.type").write_text(kind)
    not_mine(top)
    live_in(monkeypatch, mine)
    assert cgroup.find(MEMORY) is None


@unprivileged
def test_nothing_is_made_in_a_unit_of_systemd_s(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own manager owns app.slice and passes controllers on, but that is its to arrange."""
    slice_ = make(top / "app.slice", has="memory", passes="memory")
    scope = make(slice_ / "terminal.scope", has="memory", processes="4711")
    not_mine(top)
    live_in(monkeypatch, scope)
    assert cgroup.find(MEMORY) == Base(scope, frozenset(), home=scope)


def test_the_root_of_all_may_have_processes(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live_in(monkeypatch, top)
    assert cgroup.find(MEMORY) == Base(top, MEMORY, home=top)


@unprivileged
def test_a_parent_that_is_named(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the top, or below the nearest base, where it is made; nothing else takes its place."""
    home = make(top / "mine" / "shell", has="memory", passes="", processes="1")
    make(top / "mine", has="memory", passes="memory")
    make(top / "mine" / "course", has="memory")
    live_in(monkeypatch, home)
    found = cgroup.find(frozenset({"memory"}), "/mine/course")
    assert found is not None and found.directory == top / "mine" / "course"
    below = cgroup.find(frozenset({"memory"}), "class/one")
    assert below is None, "what is made here has none of the files that the kernel would give it"
    make(top / "mine" / "class" / "one", has="memory")
    below = cgroup.find(frozenset({"memory"}), "class/one")
    assert below is not None and below.directory == top / "mine" / "class" / "one"
    assert cgroup.find(frozenset(), "/mine/../other") is None
    assert cgroup.find(frozenset(), "/") is None
    not_mine(make(top / "other"))
    assert cgroup.find(frozenset(), "/other") is None


@unprivileged
def test_a_scope_is_asked_for_when_a_limit_needs_one(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd moves the process; at the top of its scope it would be in the way, so it goes on to a leaf."""
    session = not_mine(make(top / "session.scope", processes=str(os.getpid())))
    (top / "cgroup.procs").chmod(0o444)
    places = [session]
    asked = []

    def start_scope(name: str, pid: int) -> None:
        asked.append((name, pid))
        places.append(make(top / name, has="memory pids"))

    def note(directory: Path, name: str, text: str) -> None:
        assert (name, text) == ("cgroup.procs", "0")
        make(directory, processes=str(os.getpid()))
        places.append(directory)

    monkeypatch.setattr(systemd, "start_scope", start_scope)
    monkeypatch.setattr(kernel, "own", lambda: places[-1])
    monkeypatch.setattr(kernel, "write", note)
    assert cgroup.find(frozenset()) is None and asked == []
    base = cgroup.find(MEMORY)
    ((name, pid),) = asked
    assert pid == os.getpid() and name.startswith("rootless-") and name.endswith(".scope")
    assert base == Base(top / name, MEMORY, home=top / name / "monitor")


@unprivileged
def test_a_manager_that_refuses_leaves_all_as_it_was(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, pid: int) -> None:
        raise systemd.ManagerError("no")

    monkeypatch.setattr(systemd, "start_scope", refuse)
    live_in(monkeypatch, not_mine(top))
    assert cgroup.find(MEMORY) is None


# --- why not --------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "isdir", lambda path: False)


def test_a_machine_without_version_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "own", lambda: None)
    assert "no cgroup of version 2 can be seen here" in delegation.explain(MEMORY)
    assert "systemd.unified_cgroup_hierarchy=1" in delegation.explain(MEMORY)


def test_a_controller_that_version_two_does_not_have(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live_in(monkeypatch, make(top / "me"))
    assert "cgroup version 2 does not have io, net here" in delegation.explain(frozenset({"io", "net", "memory"}))


@unprivileged
@pytest.mark.usefixtures("no_systemd")
def test_the_administrator_s_line_without_systemd(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live_in(monkeypatch, not_mine(make(top / "me", has="memory", processes="1")))
    line = delegation.explain(BOTH)
    user = delegation._user()
    assert f"mkdir -p {top}/rootless-{user}/shell" in line
    assert f"chown -R {user} {top}/rootless-{user}" in line
    assert f"echo '+memory +pids' > {top}/cgroup.subtree_control" in line


@pytest.mark.usefixtures("no_systemd")
def test_what_the_user_can_do_alone(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = make(top / "me", has="memory", processes="1")
    live_in(monkeypatch, mine)
    line = delegation.explain(MEMORY)
    assert line.startswith(f"your cgroup {mine} has processes of its own; you can run: mkdir {mine}/shell")


def test_the_line_for_systemd(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live_in(monkeypatch, make(top / "me", has="memory"))
    monkeypatch.setattr(os.path, "isdir", lambda path: path == "/run/systemd/system")
    assert "loginctl enable-linger" in delegation.explain(MEMORY)
    monkeypatch.setattr(systemd, "sockets", lambda: [Path("/run/user/1000/systemd/private")])
    assert "Delegate=yes" in delegation.explain(MEMORY)


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_write_never_makes_a_file(tmp_path: Path) -> None:
    """In a directory that is a cgroup no more, a file would stay behind."""
    with pytest.raises(FileNotFoundError):
        kernel.write(tmp_path, "memory.max", "1")
    assert list(tmp_path.iterdir()) == []


def test_tables(tmp_path: Path) -> None:
    (tmp_path / "memory.events").write_text("low 0\noom_kill 3\nodd\nmax max\n")
    assert kernel.read_table(tmp_path, "memory.events") == {"low": 0, "oom_kill": 3}
    assert kernel.read_table(tmp_path, "absent") == {}
