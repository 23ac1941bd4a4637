"""Random reads, writes, truncations, maps, copies and renames of files whose contents are known, over many mounts.

Whatever a file holds is held in memory too, and compared at every step; after each round the layers are mounted anew,
by `cow` and by the kernel's overlayfs, and everything is read again.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import pickle
import random
import time
from functools import partial
from pathlib import Path

import pytest

from tests.drivers.arena import Arena

FILES = 6
LARGEST = 3 << 20
SECONDS = int(os.environ.get("ROOTLESS_TEST_SECONDS", "3600"))
"""How long the long variant goes on."""


class Twin:
    """A file, and what must be in it."""

    def __init__(self, path: str, content: bytes) -> None:
        self.path = path
        self.content = bytearray(content)
        self.fd = os.open(path, os.O_RDWR)

    def write(self, source: random.Random) -> None:
        """Anywhere, also beyond the end."""
        offset = source.randrange(0, min(len(self.content) + 100_000, LARGEST))
        data = source.randbytes(source.choice([1, 100, 4096, 20_000, 200_000]))
        assert os.pwrite(self.fd, data, offset) == len(data)
        self.put(offset, data)

    def put(self, offset: int, data: bytes) -> None:
        """What was written at `offset`."""
        self.content.extend(bytes(max(0, offset + len(data) - len(self.content))))
        self.content[offset : offset + len(data)] = data

    def append(self, source: random.Random) -> None:
        """Through another handle."""
        if len(self.content) < LARGEST:
            data = source.randbytes(source.randrange(1, 9000))
            with open(self.path, "ab", buffering=0) as file:
                file.write(data)
            self.content.extend(data)

    def truncate(self, source: random.Random) -> None:
        """Shorter or longer, by descriptor or by name."""
        size = source.randrange(0, LARGEST)
        os.truncate(self.fd if source.randrange(2) else self.path, size)
        del self.content[size:]
        self.content.extend(bytes(size - len(self.content)))

    def empty(self, source: random.Random) -> None:
        """By opening it."""
        os.close(os.open(self.path, os.O_WRONLY | os.O_TRUNC))
        self.content.clear()

    def map(self, source: random.Random) -> None:
        """Change some bytes and read others in a shared map."""
        if not self.content:
            return
        with mmap.mmap(self.fd, 0) as view:
            for _ in range(source.randrange(1, 20)):
                place = source.randrange(len(self.content))
                data = source.randbytes(min(source.choice([1, 8, 5000]), len(self.content) - place))
                view[place : place + len(data)] = data
                self.put(place, data)
                place = source.randrange(len(self.content))
                assert view[place : place + 5000] == self.content[place : place + 5000]
            if source.randrange(2):
                view.flush()

    def reopen(self, source: random.Random) -> None:
        """Perhaps on the disk before."""
        if source.randrange(4) == 0:
            os.fsync(self.fd)
        os.close(self.fd)
        self.fd = os.open(self.path, os.O_RDWR)

    def replace(self, source: random.Random) -> None:
        """As careful programs do: a new file renamed over this one, which somebody still reads."""
        data = source.randbytes(source.randrange(0, 50_000))
        Path(self.path + ".new").write_bytes(data)
        os.rename(self.path + ".new", self.path)
        assert os.fstat(self.fd).st_size == len(self.content)
        self.read(source)
        os.close(self.fd)
        self.fd = os.open(self.path, os.O_RDWR)
        self.content[:] = data

    def read(self, source: random.Random) -> None:
        """A random piece, and the size."""
        offset = source.randrange(0, len(self.content) + 5000)
        count = source.choice([1, 4096, 30_000, 500_000])
        assert os.pread(self.fd, count, offset) == self.content[offset : offset + count], self.path
        assert os.fstat(self.fd).st_size == len(self.content), self.path


def copy(source: random.Random, twins: list[Twin]) -> None:
    """A piece of one file into another, in the kernel."""
    one, other = source.sample(twins, 2)
    offset, place = source.randrange(len(one.content) + 1), source.randrange(LARGEST)
    done = os.copy_file_range(one.fd, other.fd, 100_000, offset, place)
    assert done == min(100_000, len(one.content) - offset)
    if done:
        other.put(place, bytes(one.content[offset : offset + done]))


def session(seed: int, seconds: float, directory: str, known: dict[str, str]) -> dict[str, str]:
    """Random steps on the files of one directory; takes and gives their digests by path."""
    source = random.Random(seed)
    twins = [Twin(path, Path(path).read_bytes()) for path in (f"{directory}/f{n}" for n in range(FILES))]
    for twin in twins:
        assert digest(twin.content) == known[twin.path], f"{twin.path} is not what it was before the mount"
    actions = [Twin.write, Twin.write, Twin.append, Twin.map, Twin.map, Twin.reopen, Twin.replace]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        twin = source.choice(twins)
        if source.randrange(12) == 0:
            copy(source, twins)
        elif source.randrange(20) == 0:
            source.choice([Twin.truncate, Twin.truncate, Twin.empty])(twin, source)
        else:
            source.choice(actions)(twin, source)
        source.choice(twins).read(source)
    for twin in twins:
        assert Path(twin.path).read_bytes() == twin.content
        os.close(twin.fd)
    return {twin.path: digest(twin.content) for twin in twins}


def digest(data: bytes | bytearray) -> str:
    """What stands for a file's contents."""
    return hashlib.sha1(data).hexdigest()


