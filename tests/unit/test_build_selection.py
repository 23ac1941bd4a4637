"""What COPY takes: wildcards, several sources, directories' contents, --parents, --exclude, .dockerignore."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rootless.build.ignore import IgnoringTree, read_ignore
from rootless.build.selection import select
from rootless.build.tree import DirectoryTree, Tree
from rootless.errors import InvalidError, NotFoundError

FILES = """
a.txt b.txt c.md arr[0].txt .hidden empty/ dir/x.txt dir/y.go dir/sub/z.txt dir2/x.txt
src/main.c src/lib/one.c src/lib/two.h src/lib/deep/three.c node_modules/left/pad.js
""".split()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir()
        else:
            path.write_text(name)
    (tmp_path / "to-dir").symlink_to("dir")
    (tmp_path / "dir/inner").symlink_to("../a.txt")
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "out").symlink_to("/etc/hostname")
    return tmp_path


@pytest.fixture
def tree(root: Path) -> Iterator[DirectoryTree]:
    with DirectoryTree(root) as tree:
        yield tree


def taken(tree: Tree, *sources: str, parents: bool = False, exclude: tuple[str, ...] = ()) -> list[str]:
    """Each match as its name and its files; a directory's contents as what they come to be."""
    found = []
    for match in select(tree, sources, parents=parents, exclude=exclude):
        if match.entry.is_directory:
            found += [f"+{selected.path}" for selected in match.files]
        else:
            found.append(match.name)
    return found


SOURCES: dict[str, tuple[list[str], list[str]]] = {
    "a file": (["a.txt"], ["a.txt"]),
    "a file with a slash in front": (["/a.txt"], ["a.txt"]),
    "a file with detours": (["./dir/../a.txt"], ["a.txt"]),
    "a directory's contents": (["dir"], ["+inner", "+sub", "+sub/z.txt", "+x.txt", "+y.go"]),
    "the same with a slash": (["dir/"], ["+inner", "+sub", "+sub/z.txt", "+x.txt", "+y.go"]),
    "an empty directory": (["empty"], []),
    "a link to a directory": (["to-dir"], ["+inner", "+sub", "+sub/z.txt", "+x.txt", "+y.go"]),
    "a file by way of a link": (["to-dir/x.txt"], ["x.txt"]),
    "a link to a file": (["dir/inner"], ["inner"]),
    "a wildcard": (["*.txt"], ["a.txt", "arr[0].txt", "b.txt"]),
    "a wildcard takes hidden files": (["*hid*"], [".hidden"]),
    "several sources": (["c.md", "a.txt"], ["c.md", "a.txt"]),
    "a class": (["[ab].txt"], ["a.txt", "b.txt"]),
    "an escaped bracket": (["arr[[]0].txt"], ["arr[0].txt"]),
    "a wildcard in the middle": (["dir*/x.txt"], ["x.txt", "x.txt"]),
    "a wildcard below a link": (["to-dir/*.txt"], ["x.txt"]),
    "a wildcard for directories": (
        ["s?c"],
        ["+lib", "+lib/deep", "+lib/deep/three.c", "+lib/one.c", "+lib/two.h", "+main.c"],
    ),
    "a wildcard that matches nothing": (["*.zip"], []),
    "two stars are one": (["**/three.c"], []),
}


@pytest.mark.parametrize("name", SOURCES)
def test_sources(tree: DirectoryTree, name: str) -> None:
    sources, expected = SOURCES[name]
    assert taken(tree, *sources) == expected


EXCLUDED: dict[str, tuple[list[str], tuple[str, ...], list[str]]] = {
    "names": (["dir"], ("*.txt",), ["+inner", "+sub", "+sub/z.txt", "+y.go"]),
    "at any depth": (["dir"], ("**/*.txt",), ["+inner", "+sub", "+y.go"]),
    "a directory": (["dir"], ("sub",), ["+inner", "+x.txt", "+y.go"]),
    "an exception": (["src"], ("lib", "!lib/deep"), ["+lib", "+lib/deep", "+lib/deep/three.c", "+main.c"]),
    "what a wildcard matched": (["*.*"], ("*.txt",), [".hidden", "c.md"]),
    "several": (["dir"], ("*.txt", "*.go", "sub"), ["+inner"]),
    "everything": (["dir"], ("*",), []),
}


@pytest.mark.parametrize("name", EXCLUDED)
def test_exclude(tree: DirectoryTree, name: str) -> None:
    sources, exclude, expected = EXCLUDED[name]
    assert taken(tree, *sources, exclude=exclude) == expected


PARENTS: dict[str, tuple[list[str], list[str]]] = {
    "a file": (["src/lib/one.c"], ["+src", "+src/lib", "+src/lib/one.c"]),
    "a directory": (
        ["src/lib"],
        ["+src", "+src/lib", "+src/lib/deep", "+src/lib/deep/three.c", "+src/lib/one.c", "+src/lib/two.h"],
    ),
    "a wildcard": (["src/lib/*.c"], ["+src", "+src/lib", "+src/lib/one.c"]),
    "two stars": (
        ["src/**/*.c"],
        ["+src", "+src/lib", "+src/lib/deep", "+src/lib/deep/three.c", "+src/lib/one.c", "+src/main.c"],
    ),
    "from a point on": (["src/./lib/one.c"], ["+lib", "+lib/one.c"]),
    "from the first point on": (["src/./lib/./one.c"], ["+lib", "+lib/one.c"]),
    "wildcards before the point": (["dir*/./x.txt"], ["+x.txt", "+x.txt"]),
    "two sources": (["a.txt", "dir/y.go"], ["+a.txt", "+dir", "+dir/y.go"]),
    "a wildcard that matches nothing": (["src/*.zip"], []),
}


