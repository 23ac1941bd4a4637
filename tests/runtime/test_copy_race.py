"""The side of `cp` that works inside a container, in a tree where somebody exchanges directories for links meanwhile.

tests/e2e/test_081_cp.py does the same with the whole of `cp`; here thousands of tries take seconds.
"""

from __future__ import annotations

import io
import os
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest

from rootless import child
from rootless.container import copypaths
from rootless.errors import NotFoundError, RootlessError
from rootless.storage.extract import Extractor, Policy
from rootless.storage.pack import pack
from rootless.storage.tarstream import TarStream
from tests.swapper import own_namespaces, swapping


def race(tmp_path: Path, tries: int) -> tuple[int, int]:
    """(how many archives were read, how many were written) of as many tries of each."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "d").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret").write_text("of the host's")
    with swapping(root, outside):
        read, written = child.call(lambda: _copy_often(root, tries), "the one that copies")
    assert os.listdir(outside) == ["secret"] and (outside / "secret").read_text() == "of the host's"
    return read, written


def _copy_often(root: Path, tries: int) -> tuple[int, int]:
    own_namespaces()
    os.chroot(root)
    os.chdir("/")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as file:
        entry = tarfile.TarInfo("secret")
        entry.size = 3
        file.addfile(entry, io.BytesIO(b"new"))
    read = written = 0
    for _ in range(tries):
        with suppress(RootlessError, OSError):
            data = _packed("/d/x/.")
            assert b"of the host" not in data
            read += 1
        with suppress(RootlessError, OSError):
            target = copypaths.target("/d/x/secret", b"secret", is_directory=False)
            fd = os.open(target.directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                content = archive.getvalue()
                Extractor(fd, Policy((0, 0), follow=True), target.rename).run(TarStream(iter([content])))
            finally:
                os.close(fd)
            written += 1
    return read, written


def _packed(path: str) -> bytes:
    source = copypaths.source(path, lambda problem: NotFoundError(str(problem)), follow=True)
    sink = io.BytesIO()
    try:
        pack(source.place, source.top, sink)
    finally:
        os.close(source.place.directory)
    return sink.getvalue()


def test_a_directory_that_becomes_a_link_meanwhile(tmp_path: Path) -> None:
    read, written = race(tmp_path, 300)
    assert read and written, "the race was never won"  # how often depends on what else the machine does


@pytest.mark.long
def test_ten_thousand_tries(tmp_path: Path) -> None:
    read, written = race(tmp_path, 5_000)
    print(f"{read} of 5000 read, {written} of 5000 written")
    assert read > 50 and written > 50
