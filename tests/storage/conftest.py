"""A store of a test's own with a real room, a way to unpack an archive into it, and a look at what came out."""

from __future__ import annotations

import io
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rootless import idmap as idmaps
from rootless import room
from rootless.idmap import IdMap
from rootless.paths import Paths
from rootless.storage import ownerfile, unpacking
from rootless.storage.layers import Layers
from rootless.storage.owners import OVERRIDE
from rootless.storage.remove import remove_tree


@pytest.fixture(scope="session")
def idmap() -> IdMap:
    found = idmaps.detect()
    if found.single:
        pytest.skip(f"no subordinate ids: {found.reason}")
    return found


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Paths]:
    """A store and a run directory; afterwards both are removed, with whatever subordinate ids own in them."""
    base = tmp_path
    if os.geteuid() == 0:  # container root is another user then, and looks at what it made by its path
        base = Path(tempfile.mkdtemp(prefix="rootless-test-"))
        base.chmod(0o755)
    found = Paths(store=base / "s", run=base / "r")
    found.tmp.mkdir(parents=True)
    found.tmp.chmod(0o700)
    yield found
    remove_tree(found.store, lambda: room.open_room(found, idmaps.detect()))
    for path in base.iterdir():
        remove_tree(path, lambda: -1)
    base.rmdir()


@pytest.fixture(scope="session")
def room_fd(tmp_path_factory: pytest.TempPathFactory, idmap: IdMap) -> Iterator[int]:
    """One room for all tests that need one only to work in."""
    run = tmp_path_factory.mktemp("run") / "r"
    fd = room.open_room(Paths(store=run, run=run), idmap)
    yield fd
    os.close(fd)


@dataclass(frozen=True)
class File:
    """What a container would see of a file, whichever kind of layer it lies in.

    Attributes:
        link: a symbolic link's target, or for a regular file that has several names the first of them.
        content: of a regular file; None for a whiteout.
    """

    kind: str
    mode: int
    uid: int
    gid: int
    mtime: int
    content: bytes | None = b""
    link: str = ""
    xattrs: tuple[tuple[str, bytes], ...] = ()
    opaque: bool = False


Tree = dict[str, File]
KINDS_OF_FILES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "pipe",
    stat.S_IFCHR: "char",
}


class Unpacked:
    """A layer that was unpacked: where, and how its files' owners are to be read."""

    def __init__(self, path: Path, kind: str, inside: Callable[[Callable[[], Any]], Any]) -> None:
        self.path = path
        self.kind = kind
        self.inside = inside

    def tree(self) -> Tree:
        """All files by path; the root is "."."""
        found: Tree = self.inside(lambda: _walk(self.path, self.kind))
        return found

    @property
    def owner_file(self) -> Path:
        return self.path.with_suffix(".owners")


def _walk(root: Path, kind: str) -> Tree:
    records = ownerfile.load(root.with_suffix(".owners")) if kind == "owned" else {}
    seen: dict[int, str] = {}
    tree = {".": _look(root, root, kind, records, seen)}
    for above, directories, files in os.walk(root):
        for name in sorted(directories + files):
            path = Path(above, name)
            tree[str(path.relative_to(root))] = _look(path, root, kind, records, seen)
    return tree


def _look(path: Path, root: Path, kind: str, records: dict[bytes, Any], seen: dict[int, str]) -> File:
    status = path.lstat()
    name = str(path.relative_to(root))
    first = seen.setdefault(status.st_ino, name)
    link = os.readlink(path) if path.is_symlink() else first if first != name else ""
    what = KINDS_OF_FILES[stat.S_IFMT(status.st_mode)]
    if what == "char" and status.st_rdev == 0:
        return File("whiteout", 0, 0, 0, 0, None)
    owner = status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), what
    xattrs = {} if path.is_symlink() else {n: os.getxattr(path, n) for n in os.listxattr(path)}
    if kind == "owned":
        assert (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid()), f"{name} is not the caller's"
        record = records.get(os.fsencode(name))
        if OVERRIDE in xattrs:
            record = ownerfile.OwnerRecord.parse(xattrs.pop(OVERRIDE))
        owner = record[:4] if record else (0, 0, owner[2], what)
        xattrs = {n.removeprefix("user.rootless."): v for n, v in xattrs.items()}
    opaque = xattrs.pop("user.overlay.opaque", b"") == b"y"
    return File(
        kind=owner[3],
        mode=owner[2],
        uid=owner[0],
        gid=owner[1],
        mtime=status.st_mtime_ns,
        content=path.read_bytes() if what == "file" else None,
        link=link,
        xattrs=tuple(sorted(xattrs.items())),
        opaque=opaque,
    )


Unpack = Callable[..., Unpacked]


@pytest.fixture
def unpack(paths: Paths, idmap: IdMap, room_fd: int) -> Unpack:
    """Unpack an archive as a layer: `unpack(data, kind, lower=[...])`, the lower layers top first."""
    count = iter(range(1000))

    def inside(work: Callable[[], Any]) -> Any:
        return room.call(room_fd, work)

    def here(work: Callable[[], Any]) -> Any:
        return work()

    def run(data: bytes, kind: str, lower: Sequence[Unpacked] = ()) -> Unpacked:
        path = paths.store / f"layer{next(count)}"
        path.mkdir(mode=0o755)
        if kind == "mapped" and os.geteuid() == 0:
            os.chown(path, idmap.uids[0].outside, idmap.gids[0].outside)
        with ExitStack() as opened:
            fds = [os.open(p, os.O_PATH) for p in (path, *(layer.path for layer in lower))]
            for fd in fds:
                opened.callback(os.close, fd)
            job = unpacking.Job(io.BytesIO(data), fds[0], fds[1:], "sha256")
            if kind == "mapped":
                inside(lambda: unpacking.mapped(job, idmap))
            else:
                _, records = unpacking.owned(job, [layer.owner_file for layer in lower])
                path.with_suffix(".owners").write_bytes(records)
        return Unpacked(path, kind, inside if kind == "mapped" else here)

    return run


@pytest.fixture
def layers(paths: Paths, idmap: IdMap) -> Layers:
    return Layers(paths, idmap)
