"""Whose credentials are found where, and what login and logout do to the files."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from rootless.errors import InvalidError
from rootless.registry import credentials
from rootless.registry.credentials import Credentials


def auth(user: str, password: str = "p") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def written(path: Path, auths: dict[str, Any], **more: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"auths": auths, **more}))


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}


def user(name: str, environment: dict[str, str]) -> str | None:
    found = credentials.find(name, environment)
    return found.username if found else None


def test_the_files_in_their_order(tmp_path: Path, home: dict[str, str]) -> None:
    """The one that login writes comes first, or a login would change nothing."""
    assert user("r.example/x", home) is None
    for path, who in (
        (".config/containers/auth.json", "config"),
        ("run/containers/auth.json", "run"),
        (".docker/config.json", "docker"),
    ):
        written(tmp_path / path, {"r.example": auth(who)})
        assert user("r.example/x", home) == who
    written(tmp_path / "named.json", {"r.example": auth("named")})
    assert user("r.example/x", {**home, "REGISTRY_AUTH_FILE": str(tmp_path / "named.json")}) == "named"
    assert credentials.find("other.example/x", home, str(tmp_path / "named.json")) is None


def test_the_nearest_key_counts(tmp_path: Path, home: dict[str, str]) -> None:
    keys = {"q.example": auth("host"), "q.example/a": auth("a"), "q.example/a/b": auth("ab")}
    written(tmp_path / ".docker/config.json", keys)
    found = [user(f"q.example/{path}", home) for path in ("a/b", "a/b/c", "a/c", "ab/c", "x")]
    assert found == ["ab", "ab", "a", "host", "host"]


@pytest.mark.parametrize(
    "key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "https://registry-1.docker.io/v2/"]
)
def test_docker_hub_has_many_names(tmp_path: Path, home: dict[str, str], key: str) -> None:
    written(tmp_path / ".docker/config.json", {key: auth("hub")})
    assert user("docker.io/library/alpine", home) == "hub"
    assert credentials.erase("docker.io", home)
    assert user("docker.io/library/alpine", home) is None


def test_login_keeps_what_else_is_in_the_file(tmp_path: Path, home: dict[str, str]) -> None:
    path = tmp_path / ".docker/config.json"
    written(path, {"o.example": auth("other")}, proxies={"default": {}}, psFormat="x")
    credentials.store("docker.io", Credentials("me", "secret:with:colons"), home)
    document = json.loads(path.read_text())
    assert document["proxies"] == {"default": {}}
    assert sorted(document["auths"]) == ["https://index.docker.io/v1/", "o.example"]
    found = credentials.find("docker.io/x/y", home)
    assert found == Credentials("me", "secret:with:colons")
    assert "secret" not in repr(found)
    assert (path.stat().st_mode & 0o777, [*path.parent.iterdir()]) == (0o600, [path])


def test_a_link_stays_a_link(tmp_path: Path, home: dict[str, str]) -> None:
    """People keep this file in a repository of dotfiles."""
    written(tmp_path / "dotfiles/config.json", {})
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").symlink_to("../dotfiles/config.json")
    credentials.store("r.example", Credentials("me", "p"), home)
    assert (tmp_path / ".docker/config.json").is_symlink()
    assert "r.example" in (tmp_path / "dotfiles/config.json").read_text()


def test_an_identity_token(tmp_path: Path, home: dict[str, str]) -> None:
    credentials.store("r.example", Credentials("me", identity_token="tok"), home)
    assert credentials.find("r.example/x", home) == Credentials("me", identity_token="tok")


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": 1}', '{"auths": {"r.example": {"auth": "***"}}}'])
def test_a_malformed_file_is_named(tmp_path: Path, home: dict[str, str], text: str) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(text)
    with pytest.raises(InvalidError, match=r"config\.json"):
        credentials.find("r.example/x", home)


@pytest.mark.parametrize("helper", ["../evil", "a b", "-x", "/bin/sh"])
def test_a_helper_is_a_name(tmp_path: Path, home: dict[str, str], helper: str) -> None:
    written(tmp_path / ".docker/config.json", {}, credsStore=helper)
    with pytest.raises(InvalidError, match="can't be the name of a credential helper"):
        credentials.find("r.example/x", home)