@pytest.mark.parametrize("name", PARENTS)
def test_parents(tree: DirectoryTree, name: str) -> None:
    sources, expected = PARENTS[name]
    assert taken(tree, *sources, parents=True) == expected


def test_parents_and_exclude(tree: DirectoryTree) -> None:
    assert taken(tree, "src/lib", parents=True, exclude=("**/deep",)) == [
        "+src",
        "+src/lib",
        "+src/lib/one.c",
        "+src/lib/two.h",
    ]


MISSING = {
    "nothing": ("nothing.txt", '"/nothing.txt": not found in the context'),
    "below a file": ("a.txt/b", '"/a.txt/b": not found'),
    "upwards": (
        "../secret",
        "../secret: forbidden path outside the context; only what is in the context can be copied",
    ),
    "a link that leads out": ("out", '"/out": not found'),
}


@pytest.mark.parametrize("name", MISSING)
@pytest.mark.parametrize("parents", [False, True])
def test_what_is_not_there(tree: DirectoryTree, name: str, parents: bool) -> None:
    source, expected = MISSING[name]
    with pytest.raises(NotFoundError) as caught:
        select(tree, [source], parents=parents)
    assert str(caught.value).startswith(expected)


def test_links_in_a_circle(tree: DirectoryTree) -> None:
    with pytest.raises(InvalidError, match="too many levels of symbolic links"):
        select(tree, ["round"])


@pytest.mark.parametrize("source", ["a[", "[z-"])
def test_malformed_patterns(tree: DirectoryTree, source: str) -> None:
    with pytest.raises(InvalidError, match="syntax error in pattern"):
        select(tree, [source])


def test_a_tree_deeper_than_pythons_stack(tmp_path: Path) -> None:
    paths = [str(tmp_path) + "/d" * depth for depth in range(1, 1501)]
    for path in paths:
        os.mkdir(path)
    with DirectoryTree(tmp_path) as tree:
        (match,) = select(tree, ["."])
        assert len(match.files) == len(paths)
        ignoring = IgnoringTree(tree, read_ignore(b"d\n!d/**/x\n", ".dockerignore"), ".dockerignore")
        assert select(ignoring, ["."])[0].files == ()
    for path in reversed(paths):
        os.rmdir(path)  # what pytest removes directories with can't do this one


IGNORED: dict[str, tuple[bytes, str, list[str]]] = {
    "names": (b"*.txt\n", "[abc].*", ["c.md"]),
    "names at the top only": (b"*.txt\n", "dir2", ["+x.txt"]),
    "a directory": (b"src", "s*", []),
    "comments and blank lines": (b"# c.md\n\n  \n", "c.md", ["c.md"]),
    "a slash in front": (b"/dir/sub\n", "dir", ["+inner", "+x.txt", "+y.go"]),
    "all but": (
        b"*\n!src/lib\n",
        ".",
        ["+src", "+src/lib", "+src/lib/deep", "+src/lib/deep/three.c", "+src/lib/one.c", "+src/lib/two.h"],
    ),
    "all but one": (b"**\n!**/two.h\n", ".", ["+src", "+src/lib", "+src/lib/two.h"]),
    "the last line decides": (b"!dir\ndir\n", "dir*", ["+x.txt"]),
    "a byte order mark": (b"\xef\xbb\xbfdir/sub\n", "dir", ["+inner", "+x.txt", "+y.go"]),
    "DOS lines": (b"dir/sub\r\ndir/inner\r\n", "dir", ["+x.txt", "+y.go"]),
    "what a link leads to": (b"dir\n!dir/x.txt\n", "to-dir", ["+x.txt"]),
}


@pytest.mark.parametrize("name", IGNORED)
def test_dockerignore(tree: DirectoryTree, name: str) -> None:
    lines, source, expected = IGNORED[name]
    ignoring = IgnoringTree(tree, read_ignore(lines, ".dockerignore"), ".dockerignore")
    assert taken(ignoring, source) == expected


def test_what_is_ignored_is_said_to_be(tree: DirectoryTree) -> None:
    ignoring = IgnoringTree(tree, read_ignore(b"*.md\n", "Dockerfile.dockerignore"), "Dockerfile.dockerignore")
    with pytest.raises(NotFoundError, match=r'"/c.md": not found in the context; Dockerfile.dockerignore excludes it'):
        select(ignoring, ["c.md"])


def test_a_malformed_dockerignore() -> None:
    with pytest.raises(InvalidError, match=r"\.dockerignore:2: syntax error in pattern 'a\['"):
        read_ignore(b"# x\na[\n", ".dockerignore")
    with pytest.raises(InvalidError, match=r'\.dockerignore:1: illegal exclusion pattern: "!"'):
        read_ignore(b"!\n", ".dockerignore")
