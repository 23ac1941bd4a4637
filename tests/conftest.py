"""What every test of the real engine needs: a store, the command, a small image, and the check that nothing is left."""

from __future__ import annotations

import faulthandler
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from rootless.idmap import detect
from rootless.paths import Paths, locate
from tests.waiting import nothing

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background of a shell: children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

CHECKOUT = Path(__file__).parent.parent
LONG = 4 * 3600
"""Seconds after which a long test hangs."""

GRACE = 30.0
"""Seconds in which what a test has ended may still be on its way out, on a busy machine too."""


@dataclass(frozen=True)
class Rootless:
    """The command as a user runs it, on a store of the test session's own."""

    root: Path

    @property
    def paths(self) -> Paths:
        return locate(str(self.root))

    @property
    def environment(self) -> dict[str, str]:
        # COVERAGE and the like may stay; what would move the store may not.
        found = {**os.environ, "ROOTLESS_ROOT": str(self.root), "PYTHONPATH": str(CHECKOUT)}
        if "PYTHONPYCACHEPREFIX" not in found:
            found["PYTHONDONTWRITEBYTECODE"] = "1"  # nothing is left in the checkout
        return found

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "rootless", *words]

    def __call__(
        self, *words: str, stdin: bytes | None = None, timeout: float = 60, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the command to its end, with an empty standard input unless one is given."""
        return subprocess.run(
            self.argv(*words),
            input=stdin if stdin is not None else b"",
            capture_output=True,
            env=self.environment | (env or {}),
            timeout=timeout,
            check=False,
        )

    def popen(self, *words: str, **options: object) -> subprocess.Popen[bytes]:
        """Start the command and go on."""
        return subprocess.Popen(self.argv(*words), env=self.environment, **options)  # type: ignore[call-overload,no-any-return]

    def ok(self, *words: str, stdin: bytes | None = None) -> str:
        """Run the command, demand success, give its standard output."""
        done = self(*words, stdin=stdin)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stderr.decode()}"
        return done.stdout.decode()

    def containers(self) -> list[str]:
        try:
            return [name for name in os.listdir(self.paths.containers) if not name.startswith(".")]
        except FileNotFoundError:
            return []

    def remains(self) -> list[str]:
        """What should not be there between two tests. It may still be on its way out: see `nothing_remains`."""
        found = [f"containers/{name}" for name in self.containers()]
        for directory in self.paths.names, self.paths.tmp:
            if directory.exists():
                found += [str(path) for path in directory.iterdir()]
        if self.paths.run.exists():
            found += [
                str(p) for p in self.paths.run.iterdir() if p.name not in ("rooms", "said-one-id", "events", "events.1")
            ]
            found += [str(p) for p in self.paths.rooms.glob("*/*")]
        return found

    def nothing_remains(self) -> None:
        """Demand that nothing is left, once what was ended has had its time."""
        left = nothing(self.remains, GRACE)
        assert not left, "left behind:\n" + "\n".join(left)


@pytest.fixture(autouse=True)
def _more_time(request: pytest.FixtureRequest) -> None:
    """The limit after which a hang shows its stacks is not for tests that are meant to take long."""
    if request.node.get_closest_marker("long") is not None:
        faulthandler.dump_traceback_later(LONG, exit=True)


@pytest.fixture(scope="session")
def session_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store") / "s"


@pytest.fixture(scope="session")
def busybox_tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root file system of a small image, as a tar."""
    path = tmp_path_factory.mktemp("image") / "busybox.tar"
    with path.open("wb") as file:
        made = subprocess.run(
            [CHECKOUT / "scripts/lib/busybox-image"], stdout=file, stderr=subprocess.PIPE, check=False
        )
    if made.returncode:
        pytest.skip(f"no image can be made: {made.stderr.decode().strip()}")
    return path


@pytest.fixture(scope="session")
def _store_with_image(session_root: Path, busybox_tar: Path) -> Rootless:
    engine = Rootless(session_root)
    engine.ok("import", "-c", 'CMD ["/bin/sh"]', str(busybox_tar), "busybox:latest")
    return engine


@pytest.fixture
def rootless(_store_with_image: Rootless) -> Iterator[Rootless]:
    """The command, with the image busybox:latest in its store; afterwards nothing of the test may be left."""
    yield from leaving_nothing(_store_with_image)


def leaving_nothing(engine: Rootless) -> Iterator[Rootless]:
    """The engine for as long as a fixture lasts; then there may be no container, process, mount or file of it left."""
    processes, mounts = _processes(), _mounts(engine)
    yield engine

    def remains() -> list[str]:
        left = engine.remains()
        left += [f"process {key[0]}: {command}" for key, command in _processes().items() if key not in processes]
        return left + [f"mount {line}" for line in _mounts(engine) - mounts]

    left = nothing(remains, GRACE)
    for name in engine.containers():  # or every test after this one would fail as well
        engine("rm", "-f", name)
    assert not left, "left behind:\n" + "\n".join(left)


@pytest.fixture(params=["overlay", "cow", "fuse-overlayfs"])
def driver(request: pytest.FixtureRequest) -> str:
    """Each storage driver; a skip names what one lacks here."""
    name: str = request.param
    if name != "overlay" and not os.access("/dev/fuse", os.W_OK):
        pytest.skip("/dev/fuse may not be opened")
    if name == "cow" and find_spec("pyfuse3") is None:
        pytest.skip("pyfuse3 is not installed")
    if name == "fuse-overlayfs" and shutil.which(name) is None:
        pytest.skip("fuse-overlayfs is not installed")
    return name


def _mounts(engine: Rootless) -> set[str]:
    ours = (str(engine.root), str(engine.paths.run))
    return {
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if any(path in line for path in ours)
    }


def _processes() -> dict[tuple[int, int], str]:
    """(pid, start time) to command line of the processes that run the engine or live in other namespaces.

    Of the account's all; beside other workers of one test run only the descendants of this worker's nursery
    (scripts/lib/nursery), which takes in whoever loses its parent.
    """
    ours = _namespaces("self")
    uids = {uid for extent in detect().uids for uid in range(extent.outside, extent.outside + extent.count)}
    parents, found = {}, {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            stat = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            parents[int(entry.name)] = int(stat[1])
            if _uid(entry) not in uids | {os.getuid()}:
                continue  # other people's
            # Of a helper of a network, which is undumpable, nobody may see the namespaces.
            helper = os.path.basename(command.partition(" ")[0]) in ("pasta", "slirp4netns")
            if helper or "-m rootless" in command or _namespaces(entry.name) != ours:
                found[int(entry.name), int(stat[19])] = command
        except OSError:
            continue
    nursery = os.environ.get("ROOTLESS_TEST_NURSERY")
    if nursery is None:
        return found
    return {key: command for key, command in found.items() if int(nursery) in _ancestors(key[0], parents)}


def _ancestors(pid: int, parents: dict[int, int]) -> set[int]:
    found: set[int] = set()
    while pid in parents and pid not in found:
        found.add(pid)
        pid = parents[pid]
    return found


def _uid(entry: Path) -> int:
    return int(next(line for line in (entry / "status").read_text().splitlines() if line.startswith("Uid:")).split()[1])


def _namespaces(pid: str) -> Sequence[str]:
    return [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("user", "pid", "mnt")]
