"""Which storage driver is chosen, and the reasons that `info` gives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rootless.errors import UnavailableError, UsageError
from rootless.idmap import Extent, IdMap
from rootless.storage import drivers
from rootless.storage.cow import Cow
from rootless.storage.drivers import Wish, choose

ME = (Extent(0, 1000, 1),)
MANY = IdMap((*ME, Extent(1, 100000, 65536)), (*ME, Extent(1, 100000, 65536)))
ONE = IdMap(ME, ME, "no subordinate ids")
NOTHING = Wish()
STORE = Path("/store")


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary user's, on which everything can serve."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(drivers, "file_system", lambda path: "ext4")
    monkeypatch.setattr(Cow, "unavailable", lambda self: "")


def chosen(name: str = "auto", idmap: IdMap = MANY, wish: Wish = NOTHING) -> tuple[str, str, str]:
    choice = choose(name, STORE, idmap, wish)
    return choice.driver.name, choice.owners, choice.layer_kind


def test_the_kernels_overlayfs_where_nothing_asks_for_more() -> None:
    assert chosen() == ("overlay", "mapped", "auto")


@pytest.mark.parametrize(
    ("wish", "owners", "kind"),
    [
        (Wish(size=1), "mapped", "auto"),
        (Wish(owners="owned"), "owned", "owned"),
        (Wish(size=1, owners="owned"), "owned", "owned"),
        (Wish(host=True), "owned", "owned"),
    ],
)
def test_cow_for_what_only_it_has(wish: Wish, owners: str, kind: str) -> None:
    assert chosen(wish=wish) == chosen("cow", wish=wish) == ("cow", owners, kind)
    assert "needs it" in choose("auto", STORE, MANY, wish).reason
    for name in "overlay", "fuse-overlayfs":
        with pytest.raises(UsageError, match="is not supported by the storage driver"):
            choose(name, STORE, MANY, wish)


def test_what_only_cow_has_is_never_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cow, "unavailable", lambda self: "no /dev/fuse")
    with pytest.raises(UnavailableError, match=r"--storage-opt size needs the storage driver cow.*no /dev/fuse"):
        choose("auto", STORE, MANY, Wish(size=1))
    assert chosen(idmap=ONE)[0] == "overlay", "what is only better is done without"
    assert "cow can't serve either: no /dev/fuse" in choose("auto", STORE, ONE).reason


def test_one_id_has_its_owners_written_down() -> None:
    assert chosen(idmap=ONE) == chosen("cow", ONE) == ("cow", "owned", "owned")
    assert chosen("overlay", ONE) == ("overlay", "mapped", "auto")
    assert chosen("cow", ONE, Wish(owners="mapped")) == ("cow", "mapped", "auto")


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs", "fuse"])
def test_a_file_system_that_is_not_ours_to_give_away_files_on(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(drivers, "file_system", lambda path: kind)
    assert chosen() == ("cow", "owned", "owned")
    assert kind in choose("auto", STORE, MANY).reason


def test_under_real_root_nothing_is_owned_by_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server would be real root, and the container's root a subordinate id."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(drivers, "file_system", lambda path: "nfs4")
    assert chosen() == ("cow", "mapped", "auto")
    for wish in Wish(host=True), Wish(owners="owned"):
        with pytest.raises(UnavailableError, match="is not for root"):
            choose("auto", STORE, MANY, wish)


def test_the_machine_can_be_read_by_its_caller_only() -> None:
    with pytest.raises(UsageError, match="image host"):
        choose("auto", STORE, MANY, Wish(host=True, owners="mapped"))
