"""Where things lie: the store that lasts, and the run directory that a reboot may take away.

The layout is drawn in docs/decisions/0004-store-format.md; the names of everything on disk are spelled here and
nowhere else.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from .errors import StoreError, UnavailableError
from .hashes import sha256
from .kernel.process import boot_id

FORMAT = 1
"""The format of the store that this version writes. A change of what is on disk that an older version would misread
raises it."""


class Paths(msgspec.Struct, frozen=True):
    """The two roots of one caller's engine. Everything else is found from them."""

    store: Path
    """Images, layers, containers, volumes. `--root`, $ROOTLESS_ROOT, else $XDG_DATA_HOME/rootless."""
    run: Path
    """Sockets and mount points, by the first 12 characters of the container's id. Gone after a reboot."""

    @property
    def version(self) -> Path:
        """Which format the store has, and who can read it."""
        return self.store / "version.json"

    @property
    def oci_layout(self) -> Path:
        """The file that makes the store an OCI image layout."""
        return self.store / "oci-layout"

    @property
    def index(self) -> Path:
        """The names of the images, as an OCI image index."""
        return self.store / "index.json"

    @property
    def index_lock(self) -> Path:
        """Held by whoever writes the index, or removes what it no longer refers to."""
        return self.store / "index.lock"

    @property
    def pins(self) -> Path:
        """What running imports and pulls need though no image refers to it yet: a file each, locked while they live."""
        return self.store / "pins"

    @property
    def blobs(self) -> Path:
        return self.store / "blobs"

    @property
    def partial(self) -> Path:
        """Blobs that were downloaded half, for the next pull to go on with."""
        return self.store / "partial"

    @property
    def layers(self) -> Path:
        return self.store / "layers"

    @property
    def links(self) -> Path:
        """Short names of unpacked layers: mount(2)'s option page holds 120 of them, and no colon stands in one."""
        return self.store / "l"

    @property
    def containers(self) -> Path:
        return self.store / "containers"

    @property
    def names(self) -> Path:
        """A symbolic link for each container's name: symlink(2) takes a name atomically, on NFS too."""
        return self.store / "names"

    @property
    def volumes(self) -> Path:
        return self.store / "volumes"

    @property
    def volumes_lock(self) -> Path:
        """Held by whoever removes a volume, and shared by whoever makes or starts a container that has some."""
        return self.store / "volumes.lock"

    @property
    def networks(self) -> Path:
        """A document for each named network, and the leases of those who are on it."""
        return self.store / "networks"

    @property
    def tmp(self) -> Path:
        """On the store's own file system, so that what is finished here is published by rename."""
        return self.store / "tmp"

    @property
    def cache(self) -> Path:
        """What can be made again at any time, such as compiled seccomp filters."""
        return self.store / "cache"

    @property
    def build_steps(self) -> Path:
        """What the steps of earlier builds came to, a document each."""
        return self.store / "build" / "steps"

    @property
    def build_mounts(self) -> Path:
        """The directories of RUN --mount=type=cache."""
        return self.store / "build" / "mounts"

    @property
    def rooms(self) -> Path:
        """Who holds a descriptor on which user namespace (room.py)."""
        return self.run / "rooms"

    def container(self, container_id: str) -> Path:
        return self.containers / container_id

    def runtime_of(self, container_id: str) -> Path:
        """The run directory of one container: its control socket and mount point; a socket's path has 108 bytes."""
        return self.run / container_id[:12]


def locate(root: str | None = None) -> Paths:
    """Find both roots from the option, the environment and the account. Nothing is created.

    Raises:
        StoreError: the home directory is not known and no root was named.
    """
    named = root or os.environ.get("ROOTLESS_ROOT")
    if named:
        store = Path(named).absolute()
    else:
        data = os.environ.get("XDG_DATA_HOME", "")
        base = Path(data) if os.path.isabs(data) else Path(_home(), ".local/share")
        store = base / "rootless"
    return Paths(store=store, run=_run_directory(store))


def _home() -> str:
    home = os.environ.get("HOME", "")
    if os.path.isabs(home):
        return home
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        raise StoreError(f"user {os.getuid()} has no home directory", hint="name the store with --root") from None


def _run_directory(store: Path) -> Path:
    """$XDG_RUNTIME_DIR/rootless for the default store; others, and accounts without one, get a directory beside it.

    Without a login session (cron, CI, Slurm) the directory stands in the temporary directory and carries the boot id,
    because a reboot need not empty /tmp. A store of another root never shares one.
    """
    tag = sha256(os.fsencode(store)).hexdigest()[:8]
    session = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(session) and os.access(session, os.W_OK | os.X_OK):
        return Path(session, "rootless", tag)
    return Path(temporary_directory(), f"rootless-{os.getuid()}-{boot_id()[:8]}", tag)


def temporary_directory() -> Path:
    """$TMPDIR, else /tmp: where others may write, too. (The module tempfile costs 5 ms to import.)"""
    named = os.environ.get("TMPDIR", "")
    return Path(named) if os.path.isabs(named) and os.access(named, os.W_OK | os.X_OK) else Path("/tmp")


@contextmanager
def socket_name(path: Path) -> Iterator[str]:
    """A name for a socket of at most 107 bytes (unix(7)), however deep the directory lies."""
    if len(os.fsencode(path)) < 108:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def private_directory(path: Path) -> Path:
    """Make `path` and what is missing above it as directories of the caller's alone.

    Every directory from the temporary directory (or the session's run directory) down is checked: /tmp is everybody's,
    and whoever laid a directory of this name there before could exchange everything below it.

    Raises:
        UnavailableError: one of them is a link, belongs to another user or lets others write.
    """
    shared = {temporary_directory(), Path(os.environ.get("XDG_RUNTIME_DIR") or "/")}
    chain = [path]
    while chain[-1].parent not in shared and chain[-1].parent != chain[-1]:
        chain.append(chain[-1].parent)
    for step in reversed(chain):
        with suppress(FileExistsError):
            step.mkdir(mode=0o700)
        if not is_private(step):
            raise UnavailableError(
                f"{step} is not a private directory of yours", hint="remove it, or set XDG_RUNTIME_DIR to one that is"
            )
    return path


class _Version(msgspec.Struct):
    format: int
    min_reader: int


def check_format(paths: Paths) -> bool:
    """Whether there is a store, and that this version can read it. To be asked before anything in it is looked at.

    Raises:
        StoreError: a newer version made it, or its version.json can't be read.
    """
    try:
        version = msgspec.json.decode(paths.version.read_bytes(), type=_Version)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as problem:
        raise StoreError(f"{paths.version} can't be read: {problem.strerror}") from problem
    except msgspec.MsgspecError as problem:
        raise StoreError(f"{paths.version} is damaged: {problem}") from problem
    if version.min_reader > FORMAT:
        raise StoreError(
            f"the store {paths.store} has format {version.format}, this version reads up to {FORMAT}",
            hint="use the newer rootless that made it, or another store with --root",
        )
    return True


def is_private(path: Path) -> bool:
    """Whether `path` is a directory, no link to one, that belongs to the caller and lets nobody else write."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022
