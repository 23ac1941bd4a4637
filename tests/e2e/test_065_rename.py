"""`rootless rename`."""

from __future__ import annotations

from tests.conftest import Rootless

IMAGE = "busybox:latest"


def test_a_running_container_is_renamed_and_goes_on(rootless: Rootless) -> None:
    """Its monitor knows only the old name, and must still be able to end and remove it."""
    container_id = rootless.ok("run", "-d", "--rm", "--name", "old", IMAGE, "sleep", "60").strip()
    assert rootless.ok("rename", "old", "new") == ""
    assert (
        rootless.ok("ps", "--no-trunc", "--format", "{{.Names}} {{.ID}} {{.State}}") == f"new {container_id} running\n"
    )
    assert rootless("inspect", "old").returncode == 1
    rootless.ok("run", "--rm", "--name", "old", IMAGE, "true")
    rootless.ok("rm", "-f", "new")
    assert rootless.ok("ps", "-aq") == ""


def test_errors_are_dockers(rootless: Rootless) -> None:
    rootless.ok("run", "--name", "one", IMAGE, "true")
    two = rootless.ok("run", "-d", "--name", "two", IMAGE, "true").strip()

    def refused(*names: str) -> str:
        done = rootless("container", "rename", *names)
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
        return done.stderr.decode()

    assert f'Conflict. The container name "/two" is already in use by container "{two}"' in refused("one", "two")
    assert "Renaming a container with the same name as its current name" in refused("one", "/one")
    assert "Invalid container name (b@d), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed" in refused("one", "b@d")
    assert "No such container: three" in refused("three", "four")
    assert "Neither old nor new names may be empty" in refused("one", " ")
    assert "requires 2 arguments" in refused("one")
    assert rootless.ok("ps", "-a", "--format", "{{.Names}}") == "two\none\n"
    rootless.ok("rm", "-f", "one", "two")
