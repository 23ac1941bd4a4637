"""Programs that trust a filesystem: make -j, git, sqlite with kills in both journal modes, package managers."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from tests.drivers.arena import Arena


def run(*command: str, cwd: str = ".") -> str:
    """A program's output; its failure is the test's."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
    return done.stdout


def write_project(top: str, files: int = 60) -> None:
    """A program of many C files, whose exit code is the number of them."""
    os.makedirs(f"{top}/project/src")
    for number in range(files):
        Path(f"{top}/project/src/f{number}.c").write_text(f"int f{number}(void) {{ return 1; }}\n")
    calls = " + ".join(f"f{number}()" for number in range(files))
    declarations = "".join(f"int f{number}(void);\n" for number in range(files))
    Path(f"{top}/project/src/main.c").write_text(f"{declarations}int main(void) {{ return {calls}; }}\n")
    Path(f"{top}/project/Makefile").write_text(
        "objects := $(patsubst src/%.c,build/%.o,$(wildcard src/*.c))\n"
        "program: $(objects)\n\tcc -o $@ $^\n"
        "build/%.o: src/%.c\n\t@mkdir -p build\n\tcc -c -o $@ $<\n"
    )


@pytest.mark.skipif(not shutil.which("make") or not shutil.which("cc"), reason="no C compiler and make")
def test_a_program_is_built(arena: Arena) -> None:
    arena.in_room(lambda: write_project("lower"))

    def work() -> int:
        run("make", "-j4", cwd="project")
        again = run("make", "-j4", cwd="project")
        assert "up to date" in again, "times are what make needs them to be"
        os.utime("project/src/f1.c")
        assert run("make", "-j4", cwd="project").count("cc -c") == 1
        return subprocess.run(["project/program"]).returncode

    assert arena.container("cow", work) == 60


@pytest.mark.skipif(not shutil.which("git"), reason="no git")
def test_git(arena: Arena) -> None:
    arena.in_room(lambda: write_project("lower", 300))
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]

    def work() -> None:
        os.environ["HOME"] = "/nonexistent"
        run("git", "init", "-q", "project")
        run(*git, "add", "-A", cwd="project")
        run(*git, "commit", "-q", "-m", "one", cwd="project")
        assert run("git", "status", "--porcelain", cwd="project") == ""
        run(*git, "checkout", "-q", "-b", "other", cwd="project")
        run(*git, "mv", "src", "source", cwd="project")
        Path("project/source/f1.c").write_text("changed\n")
        run(*git, "commit", "-q", "-a", "-m", "two", cwd="project")
        run(*git, "checkout", "-q", "-", cwd="project")
        assert Path("project/src/f1.c").read_text().startswith("int")
        run("git", "gc", "-q", cwd="project")
        run("git", "fsck", "--strict", cwd="project")
        run("git", "clone", "-q", "project", "copy")
        assert run("git", "-C", "copy", "status", "--porcelain") == ""

    arena.container("cow", work)
    arena.container("cow", lambda: run("git", "-C", "project", "fsck", "--strict"))


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_sqlite_survives_kills(arena: Arena, mode: str) -> None:
    """A writer killed in the middle of transactions that keep a sum: locks, journals and shared memory maps."""

    def writer() -> None:
        base = sqlite3.connect("bank.db", isolation_level=None)
        base.execute("pragma synchronous = off" if mode == "delete" else "pragma synchronous = normal")
        while True:
            base.execute("begin immediate")
            base.execute("update account set money = money - 1 where id = abs(random()) % 50")
            base.execute("update account set money = money + 1 where id = abs(random()) % 50")
            base.execute("insert into journal values (randomblob(500))")
            base.execute("commit")

    def work() -> None:
        base = sqlite3.connect("bank.db")
        assert base.execute(f"pragma journal_mode = {mode}").fetchone() == (mode,)
        base.execute("create table account (id integer primary key, money integer)")
        base.execute("create table journal (entry blob)")
        base.executemany("insert into account values (?, 100)", [(number,) for number in range(50)])
        base.commit()
        base.close()
        for _ in range(6):
            pids = []
            for _ in range(2):
                pid = os.fork()
                if pid == 0:
                    try:
                        writer()
                    finally:
                        os._exit(1)
                pids.append(pid)
            time.sleep(0.15)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            check()

    def check() -> None:
        base = sqlite3.connect("bank.db")
        assert base.execute("pragma integrity_check").fetchone() == ("ok",)
        assert base.execute("select sum(money) from account").fetchone() == (5000,)
        base.close()

    arena.container("cow", work)
    arena.container("cow", check)


def test_files_are_replaced_as_package_managers_do(arena: Arena) -> None:
    """As dpkg: a new file beside the old one, a hard link as a backup, rename, the backup away."""

    def make() -> None:
        os.makedirs("lower/usr/lib/package")
        for number in range(300):
            Path(f"lower/usr/lib/package/{number}").write_text("old")

    def work() -> None:
        for number in range(300):
            path = f"usr/lib/package/{number}"
            with open(f"{path}.dpkg-new", "w") as file:
                file.write("new")
                if number % 50 == 0:
                    os.fsync(file.fileno())
            os.link(path, f"{path}.dpkg-tmp")
            os.rename(f"{path}.dpkg-new", path)
            os.unlink(f"{path}.dpkg-tmp")
        directory = os.open("usr/lib/package", os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
        os.rename("usr/lib/package", "usr/lib/moved")

    def check() -> None:
        assert sorted(os.listdir("usr/lib/moved"), key=int) == [str(number) for number in range(300)]
        assert {path.read_text() for path in Path("usr/lib/moved").iterdir()} == {"new"}

    arena.in_room(make)
    arena.container("cow", work)
    arena.container("cow", check)
