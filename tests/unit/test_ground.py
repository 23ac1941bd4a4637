"""Making a change real while another process writes in the same directory: nothing outside is touched."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from rootless.fuse.layer import Layer, LayerSpec
from rootless.fuse.node import UPPER
from rootless.storage.belonging import LeftError
from rootless.storage.ground import Ground, Source

DRAFT = ".draft"


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    (tmp_path / "ground").mkdir()
    root = os.open(tmp_path / "ground", os.O_RDONLY | os.O_DIRECTORY)
    yield Ground(root, DRAFT.encode(), cross=False)
    os.close(root)


@pytest.fixture
def pipe(tmp_path: Path) -> Source:
    """A FIFO that everybody may write into."""
    upper = tmp_path / "upper"
    upper.mkdir()
    os.mkfifo(upper / "pipe")
    (upper / "pipe").chmod(0o666)
    layer = Layer(UPPER, LayerSpec(str(upper)))
    status = (upper / "pipe").stat()
    return Source(layer, layer.root, b"pipe", status, (os.getuid(), os.getgid()), 0o666)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("of the caller only\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("swap", [os.symlink, os.link])
@pytest.mark.parametrize("after", ["mkfifo", "open", "stat", "chown"])
def test_a_draft_that_is_swapped_lends_its_mode_to_nothing(
    ground: Ground,
    pipe: Source,
    secret: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    swap: Callable[[Path, Path], None],
    after: str,
) -> None:
    """Each point at which another process can put a name of a file outside in the draft's place, one by one."""
    draft = tmp_path / "ground" / DRAFT
    call = getattr(os, after)

    def then_swap(*args: object, **options: object) -> object:
        result = call(*args, **options)
        if os.path.lexists(draft) and stat.S_ISFIFO(os.lstat(draft).st_mode):
            draft.unlink()
            swap(secret, draft)
        return result

    monkeypatch.setattr(os, after, then_swap)
    before = secret.stat()
    with suppress(LeftError):
        ground.put(ground.root, b"pipe", pipe, None)
    monkeypatch.undo()
    now = secret.stat()
    assert (now.st_mode, now.st_uid, now.st_mtime_ns) == (before.st_mode, before.st_uid, before.st_mtime_ns)


def test_a_race_over_pipes(ground: Ground, pipe: Source, secret: Path, tmp_path: Path) -> None:
    """Another process swaps drafts as fast as it can; the file outside keeps mode and times, whoever wins."""
    before = secret.stat()
    racer = os.fork()
    if racer == 0:
        link, draft = str(tmp_path / "link"), str(tmp_path / "ground" / DRAFT)
        while True:  # ended by the signal below
            if not os.path.lexists(link):
                os.symlink(secret, link)
            if os.path.lexists(draft):
                os.rename(link, draft)
    try:
        for number in range(300):
            with suppress(LeftError, OSError):
                ground.put(ground.root, b"%d" % number, pipe, None)
            ground.sweep(ground.root)
    finally:
        os.kill(racer, signal.SIGKILL)
        os.waitpid(racer, 0)
    now = secret.stat()
    assert (now.st_mode, now.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


def test_a_directory_that_is_swapped_is_not_filled(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    other.chmod(0o755)
    mkdir = os.mkdir

    def then_swap(path: bytes, mode: int, *, dir_fd: int) -> None:
        mkdir(path, mode, dir_fd=dir_fd)
        os.rename(other, tmp_path / "ground" / DRAFT)

    monkeypatch.setattr(os, "mkdir", then_swap)
    with pytest.raises(LeftError):
        ground.make_directory(ground.root, b"new", None, lambda made: None)
    assert not (tmp_path / "ground" / "new").exists()


def test_a_pipe_and_a_link_become_what_they_are(ground: Ground, pipe: Source, tmp_path: Path) -> None:
    os.symlink("nowhere", tmp_path / "upper" / "link")
    os.utime(tmp_path / "upper" / "link", ns=(5, 7), follow_symlinks=False)
    status = os.lstat(tmp_path / "upper" / "link")
    ground.put(ground.root, b"pipe", pipe, None)
    ground.put(ground.root, b"link", pipe._replace(name=b"link", status=status), None)
    made = os.lstat(tmp_path / "ground" / "pipe")
    assert stat.S_ISFIFO(made.st_mode) and stat.S_IMODE(made.st_mode) == 0o666
    assert made.st_mtime_ns == pipe.status.st_mtime_ns
    assert os.readlink(tmp_path / "ground" / "link") == "nowhere"
    assert os.lstat(tmp_path / "ground" / "link").st_mtime_ns == 7
