"""Which addresses a network has: every answer that can be checked without a network."""

from __future__ import annotations

import ipaddress
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.errors import ConflictError, InvalidError, UnavailableError
from rootless.network import ipam

net, addr = ipaddress.ip_network, ipaddress.ip_address


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo", "invalid CIDR address: foo"),
        ("10.1.2.0", "write it as 10.1.2.0/24"),
        ("10.1.2.3/24", "it should be 10.1.2.0/24"),
        ("10.1.2.0/33", "invalid CIDR address"),
        ("10.1.2.0/-1", "invalid CIDR address"),
        ("fd00::1/64", "it should be fd00::/64"),
        ("10.1.2.0/24/8", "invalid CIDR address"),
        ("", "invalid CIDR address"),
        ("/24", "invalid CIDR address"),
    ],
)
def test_what_is_no_subnet(text: str, message: str) -> None:
    with pytest.raises(InvalidError) as caught:
        ipam.parse_network(text, "subnet")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["0.0.0.0/0", "10.0.0.0/31", "127.0.0.0/24", "224.1.0.0/16", "240.0.0.0/8", "fe80::/64", "::/64", "fd00::/32"],
)
def test_subnets_that_no_network_can_have(text: str) -> None:
    with pytest.raises(InvalidError, match="invalid subnet"):
        ipam.check_subnet(net(text))


def test_a_chosen_subnet_overlaps_with_none() -> None:
    taken = [net("172.16.0.0/12"), net("192.168.0.0/18")]
    assert ipam.choose_subnet(taken) == net("192.168.64.0/20")
    found: list[ipam.IPNetwork] = []
    for _ in range(15 + 16):
        found.append(ipam.choose_subnet(found))
    with pytest.raises(UnavailableError, match="fully subnetted"):
        ipam.choose_subnet(found)
    assert all(ipam.overlapping(subnet, found[:at]) is None for at, subnet in enumerate(found))


def test_addresses_come_lowest_first_and_only_those_of_hosts() -> None:
    subnet = net("10.0.0.0/29")
    reserved = dict.fromkeys([addr("10.0.0.1"), addr("10.0.0.3")])
    found = []
    for _ in range(4):
        found.append(ipam.next_address(subnet, None, reserved))
        reserved[found[-1]] = None
    with pytest.raises(ConflictError, match="no available IPv4 addresses"):
        ipam.next_address(subnet, None, reserved)
    assert [str(address) for address in found] == ["10.0.0.2", "10.0.0.4", "10.0.0.5", "10.0.0.6"]


def test_a_range_bounds_what_is_given_out() -> None:
    subnet = net("10.0.0.0/24")
    assert ipam.next_address(subnet, net("10.0.0.128/25"), {}) == addr("10.0.0.128")
    assert ipam.next_address(subnet, net("10.0.0.0/25"), {}) == addr("10.0.0.1")
    assert ipam.next_address(subnet, net("10.0.0.9/32"), {}) == addr("10.0.0.9")
    with pytest.raises(ConflictError):
        ipam.next_address(subnet, net("10.0.0.255/32"), {})


@given(st.integers(8, 30), st.integers(0, 2**32 - 1))
def test_every_host_address_is_one(prefix: int, number: int) -> None:
    subnet = net((number & ~(2 ** (32 - prefix) - 1), prefix))
    expected = list(islice(subnet.hosts(), 20))
    assert list(islice(ipam.hosts(subnet, subnet), len(expected))) == expected
    assert ipam.is_host(expected[-1], subnet)


def test_a_hardware_address_goes_with_the_address() -> None:
    assert ipam.hardware_address(addr("172.18.0.5")) == bytes.fromhex("0242ac120005")


def test_ipv6_subnets_are_local_ones_and_differ() -> None:
    found = {ipam.choose_subnet6() for _ in range(50)}
    assert len(found) == 50
    assert all(subnet.subnet_of(net("fd00::/8")) and subnet.prefixlen == 64 for subnet in found)
