"""A container's log on a disk that is full: a real one, made for the purpose."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rootless.kernel import mount, namespaces
from rootless.runtime.log_reader import LogReader, Part
from rootless.runtime.logs import LogOptions, LogWriter


def on_a_small_disk(directory: Path) -> None:
    """Give the calling process a file system of 64 kB at `directory` that nobody else sees."""
    uid, gid = os.getuid(), os.getgid()
    namespaces.unshare(namespaces.CLONE_NEWUSER | namespaces.CLONE_NEWNS)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    mount.mount("tmpfs", str(directory), "tmpfs", 0, "size=64k")


@pytest.mark.parametrize("options", [LogOptions(), LogOptions(max_size=20_000, max_files=50)], ids=["one", "many"])
def test_a_full_disk(tmp_path: Path, options: LogOptions) -> None:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            on_a_small_disk(tmp_path)
            fill(tmp_path, options)
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def fill(directory: Path, options: LogOptions) -> None:
    told: list[str] = []
    ballast = directory / "ballast"
    ballast.write_bytes(b"x" * 16384)
    writer = LogWriter(directory / "log", options, tell=lambda message: told.append(message) is None)
    for number in range(1000):
        writer.write(1, b"line %d\n" % number)
    assert told == ["the container's log can't be written (No space left on device): its output is lost"]
    lost = writer.lost
    assert 0 < lost < 1000
    ballast.unlink()
    writer.write(1, b"there is room again\n")
    writer.close()
    assert told[1:] == [f"the container's log is written again; {lost} lines were lost"]
    reader = LogReader(directory / "log", Part())
    kept = [entry.log for entry in reader.read()]
    assert kept == [*(f"line {n}\n" for n in range(1000 - lost)), "there is room again\n"]
    assert reader.damaged == 0