def crowd(seeds: list[int], seconds: float, known: dict[str, str]) -> dict[str, str]:
    """A process a directory; gives all digests."""
    pipes = []
    for number, seed in enumerate(seeds):
        read, write = os.pipe()
        if os.fork() == 0:
            code = 1
            try:
                found = session(seed, seconds, f"d{number}", known)
                with open(write, "wb") as file:
                    file.write(pickle.dumps(found))
                code = 0
            finally:
                os._exit(code)
        os.close(write)
        pipes.append(read)
    result = dict(known)
    for read in pipes:
        with open(read, "rb") as file:
            result |= pickle.loads(file.read())
    for _ in seeds:
        assert os.wait()[1] == 0
    return result


def make_files(workers: int) -> dict[str, str]:
    """An image of files, dense and sparse."""
    source = random.Random(0)
    found = {}
    for number in range(workers):
        os.mkdir(f"lower/d{number}")
        for each in range(FILES):
            data = source.randbytes(each * 70_000) + bytes(each * 100_000) + source.randbytes(each * 1000)
            Path(f"lower/d{number}/f{each}").write_bytes(data)
            found[f"d{number}/f{each}"] = digest(data)
    return found


def digests(paths: list[str]) -> dict[str, str]:
    """What a mount shows of these files."""
    return {path: digest(Path(path).read_bytes()) for path in paths}


def keep_at_it(arena: Arena, *, workers: int, seconds: float, rounds: int) -> None:
    """Rounds of random steps, each on a mount of its own, and everything read again after each."""
    known = arena.in_room(partial(make_files, workers))
    for number in range(rounds):
        seeds = [number * 100 + worker for worker in range(workers)]
        known = arena.container("cow", partial(crowd, seeds, seconds / rounds, known))
        for driver in "cow", "overlay":
            assert arena.container(driver, partial(digests, list(known))) == known, f"round {number} on {driver}"


def test_random_contents(arena: Arena) -> None:
    keep_at_it(arena, workers=2, seconds=3, rounds=2)


@pytest.mark.long
def test_random_contents_for_long(arena: Arena) -> None:
    """An hour of it, unless ROOTLESS_TEST_SECONDS says otherwise."""
    keep_at_it(arena, workers=2, seconds=SECONDS, rounds=max(2, SECONDS // 30))
