"""Ports as texts, in both directions, as the Docker CLI has them; and the files that tell of a network."""

from __future__ import annotations

import pytest

from rootless.container.network import Connected, Endpoint, Net, Port
from rootless.container.record import Spec
from rootless.errors import UnavailableError
from rootless.network import addresses, hosts, ports, resolv


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("80", [Port(container=80)]),
        ("80/udp", [Port(container=80, protocol="udp")]),
        ("8080:80", [Port(container=80, host=8080)]),
        ("127.0.0.1::80", [Port(container=80, address="127.0.0.1")]),
        ("[::1]:8080:80/UDP", [Port(container=80, host=8080, address="::1", protocol="udp")]),
        ("8000-8001:80-81", [Port(container=80, host=8000), Port(container=81, host=8001)]),
        ("8000-8010:80", [Port(container=80, host=8000, host_end=8010)]),
        ("80-81", [Port(container=80), Port(container=81)]),
        ("target=80,published=8080,protocol=udp", [Port(container=80, host=8080, protocol="udp")]),
    ],
)
def test_the_texts_of_p(text: str, found: list[Port]) -> None:
    assert ports.parse(text) == found


def test_a_column_of_ports_as_docker_prints_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports.os.path, "exists", lambda path: True)  # type: ignore[attr-defined]
    published = (*ports.parse("8000-8002:80-82"), *ports.parse("127.0.0.1:9000:90"), *ports.parse("9100:100/udp"))
    net = Net(exposed=("80/tcp", "200/tcp", "201/tcp"))
    assert ports.column(net, Connected(ports=published)) == (
        "0.0.0.0:8000-8002->80-82/tcp, 0.0.0.0:9100->100/udp, 127.0.0.1:9000->90/tcp, "
        "[::]:8000-8002->80-82/tcp, [::]:9100->100/udp, 200-201/tcp"
    )


def test_what_does_not_run_has_no_ports() -> None:
    assert ports.column(Net(exposed=("80/tcp",)), None) == ""


def test_publish_all_leaves_out_what_was_said() -> None:
    net = Net(exposed=("80/tcp", "81/udp", "82/sctp"), publish_all=True, ports=(Port(container=80, host=8080),))
    assert ports.wanted(net) == (Port(container=80, host=8080), Port(container=81, protocol="udp"))


def test_resolv_conf_by_its_man_page() -> None:
    found = resolv.parse(
        "# x\nnameserver 127.0.0.53 \nsearch a b\ndomain c\n;y\noptions ndots:2\noptions rotate edns0\n"
    )
    assert found == resolv.Resolv(("127.0.0.53",), ("c",), ("ndots:2", "rotate", "edns0"))
    assert resolv.container(found, Net(dns_search=(".",)), ["192.0.2.1"]).text() == (
        "nameserver 192.0.2.1\noptions ndots:2 rotate edns0\n"
    )


def spec(**fields: object) -> Spec:
    return Spec(image="i", image_id="sha256:i", argv=("x",), hostname="h", **fields)  # type: ignore[arg-type]


def test_hosts_with_a_gateway_and_without() -> None:
    wanted = spec(network="pasta", net=Net(hosts=("db:192.0.2.7", "me:host-gateway")))
    connected = Connected(endpoints=(Endpoint(network="pasta", ip="10.0.2.100"),), host="192.0.2.2")
    lines = hosts.text(wanted, connected).splitlines()
    assert lines[0] == "127.0.0.1\tlocalhost"
    assert lines[-4:] == [
        "192.0.2.7\tdb",
        "192.0.2.2\tme",
        "192.0.2.2\thost.docker.internal host.containers.internal",
        "10.0.2.100\th",
    ]
    with pytest.raises(UnavailableError, match="no address"):
        hosts.text(wanted, Connected())


def test_addresses_around_the_one_that_was_asked_for() -> None:
    own = addresses.own(Net(ip="10.9.8.2", ip6="fd01::7"))
    assert (own.gateway, own.gateway6, own.mac) == ("10.9.8.1", "fd01::2", "02:42:0a:09:08:02")
    assert addresses.own(Net()).gateway == "10.0.2.2"
