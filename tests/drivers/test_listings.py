"""Listings, many at once and while entries come and go: what was there all the time is there exactly once.

The kernel keeps a listing over openings (docs/decisions/0032-kept-listings.md); overlayfs is held to the same.
"""

from __future__ import annotations

import ctypes
import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from rootless.fuse import server
from tests.drivers.arena import Arena

COUNT = 2000
LIBC = ctypes.CDLL(None, use_errno=True)


class Reader:
    """getdents64(2) by hand, so that a reading can stop anywhere (getdents64(2) has the layout)."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        self.names: list[str] = []

    def read(self, size: int = 1 << 15) -> bool:
        """One call; false at the end."""
        buffer = ctypes.create_string_buffer(size)
        count = LIBC.syscall(ctypes.c_long(217), self.fd, buffer, ctypes.c_uint(size))
        assert count >= 0, os.strerror(ctypes.get_errno())
        data, at = ctypes.string_at(buffer, count), 0
        while at < count:
            length = int.from_bytes(data[at + 16 : at + 18], "little")
            self.names.append(os.fsdecode(data[at + 19 : data.index(0, at + 19)]))
            at += length
        return count > 0

    def rest(self) -> list[str]:
        """Everything from here on, then closed; gives all names read."""
        while self.read():
            pass
        os.close(self.fd)
        return self.names

    def again(self) -> None:
        """rewinddir(3)."""
        os.lseek(self.fd, 0, os.SEEK_SET)
        self.names = []


def check(names: list[str], there: set[str], ever: set[str]) -> None:
    """Each of `there`, which was there all the time, exactly once; nothing that never was."""
    seen = Counter(names)
    assert not (lost := [name for name in there if not seen[name]]), f"{len(lost)} lost: {lost[:5]}"
    assert not (twice := [name for name in there if seen[name] > 1]), f"{len(twice)} twice: {twice[:5]}"
    assert set(seen) <= ever | {".", ".."}


def fill(top: str, length: int, count: int = COUNT) -> set[str]:
    """A directory of many files, with names of one length."""
    os.mkdir(top)
    names = {f"{number:0{length}}" for number in range(count)}
    for name in names:
        os.close(os.open(f"{top}/{name}", os.O_CREAT | os.O_WRONLY))
    return names


def others_remove_and_list(length: int, read: int, removed: int) -> None:
    """A reads some, B unlinks what A has read last, C lists twice (and the kernel keeps that), A reads on."""
    names = fill("lower", length)
    os.listdir("lower")  # A begins with a kept listing
    reader = Reader("lower")
    while len(reader.names) < read:
        reader.read(1000)
    gone = set(reader.names[-removed:]) - {".", ".."}
    for name in gone:
        os.unlink(f"lower/{name}")
    for _ in range(2):
        assert set(os.listdir("lower")) == names - gone
    check(reader.rest(), names - gone, names)
    assert set(os.listdir("lower")) == names - gone


@pytest.mark.parametrize("driver", ["overlay", "cow"])
@pytest.mark.parametrize(("length", "read", "removed"), [(4, 600, 600), (8, 1500, COUNT - 1022)])
def test_others_remove_and_list(arena: Arena, driver: str, length: int, read: int, removed: int) -> None:
    """First: the place that A reads on from is another name's in C's listing. Second: it is behind its end; and with
    names of 8 bytes, 32 to an entry, 1022 of them and . and .. fill eight pages of the kernel's to the last byte."""
    arena.container(driver, partial(others_remove_and_list, length, read, removed))


