"""Who we are to a registry: the files that Docker's and the containers tools' logins write, and credential helpers.

    $REGISTRY_AUTH_FILE                     when it is set, and then `login` writes it
    $DOCKER_CONFIG/config.json              ~/.docker by default; else `login` writes this one
    $XDG_RUNTIME_DIR/containers/auth.json   podman's and skopeo's, until the next boot
    $XDG_CONFIG_HOME/containers/auth.json

The first that knows the registry counts. containers-auth.json(5) and Docker's `login` describe the documents; a
helper is a program `docker-credential-NAME` that is given a word and speaks JSON (docker/docker-credential-helpers).
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ..errors import InvalidError, NotFoundError, RootlessError

DOCKER_KEY = "https://index.docker.io/v1/"
"""Docker Hub's name in these files, older than today's API."""

_DOCKER_NAMES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_LIMIT = 4 << 20
_HELPER_TIMEOUT = 60
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TOKEN_USER = "<token>"
"""As a user's name: what goes with it is an identity token (docker-credential-helpers, README)."""


@dataclass(frozen=True)
class Credentials:
    """What to show a registry: user and password, or in their place a token that it gave out at the login."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class _Auth(msgspec.Struct):
    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""


class _File(msgspec.Struct, rename="camel"):
    auths: dict[str, _Auth | None] | None = None
    cred_helpers: dict[str, str] | None = None
    creds_store: str = ""


class _Answer(msgspec.Struct, rename="pascal"):
    username: str = ""
    secret: str = ""


def find(name: str, environment: Mapping[str, str] = os.environ, authfile: str = "") -> Credentials | None:
    """The credentials for a repository (`quay.io/someone/tool`) or a registry; None when nobody has logged in there.

    Args:
        authfile: `--authfile`, the only file that is then looked at.

    Raises:
        InvalidError: a file is malformed.
        RootlessError: a helper failed.
    """
    for path in _files(environment, authfile):
        found = _in_file(_read(path), name, path)
        if found is not None:
            return found
    return None


def store(host: str, credentials: Credentials, environment: Mapping[str, str] = os.environ, authfile: str = "") -> str:
    """Keep the credentials for a registry where the next command finds them; says where.

    Raises:
        InvalidError: the file that is there is malformed.
        RootlessError: it can't be written; a helper failed.
    """
    path = _written(environment, authfile)
    helper = _helper_of(_read(path), host)
    key = _key(host)
    if helper:
        secret = credentials.identity_token or credentials.password
        user = _TOKEN_USER if credentials.identity_token else credentials.username
        document = {"ServerURL": key, "Username": user, "Secret": secret}
        _ask_helper(helper, "store", msgspec.json.encode(document))
        return f"docker-credential-{helper}"
    plain = f"{credentials.username}:{credentials.password}"
    entry = {"auth": base64.b64encode(plain.encode()).decode()}
    if credentials.identity_token:
        entry = {"auth": base64.b64encode(f"{credentials.username}:".encode()).decode()}
        entry["identitytoken"] = credentials.identity_token
    whole = _read_raw(path)
    whole.setdefault("auths", {})
    if not isinstance(whole["auths"], dict):
        whole["auths"] = {}
    whole["auths"][key] = entry
    _write(path, whole)
    return str(path)


def erase(host: str, environment: Mapping[str, str] = os.environ, authfile: str = "") -> bool:
    """Forget the credentials for a registry where `store` keeps them. False when there were none."""
    path = _written(environment, authfile)
    document = _read(path)
    helper = _helper_of(document, host)
    if helper:
        known = _from_helper(helper, _key(host)) is not None
        if known:
            _ask_helper(helper, "erase", _key(host).encode())
        return known
    gone = [key for key in document.auths or {} if _host_of(key) == _host_of(host)]
    if not gone:
        return False
    whole = _read_raw(path)
    for key in gone:
        del whole["auths"][key]
    _write(path, whole)
    return True


def _files(environment: Mapping[str, str], authfile: str) -> Iterator[Path]:
    if authfile:
        yield Path(authfile)
        return
    named = environment.get("REGISTRY_AUTH_FILE")
    if named:
        yield Path(named)
    home = Path(environment.get("HOME") or "/")
    yield Path(environment.get("DOCKER_CONFIG") or home / ".docker") / "config.json"
    if environment.get("XDG_RUNTIME_DIR"):
        yield Path(environment["XDG_RUNTIME_DIR"]) / "containers/auth.json"
    yield Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "containers/auth.json"


def _written(environment: Mapping[str, str], authfile: str) -> Path:
    return next(_files(environment, authfile))


def _read_raw(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            data = file.read(_LIMIT + 1)
        found = msgspec.json.decode(data or b"{}", type=dict[str, Any])
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except (msgspec.MsgspecError, OSError, RecursionError) as problem:
        raise InvalidError(f"{path} is not valid: {problem}", hint="it should be as `docker login` writes it") from None
    return found


def _read(path: Path) -> _File:
    try:
        return msgspec.convert(_read_raw(path), _File)
    except msgspec.ValidationError as problem:
        raise InvalidError(f"{path} is not valid: {problem}", hint="it should be as `docker login` writes it") from None


def _write(path: Path, document: dict[str, Any]) -> None:
    """Replace the file; where its name is a link (as in many a collection of dotfiles), what that leads to."""
    from .. import atomic

    target = Path(os.path.realpath(path))
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = msgspec.json.format(msgspec.json.encode(document), indent=8)
        atomic.write(target, data + b"\n", tmp=target.parent, mode=0o600)
    except OSError as problem:
        raise RootlessError(f"{path} can't be written: {problem.strerror}") from problem


def _in_file(document: _File, name: str, path: Path) -> Credentials | None:
    host = name.partition("/")[0]
    helper = _helper_of(document, host)
    if helper:
        found = _from_helper(helper, _key(host))
        if found is not None:
            return found
    for key in _keys(name):
        for written, auth in (document.auths or {}).items():
            if auth is not None and _trimmed(written) == key:
                return _decoded(auth, path)
    return None


def _keys(name: str) -> Iterator[str]:
    """`quay.io/a/b`, `quay.io/a`, `quay.io`: the nearest first."""
    while name:
        yield name
        name = name.rpartition("/")[0]
    # Nothing more general than a host.


def _trimmed(key: str) -> str:
    """A key of `auths` as a name: Docker's have a scheme and the version of an API, and the Hub has several."""
    bare = re.sub(r"^https?://", "", key).rstrip("/")
    bare = re.sub(r"/v[12]$", "", bare)
    host, slash, rest = bare.partition("/")
    return ("docker.io" if host in _DOCKER_NAMES else host) + slash + rest


