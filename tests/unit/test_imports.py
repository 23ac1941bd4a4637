"""What listing and starting must not import: trio costs more than the whole start of a container."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("trio", "rich", "ssl", "subprocess", "tarfile", "asyncio", "pyfuse3")


def imported(statement: str) -> set[str]:
    script = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module", ["ps", "images", "inspect", "rm", "rmi", "run", "pull", "push", "save", "login", "system_df"]
)
def test_commands_stay_light(module: str) -> None:
    assert imported(f"import rootless.cli.main; import rootless.cli.{module}").isdisjoint(HEAVY)


RUN = (
    "import rootless.cli.main, rootless.cli.run, rootless.container.lifecycle, rootless.runtime.attach, "
    "rootless.network.pasta, rootless.network.hosts"
)


def test_the_path_of_run_up_to_pid_one_is_without_trio() -> None:
    assert imported(RUN).isdisjoint(("trio", "rich", "ssl", "asyncio", "pyfuse3"))


def test_the_path_of_run_compiles_no_dataclass() -> None:
    """Each takes half a millisecond at every start; a msgspec.Struct a hundredth of that."""
    found = (
        "[c for m in list(sys.modules.values()) if m.__name__.startswith('rootless') for c in vars(m).values()"
        " if isinstance(c, type) and '__dataclass_fields__' in vars(c)]"
    )
    script = f"import sys; {RUN}; print({found})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "modules",
    [
        "rootless.cli.exec_, rootless.container.exec, rootless.container.store, rootless.runtime.execkeeper",
        "rootless.cli.stop, rootless.container.operate",
    ],
    ids=["exec", "stop"],
)
def test_what_enters_or_ends_a_container_imports_nothing_of_a_start(modules: str) -> None:
    found = imported(f"import rootless.cli.main, {modules}")
    rooms = ("rootless.image", "rootless.volumes", "rootless.network", "rootless.container.lifecycle", "hashlib")
    assert [name for name in found if name.startswith(rooms)] == []


def test_a_start_imports_nothing_of_what_makes_a_container() -> None:
    found = imported("import rootless.cli.main, rootless.cli.start, rootless.container.starting")
    rooms = ("rootless.image", "rootless.volumes", "rootless.container.lifecycle", "rootless.container.spec", "hashlib")
    assert [name for name in found if name.startswith(rooms)] == []


def test_the_kernel_package_is_a_leaf() -> None:
    statement = "import rootless.kernel.libc, rootless.kernel.mount, rootless.kernel.namespaces, rootless.kernel.fs"
    ours = {name for name in imported(statement) if name.startswith("rootless.")}
    assert {name.split(".")[1] for name in ours} == {"kernel"}
