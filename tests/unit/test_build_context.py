"""The context of a build: directories, archives, a Dockerfile alone; which Dockerfile and which .dockerignore count."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import time
from pathlib import Path

import pytest
import zstandard

from rootless.build.archives import is_archive
from rootless.build.context import open_context
from rootless.build.selection import select
from rootless.errors import InvalidError, NotFoundError, RootlessError

DOCKERFILE = b"FROM scratch\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "context"
    (root / "sub").mkdir(parents=True)
    (root / "Dockerfile").write_bytes(DOCKERFILE)
    (root / "a.txt").write_text("a")
    (root / "sub/b.txt").write_text("b")
    return root


def packed(root: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(root, arcname=".")
    return buffer.getvalue()


def found(
    context: str | Path, tmp_path: Path, *, file: str | Path = "", stdin: bytes | None = None
) -> tuple[bytes, str, list[str]]:
    """The Dockerfile, its name, and the files in the context."""
    stream = io.BytesIO(stdin) if stdin is not None else None
    with open_context(str(context), file=str(file), stdin=stream, directory=tmp_path) as opened:
        (match,) = select(opened.tree, ["."])
        return opened.dockerfile, opened.file, [selected.path for selected in match.files]


def test_a_directory(root: Path, tmp_path: Path) -> None:
    expected = ["Dockerfile", "a.txt", "sub", "sub/b.txt"]
    assert found(root, tmp_path) == (DOCKERFILE, f"{root}/Dockerfile", expected)


def test_a_dockerfile_of_another_name(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "My.dockerfile"
    outside.write_bytes(b"FROM other\n")
    assert found(root, tmp_path, file=outside)[:2] == (b"FROM other\n", str(outside))


@pytest.mark.parametrize("name", ["dockerfile", "Containerfile"])
def test_other_usual_names(root: Path, tmp_path: Path, name: str) -> None:
    (root / "Dockerfile").rename(root / name)
    assert found(root, tmp_path)[1] == f"{root}/{name}"


def test_a_dockerfile_from_standard_input(root: Path, tmp_path: Path) -> None:
    (root / ".dockerignore").write_text("sub\n")
    dockerfile, name, files = found(root, tmp_path, file="-", stdin=b"FROM x\n")
    assert (dockerfile, name, files) == (b"FROM x\n", "-", [".dockerignore", "Dockerfile", "a.txt"])


def test_a_dockerfile_alone(tmp_path: Path) -> None:
    assert found("-", tmp_path, stdin=b"FROM x\n") == (b"FROM x\n", "-", [])
    with (
        open_context("-", stdin=io.BytesIO(DOCKERFILE), directory=tmp_path) as opened,
        pytest.raises(NotFoundError, match="the context is empty when the Dockerfile comes from standard input alone"),
    ):
        select(opened.tree, ["a.txt"])


COMPRESSIONS = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
    "two xz streams": lambda data: lzma.compress(data[:1000]) + b"\0\0\0\0" + lzma.compress(data[1000:]),
    "two bzip2 streams": lambda data: bz2.compress(data[:1000]) + bz2.compress(data[1000:]),
}


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_an_archive(root: Path, tmp_path: Path, name: str) -> None:
    data = COMPRESSIONS[name](packed(root))
    expected = ["Dockerfile", "a.txt", "sub", "sub/b.txt"]
    assert found("-", tmp_path, stdin=data) == (DOCKERFILE, "Dockerfile", expected)
    (tmp_path / "archive").write_bytes(data)
    assert found(tmp_path / "archive", tmp_path) == (DOCKERFILE, "Dockerfile", expected)
    assert is_archive(io.BytesIO(data))


def test_the_dockerfile_of_an_archive_is_in_it(root: Path, tmp_path: Path) -> None:
    (root / "sub/D").write_bytes(b"FROM d\n")
    (root / "sub/D.dockerignore").write_bytes(b"*\n!a*\n")
    (root / ".dockerignore").write_bytes(b"a*\n")
    assert found("-", tmp_path, file="sub/D", stdin=packed(root)) == (b"FROM d\n", "sub/D", ["a.txt"])


def test_dockerignore(root: Path, tmp_path: Path) -> None:
    (root / ".dockerignore").write_text("**/*.txt\n!a.txt\n.dockerignore\nDockerfile\n")
    assert found(root, tmp_path) == (DOCKERFILE, f"{root}/Dockerfile", ["a.txt", "sub"])


def test_a_dockerfiles_own_dockerignore_goes_before(root: Path, tmp_path: Path) -> None:
    (root / ".dockerignore").write_text("a.txt\n")
    (root / "Dockerfile.dockerignore").write_text("sub\n")
    assert found(root, tmp_path)[2] == [".dockerignore", "Dockerfile", "Dockerfile.dockerignore", "a.txt"]


def test_a_context_by_way_of_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert found(tmp_path / "link", tmp_path)[2] == ["Dockerfile", "a.txt", "sub", "sub/b.txt"]


def refused(context: str | Path, tmp_path: Path, file: str | Path = "", stdin: bytes | None = None) -> RootlessError:
    with pytest.raises(RootlessError) as caught:
        found(context, tmp_path, file=file, stdin=stdin)
    return caught.value


def test_no_dockerfile(root: Path, tmp_path: Path) -> None:
    (root / "Dockerfile").unlink()
    problem = refused(root, tmp_path)
    assert isinstance(problem, NotFoundError)
    assert str(problem) == (
        f"failed to read dockerfile: open {root}/Dockerfile: no such file or directory; -f names another one"
    )
    problem = refused("-", tmp_path, stdin=packed(root))
    assert str(problem).startswith("failed to read dockerfile: open Dockerfile: no such file in the archive")
    assert "open x: no such file or directory" in str(refused(root, tmp_path, file="x"))
    assert "is a directory" in str(refused(root, tmp_path, file=root / "sub"))


def test_no_context(tmp_path: Path) -> None:
    missing = refused(tmp_path / "missing", tmp_path)
    assert isinstance(missing, NotFoundError) and missing.exit_code == 1 and "unable to prepare context" in str(missing)
    os.mkfifo(tmp_path / "pipe")
    assert "context must be a directory" in str(refused(tmp_path / "pipe", tmp_path))
    (tmp_path / "text").write_text("FROM x\n")
    assert "is neither" in str(refused(tmp_path / "text", tmp_path))
    assert "is neither" in str(refused("-", tmp_path, file="x", stdin=b"FROM x\n"))
    assert "can't use stdin for both" in str(refused("-", tmp_path, file="-", stdin=b""))
    assert "a context is a directory" in str(refused("https://example.com/x.git", tmp_path))
    assert "a context is a directory" in str(refused("git@example.com:x.git", tmp_path))
    assert "standard input is closed" in str(refused("-", tmp_path))


def test_damaged_archives(root: Path, tmp_path: Path) -> None:
    for compress in gzip.compress, bz2.compress, lzma.compress, zstandard.compress:
        data = compress(packed(root))
        assert isinstance(refused("-", tmp_path, stdin=data[:-20]), InvalidError)
        middle = len(data) // 2
        assert isinstance(refused("-", tmp_path, stdin=data[:middle] + b"garbage" + data[middle:]), InvalidError)
    assert not is_archive(io.BytesIO(b"FROM scratch\n" * 100))
    assert not is_archive(io.BytesIO(gzip.compress(b"FROM scratch\n" * 100)))
    assert not is_archive(io.BytesIO(b""))


def test_an_xz_stream_that_wants_all_memory() -> None:
    huge = lzma.compress(b"x" * 1000, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}])
    assert not is_archive(io.BytesIO(huge))


def test_a_dockerfile_that_is_none(root: Path, tmp_path: Path) -> None:
    with (root / "Dockerfile").open("wb") as file:
        file.truncate(1 << 30)
    assert "is larger than" in str(refused(root, tmp_path))
    (root / "Dockerfile").write_bytes(DOCKERFILE)
    with (root / ".dockerignore").open("wb") as file:
        file.truncate(1 << 30)
    assert ".dockerignore is larger than" in str(refused(root, tmp_path))


def test_a_dockerfile_that_may_not_be_read(root: Path, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (root / "Dockerfile").chmod(0)
    assert "no permission to read from '/Dockerfile'" in str(refused(root, tmp_path))


@pytest.mark.long
def test_a_hundred_thousand_files(tmp_path: Path) -> None:
    """Walking looks at each file once and reads none: seconds, where reading takes much longer."""
    root = tmp_path / "context"
    for directory in range(100):
        (root / f"d{directory}").mkdir(parents=True)
        for number in range(1000):
            (root / f"d{directory}/{number}").touch()
    (root / "Dockerfile").write_bytes(DOCKERFILE)
    (root / ".dockerignore").write_bytes(b"*.tmp\n**/*.o\nd1/1*\n")
    started = time.process_time()
    files = found(root, tmp_path)[2]
    took = time.process_time() - started
    print(f"{len(files)} files in {took:.1f} s")
    assert len(files) == 100 * 1000 + 100 + 2 - 111
    assert took < 60
