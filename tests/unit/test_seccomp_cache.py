"""The cache of compiled seccomp filters: what makes an entry, and what becomes of a bad one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rootless.container.capabilities import DEFAULT
from rootless.errors import InvalidError, NotFoundError, RootlessError, UnavailableError
from rootless.kernel import seccomp as kernel
from rootless.kernel.caps import Cap
from rootless.paths import Paths
from rootless.runtime import seccomp
from tests.unit.filters import profile


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = Paths(store=tmp_path / "store", run=tmp_path / "run")
    found.tmp.mkdir(parents=True)
    return found


def cached(paths: Paths) -> list[Path]:
    return sorted((paths.cache / "seccomp").iterdir())


def test_a_hit_loads_neither_the_library_nor_the_compiler(paths: Paths) -> None:
    """On the way of every start: a fresh interpreter gets the filter from one file, with nothing heavy imported."""
    made = seccomp.prepare(None, DEFAULT, paths)
    compiler = "rootless.runtime.seccomp_compile"
    code = (
        "import sys; from pathlib import Path; from rootless.paths import Paths;"
        "from rootless.runtime import seccomp; from rootless.container.capabilities import DEFAULT;"
        f"f = seccomp.prepare(None, DEFAULT, Paths(store=Path({os.fspath(paths.store)!r}), run=Path('/nowhere')));"
        f"print(len(f.program), f.flags, {compiler!r} in sys.modules, 'libseccomp' in open('/proc/self/maps').read())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout.split() == [str(len(made.program)), str(made.flags), "False", "False"]


def test_equal_questions_get_one_entry(paths: Paths) -> None:
    """What goes into the name of an entry: profile and capabilities, both to the letter."""
    first = seccomp.prepare(None, DEFAULT, paths)
    assert seccomp.prepare(None, frozenset(sorted(DEFAULT)), paths) == first
    assert seccomp.prepare(seccomp.builtin(), DEFAULT, paths) == first
    assert len(cached(paths)) == 1
    assert seccomp.prepare(None, DEFAULT | {Cap.CAP_SYS_ADMIN}, paths) != first
    assert seccomp.prepare(seccomp.builtin() + b"\n", DEFAULT, paths) == first
    assert len(cached(paths)) == 3


def test_another_library_or_kernel_compiles_anew(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store on a shared home serves several machines: each must read its own."""
    seccomp.prepare(None, DEFAULT, paths)
    monkeypatch.setattr(seccomp, "_library_identity", lambda: "another")
    seccomp.prepare(None, DEFAULT, paths)
    monkeypatch.setattr(seccomp, "_kernel_version", lambda: (4, 7))
    seccomp.prepare(None, DEFAULT, paths)
    assert len(cached(paths)) == 3


@pytest.mark.parametrize("damage", [b"", b"seccomp1", b"seccomp0" + b"\0" * 20, b"seccomp1" + b"\0" * 15])
def test_a_damaged_entry_is_made_again(paths: Paths, damage: bytes) -> None:
    """The cache is no truth: what can't be an entry counts as a miss."""
    made = seccomp.prepare(None, DEFAULT, paths)
    cached(paths)[0].write_bytes(damage)
    assert seccomp.prepare(None, DEFAULT, paths) == made
    assert len(cached(paths)[0].read_bytes()) == 12 + len(made.program)


def test_a_cache_that_can_not_be_written_costs_only_time(paths: Paths) -> None:
    """A full or read-only disk keeps no container from starting for want of a cache."""
    paths.cache.write_text("in the way")
    assert seccomp.prepare(None, DEFAULT, paths).program
    assert list(paths.tmp.iterdir()) == []


def test_old_entries_go(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kernel update leaves entries behind; the newest are kept."""
    monkeypatch.setattr(seccomp, "_KEEP", 2)
    made: list[Path] = []
    for cap in (Cap.CAP_BPF, Cap.CAP_SYSLOG, Cap.CAP_SYS_ADMIN):
        before = cached(paths) if made else []
        seccomp.prepare(None, frozenset({cap}), paths)
        made += [entry for entry in cached(paths) if entry not in before]
    assert cached(paths) == sorted(made[1:])


def test_without_the_library(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told what to install, or how to do without; a filter that is cached needs no library."""
    made = seccomp.prepare(None, DEFAULT, paths)

    def missing() -> tuple[int, int, int]:
        raise OSError("libseccomp.so.2: cannot open shared object file")

    monkeypatch.setattr(kernel, "version", missing)
    assert seccomp.prepare(None, DEFAULT, paths) == made
    with pytest.raises(UnavailableError, match=r"install libseccomp2, or run with --security-opt seccomp=unconfined"):
        seccomp.prepare(None, frozenset(), paths)


def test_read_profile(tmp_path: Path) -> None:
    """A file of the caller's comes back to the letter; anything else is one clear line, and nothing waits."""
    good = tmp_path / "good.json"
    good.write_bytes(profile())
    assert seccomp.read_profile(good) == profile()
    with pytest.raises(NotFoundError, match="no such file"):
        seccomp.read_profile(tmp_path / "none.json")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "huge").write_bytes(b" " * (1 << 20) + b"{}")
    (tmp_path / "bad").write_bytes(b"{}")
    for name in ("fifo", "huge", "bad", "."):
        with pytest.raises(InvalidError, match="seccomp profile"):
            seccomp.read_profile(tmp_path / name)


def test_an_unknown_machine(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Better no container than one whose filter was made for another machine's numbers."""
    monkeypatch.setattr(seccomp, "_MACHINES", {})
    with pytest.raises(RootlessError, match="seccomp=unconfined"):
        seccomp.prepare(None, DEFAULT, paths)
