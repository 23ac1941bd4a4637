"""`--network` and what belongs to it, read."""

from __future__ import annotations

from typing import Any

import pytest

from rootless.cli.network_wishes import read_wishes
from rootless.container.network import Wish
from rootless.errors import UsageError


def read(*network: str, **options: Any) -> tuple[str, tuple[Wish, ...], Wish]:
    given: dict[str, Any] = {"network": network, "network_alias": (), "ip": "", "ip6": "", "mac": ""}
    return read_wishes(given | options)


def test_without_a_word_it_is_the_default() -> None:
    assert read() == ("", (), Wish(name=""))
    assert read(ip="10.1.2.3")[2].ip == "10.1.2.3"


def test_networks_in_order_the_separate_options_about_the_first() -> None:
    mode, wishes, _ = read("blue", "green", network_alias=("db",), ip="10.0.0.9", mac="02-00-00-00-00-0A")
    assert mode == "blue"
    assert wishes == (Wish(name="blue", aliases=("db",), ip="10.0.0.9", mac="02:00:00:00:00:0a"), Wish(name="green"))


def test_the_longer_form() -> None:
    _, (wish,), _ = read('name=blue,alias=a,alias=b,ip=10.0.0.9,"ip6=fd00::0009",mac-address=02:00:00:00:00:01')
    assert wish == Wish(name="blue", aliases=("a", "b"), ip="10.0.0.9", ip6="fd00::9", mac="02:00:00:00:00:01")
    assert read("pasta:--mtu=1500")[0] == "pasta:--mtu=1500"


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (("blue", "none"), {}, "cannot attach both user-defined and non-user-defined"),
        (("blue", "blue"), {}, "specified multiple times"),
        (("none:x",), {}, "none takes no options"),
        (("host:x",), {}, "host takes no options"),
        (("bridge:x",), {}, "bridge takes no options"),
        (("egress:x",), {}, "egress takes no options"),
        ((":x",), {}, "the default takes no options"),
        (("host",), {"ip": "10.0.0.1"}, "user defined networks only"),
        (("none",), {"mac": "02:00:00:00:00:01"}, "mac-address and the network mode"),
        ((), {"network_alias": ("x",)}, "network-scoped alias is supported only"),
        (("blue",), {"ip": "fd00::1"}, "invalid IPv4 address"),
        (("blue",), {"ip6": "10.0.0.1"}, "invalid IPv6 address"),
        (("blue",), {"ip6": "fe80::1%eth0"}, "invalid IPv6 address"),
        (("blue",), {"mac": "01:00:00:00:00:01"}, "not a valid mac address"),
        (("blue",), {"mac": "00:00:00:00:00:00"}, "not a valid mac address"),
        (("blue",), {"network_alias": ("a b",)}, "can be in a name"),
        (("name=blue,ip=10.0.0.1",), {"ip": "10.0.0.2"}, "per-network address"),
        (("name=blue,speed=9",), {}, "invalid field speed=9"),
        (("alias=x",), {}, "name/id is not specified"),
    ],
)
def test_what_makes_no_sense(network: tuple[str, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(*network, **options)
    assert message in str(caught.value)
