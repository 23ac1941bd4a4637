"""Who the container's process is, by passwd and group files that anybody may have written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rootless.errors import NotFoundError, UnavailableError
from rootless.idmap import Extent, IdMap
from rootless.runtime.users import User, look_up

RANGE = IdMap((Extent(0, 1000, 1), Extent(1, 100000, 65536)), (Extent(0, 1000, 1), Extent(1, 100000, 65536)))
ONE = IdMap((Extent(0, 1000, 1),), (Extent(0, 1000, 1),), "no subordinate ids")

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
broken line
web:x:33:34:::/bin/false
far:x:4000000000:1::/far:
huge:x:99999999999999999999:0::/:
neg:x:-5:0::/:
"""
GROUP = "root:x:0:\nwebs:x:34:web\naudio:x:29:web,root\nbad:x:zz:web\nshort:x\n"


def below(root: str) -> Callable[[str], int]:
    return lambda path: os.open(root + path, os.O_RDONLY | os.O_NONBLOCK)


@pytest.fixture
def root(tmp_path: Path) -> str:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    return str(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", User(0, 0, (0, 29), "/root")),
        ("root", User(0, 0, (0, 29), "/root")),
        ("web", User(33, 34, (34, 29), "/")),
        ("33", User(33, 34, (34, 29), "/")),
        ("web:root", User(33, 0, (0,), "/")),
        ("web:7", User(33, 7, (7,), "/")),
        ("1234", User(1234, 0, (0,), "/")),
        ("1234:webs", User(1234, 34, (34,), "/")),
    ],
)
def test_as_docker_resolves_them(root: str, text: str, expected: User) -> None:
    assert look_up(text, (), RANGE, below(root)) == expected


@pytest.mark.parametrize("text", ["nobody", "huge", "neg", "-1", "we b"])
def test_unknown_users(root: str, text: str) -> None:
    with pytest.raises(NotFoundError, match="unable to find user .*: no matching entries in passwd file"):
        look_up(text, (), RANGE, below(root))


def test_unknown_group(root: str) -> None:
    with pytest.raises(NotFoundError, match="unable to find group nope"):
        look_up("web:nope", (), RANGE, below(root))


def test_added_groups_come_last_and_once(root: str) -> None:
    assert look_up("web", ("audio", "12"), RANGE, below(root)).groups == (34, 29, 12)


def test_an_id_outside_the_map_is_refused_before_the_kernel_says_einval(root: str) -> None:
    with pytest.raises(UnavailableError, match="outside the container's ids"):
        look_up("far", (), RANGE, below(root))


@pytest.mark.parametrize(
    ("uids", "gids", "held"),
    [(1000, 1000, "0 to 999"), (65537, 500, "user ids 0 to 65536 and group ids 0 to 499")],
)
def test_the_hint_is_about_the_map_that_there_is(root: str, uids: int, gids: int, held: str) -> None:
    idmap = IdMap((Extent(0, 100000, uids),), (Extent(0, 100000, gids),))
    with pytest.raises(UnavailableError) as refused:
        look_up("far", (), idmap, below(root))
    assert refused.value.hint == f"the map holds {held}"


def test_with_one_id_only_root_can_be(root: str) -> None:
    with pytest.raises(UnavailableError, match="more ids than the one there is; no subordinate ids"):
        look_up("web", (), ONE, below(root))


def test_with_one_id_roots_other_groups_are_left_out(root: str) -> None:
    """Alpine's root is in ten groups; that must not keep it from running."""
    assert look_up("", (), ONE, below(root)) == User(0, 0, (0,), "/root")
    with pytest.raises(UnavailableError):
        look_up("", ("audio",), ONE, below(root))


def test_a_fifo_in_the_place_of_passwd_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    os.mkfifo(tmp_path / "etc/passwd")
    assert look_up("0", (), RANGE, below(str(tmp_path))) == User(0, 0, (0,), "/")


def test_no_files_at_all(tmp_path: Path) -> None:
    assert look_up("", (), RANGE, below(str(tmp_path))) == User(0, 0, (0,), "/")