def act_at_random(seed: int, steps: int, count: int) -> None:
    """Several readers that begin, read on, begin anew and end; and names that come, go and are replaced."""
    source = random.Random(seed)
    length = source.choice([4, 8, 24, 100])
    ever = fill("many", length, count)
    names = set(ever)
    readers: list[tuple[Reader, set[str]]] = []
    for step in range(steps):
        action = source.random()
        if action < 0.15 and len(readers) < 4:
            readers.append((Reader("many"), set(names)))
        elif action < 0.6 and readers:
            reader, there = source.choice(readers)
            if source.random() < 0.2:
                os.posix_fadvise(reader.fd, 0, 0, os.POSIX_FADV_DONTNEED)  # the kernel may drop what it keeps
            if not reader.read(source.choice([400, 2000, 1 << 15, 1 << 17])):
                check(reader.names, there, ever)
                reader.again()
                there.clear()
                there |= names
        elif action < 0.65 and readers:
            reader, there = readers.pop(source.randrange(len(readers)))
            check(reader.rest(), there, ever)
        elif action < 0.7:
            check(os.listdir("many"), names, names)
            assert len(os.listdir("many")) == len(names)
        elif action < 0.75 and readers:
            reader, there = source.choice(readers)
            reader.again()
            there.clear()
            there |= names
        else:
            change(source, names, ever, [there for _, there in readers], step)


def change(source: random.Random, names: set[str], ever: set[str], known: list[set[str]], step: int) -> None:
    """One or many names come, go, or stand for another file."""
    some = source.sample(sorted(names), min(len(names), source.choice([1, 5, 100])))
    kind = source.choice(["unlink", "create", "replace", "rename"])
    for number, name in enumerate(some):
        fresh = f"{step:06}-{number}" if source.random() < 0.8 else source.choice(sorted(ever))
        if kind == "unlink":
            os.unlink(f"many/{name}")
            forget(name, names, known)
        elif kind == "create":
            os.close(os.open(f"many/{fresh}", os.O_CREAT | os.O_WRONLY))
            names.add(fresh)
            ever.add(fresh)
        elif kind == "replace":
            os.close(os.open("new", os.O_CREAT | os.O_WRONLY))
            os.rename("new", f"many/{name}")
        elif fresh != name:
            os.rename(f"many/{name}", f"many/{fresh}")
            forget(name, names, known)
            for there in known:
                there.discard(fresh)  # it may have been another entry's until now
            names.add(fresh)
            ever.add(fresh)


def forget(name: str, names: set[str], known: list[set[str]]) -> None:
    """A name was not there all the time."""
    names.discard(name)
    for there in known:
        there.discard(name)


def test_random_readers(arena: Arena) -> None:
    arena.container("cow", lambda: act_at_random(1, 250, 500))


@pytest.mark.long
def test_many_random_readers(arena: Arena) -> None:
    for seed in range(100, 140):
        arena.container("cow", partial(act_at_random, seed, 1000, COUNT))
        arena.in_room(lambda: os.system("rm -rf upper work; mkdir upper work"))


def counting(arena: Arena, asked: Path, live: bool) -> server.Config:
    """A server that writes down each READDIR."""
    from rootless.fuse import operations

    plain = operations.Operations.readdir

    async def noting(self: operations.Operations, handle: int, offset: int, token: object) -> None:
        with asked.open("a") as file:
            file.write("x")
        await plain(self, handle, offset, token)

    operations.Operations.readdir = noting  # type: ignore[assignment,method-assign]
    made = arena.config()
    return replace(made, lowers=tuple(replace(layer, live=live) for layer in made.lowers))


def test_a_listing_is_asked_for_once(arena: Arena) -> None:
    """The kernel keeps it until the directory changes, or moves; a live layer's it must not keep."""
    arena.in_room(lambda: os.makedirs("lower/dir/sub"))
    asked = arena.base.parent / "asked"
    asked.touch()
    asked.chmod(0o666)
    changes: list[Callable[[], object]] = [
        lambda: None,
        lambda: None,
        lambda: open("dir/new", "x").close(),
        lambda: None,
        lambda: os.unlink("dir/new"),
        lambda: os.chmod("dir/sub", 0o700),
    ]

    def work() -> list[tuple[list[str], bool]]:
        steps = []
        for action in changes:
            action()
            before = asked.stat().st_size
            steps.append((sorted(os.listdir("dir")), asked.stat().st_size > before))
        return steps

    old, new = ["sub"], ["new", "sub"]
    found = arena.container("cow", work, config=partial(counting, arena, asked, False))
    assert found[:5] == [(old, True), (old, False), (new, True), (new, False), (old, True)]
    found = arena.container("cow", work, config=partial(counting, arena, asked, True))
    assert all(step[1] for step in found)
    assert [step[0] for step in found] == [old, old, new, new, old, old]