def _host_of(key: str) -> str:
    return _trimmed(key).partition("/")[0]


def _key(host: str) -> str:
    return DOCKER_KEY if host in _DOCKER_NAMES else host


def _decoded(auth: _Auth, path: Path) -> Credentials | None:
    username, password = auth.username, auth.password
    if auth.auth:
        try:
            text = base64.b64decode(auth.auth, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise InvalidError(f"{path} has credentials that can't be read", hint="log in again") from None
        username, _, password = text.partition(":")
        password = password.rstrip("\0")
    if auth.identitytoken:
        return Credentials(username=username, identity_token=auth.identitytoken)
    return Credentials(username, password) if username else None


def _helper_of(document: _File, host: str) -> str:
    helpers = document.cred_helpers or {}
    named = next((program for key, program in helpers.items() if _host_of(key) == _host_of(host)), "")
    return named or document.creds_store


def _from_helper(helper: str, key: str) -> Credentials | None:
    try:
        answer = msgspec.json.decode(_ask_helper(helper, "get", key.encode()), type=_Answer)
    except NotFoundError:
        return None
    except msgspec.MsgspecError as problem:
        raise InvalidError(f"docker-credential-{helper} gives no valid answer: {problem}") from None
    if answer.username == _TOKEN_USER:
        return Credentials(identity_token=answer.secret)
    return Credentials(answer.username, answer.secret)


def _ask_helper(helper: str, word: str, given: bytes) -> bytes:
    """Run a helper.

    Raises:
        NotFoundError: it has no such credentials.
        RootlessError: it is not there, or failed.
    """
    import subprocess

    if not _HELPER.fullmatch(helper):
        raise InvalidError(f"{helper!r} can't be the name of a credential helper")
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run([program, word], input=given, capture_output=True, timeout=_HELPER_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise RootlessError(f"{program} can't be asked: {problem}", hint="see credsStore in config.json") from problem
    if done.returncode == 0:
        return done.stdout
    said = (done.stdout or done.stderr).decode(errors="replace").strip()
    if "not found" in said.lower():
        raise NotFoundError(f"{program}: {said}")
    raise RootlessError(f"{program} {word} failed: {said[:200]}")
