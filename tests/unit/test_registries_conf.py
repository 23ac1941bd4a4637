"""registries.conf, as containers-registries.conf(5) has it: which places a name leads to."""

from __future__ import annotations

from pathlib import Path

import pytest

from rootless.errors import InvalidError
from rootless.image import shortnames
from rootless.registry.config import BlockedError, Place, Registries, is_local, load


def conf(tmp_path: Path, text: str, **more: str) -> Registries:
    (tmp_path / "registries.conf").write_text(text)
    return load({"CONTAINERS_REGISTRIES_CONF": str(tmp_path / "registries.conf"), "HOME": str(tmp_path), **more})


def places(found: Registries, name: str, *, digest: bool = False) -> list[str]:
    return [str(place) for place in found.sources(name, digest=digest)]


def test_docker_io_lives_elsewhere(tmp_path: Path) -> None:
    assert conf(tmp_path, "").sources("docker.io/library/alpine", digest=False) == [
        Place("registry-1.docker.io", "library/alpine")
    ]


def test_the_longest_prefix_counts_and_only_whole_components(tmp_path: Path) -> None:
    found = conf(
        tmp_path,
        """
        [[registry]]
        location = "example.com"
        [[registry]]
        prefix = "example.com/foo"
        location = "internal.example/bar"
        """,
    )
    assert places(found, "example.com/foo/x") == ["internal.example/bar/x"]
    assert places(found, "example.com/foo") == ["internal.example/bar"]
    assert places(found, "example.com/food") == ["example.com/food"]
    assert places(found, "example.com.evil/foo/x") == ["example.com.evil/foo/x"]


def test_a_star_stands_for_a_host_below(tmp_path: Path) -> None:
    found = conf(tmp_path, '[[registry]]\nprefix = "*.example.com"\nblocked = true\n')
    with pytest.raises(BlockedError):
        found.sources("a.example.com/x", digest=False)
    assert places(found, "example.com/x") == ["example.com/x"]


def test_mirrors_come_first_and_some_only_for_digests_or_tags(tmp_path: Path) -> None:
    found = conf(
        tmp_path,
        """
        [[registry]]
        location = "example.com"
        [[registry.mirror]]
        location = "all.example/m"
        insecure = true
        [[registry.mirror]]
        location = "digests.example"
        pull-from-mirror = "digest-only"
        [[registry.mirror]]
        location = "tags.example"
        pull-from-mirror = "tag-only"
        [[registry]]
        location = "strict.example"
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "m.example"
        """,
    )
    assert places(found, "example.com/x") == ["all.example/m/x", "tags.example/x", "example.com/x"]
    assert places(found, "example.com/x", digest=True) == ["all.example/m/x", "digests.example/x", "example.com/x"]
    assert [place.insecure for place in found.sources("example.com/x", digest=False)] == [True, False, False]
    assert places(found, "strict.example/x") == ["strict.example/x"]
    assert places(found, "strict.example/x", digest=True) == ["m.example/x", "strict.example/x"]
    assert str(found.home("example.com/x")) == "example.com/x"


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("127.3.2.1", True),
        ("[::1]:5000", True),
        ("[::1]", True),
        ("localhost.example.com", False),
        ("10.0.0.1", False),
    ],
)
def test_what_is_on_this_machine(host: str, local: bool) -> None:
    assert is_local(host) is local


def test_tls_verify_goes_before_what_the_file_says(tmp_path: Path) -> None:
    found = conf(tmp_path, '[[registry]]\nlocation = "example.com"\ninsecure = true\n')
    assert found.home("example.com/x").insecure
    assert not found.home("example.com/x", verify=True).insecure
    assert found.home("other.example/x", verify=False).insecure
    assert found.home("localhost:5000/x").insecure
    assert not found.home("localhost:5000/x", verify=True).insecure


def test_the_older_format(tmp_path: Path) -> None:
    found = conf(
        tmp_path, '[registries.insecure]\nregistries = ["a.example"]\n[registries.block]\nregistries=["b.example"]'
    )
    assert found.home("a.example/x").insecure
    with pytest.raises(BlockedError):
        found.home("b.example/x")


def test_aliases_are_for_short_names_alone(tmp_path: Path) -> None:
    """An alias keeps the tag that was typed; a name with a registry has none, docker.io included."""
    found = conf(tmp_path, '[aliases]\n"fedora" = "registry.fedoraproject.org/fedora"\n"a/b" = "quay.io/c/d"\n')
    expanded = {
        text: shortnames.expand(text, found).full for text in ("fedora:40", "a/b", "docker.io/fedora", "alpine")
    }
    assert expanded == {
        "fedora:40": "registry.fedoraproject.org/fedora:40",
        "a/b": "quay.io/c/d",
        "docker.io/fedora": "docker.io/library/fedora",
        "alpine": "docker.io/library/alpine",
    }


def test_the_users_file_stands_for_the_machines_and_drop_ins_add_to_it(tmp_path: Path) -> None:
    own = tmp_path / ".config/containers"
    (own / "registries.conf.d").mkdir(parents=True)
    (own / "registries.conf").write_text('[aliases]\n"one" = "q.example/one"\n"gone" = "q.example/x"\n')
    (own / "registries.conf.d/10.conf").write_text('[aliases]\n"two" = "q.example/two"\n"gone" = ""\n')
    (own / "registries.conf.d/readme.txt").write_text("not TOML [")
    found = load({"HOME": str(tmp_path)})
    assert (found.alias("one"), found.alias("two"), found.alias("gone")) == ("q.example/one", "q.example/two", "")


@pytest.mark.parametrize("text", ["[[registry", "registry = 1", '[[registry]]\nblocked = "yes"', "\xff"])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.conf").write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidError, match=r"r\.conf is not valid"):
        load({"CONTAINERS_REGISTRIES_CONF": str(tmp_path / "r.conf"), "HOME": str(tmp_path)})
