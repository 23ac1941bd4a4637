"""TLS for each server: the system's certificates, what certs.d adds for one host, or no verification where that was
asked.

containers-certs.d(5): in `certs.d/HOST[:PORT]/`, `*.crt` are further authorities, `*.cert` with `*.key` of the same
name are the client's own. The first of these directories that exists is used, the caller's before the machine's.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import InvalidError
from .url import Url


class Contexts:
    """Gives the TLS context for a URL; each is made once."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._made: dict[str, ssl.SSLContext] = {}
        self.unverified: set[str] = set()
        """Hosts, with port where it is not 443, whose certificate may be anybody's."""

    def __call__(self, url: Url) -> ssl.SSLContext:
        host = url.authority
        if host not in self._made:
            self._made[host] = self._make(host)
        return self._made[host]

    def _make(self, host: str) -> ssl.SSLContext:
        context = ssl.create_default_context()
        directory = next((path for path in _directories(host, self._environment) if path.is_dir()), None)
        if directory is not None:
            _add(context, directory)
        if host in self.unverified:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _directories(host: str, environment: Mapping[str, str]) -> Iterator[Path]:
    home = Path(environment.get("HOME") or "/")
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    for parent in config / "containers", config / "docker", Path("/etc/containers"), Path("/etc/docker"):
        yield parent / "certs.d" / host


def _add(context: ssl.SSLContext, directory: Path) -> None:
    """Take in what stands in a certs.d directory.

    Raises:
        InvalidError: a file of it is not what its name says.
    """
    for path in sorted(directory.iterdir()):
        try:
            if path.suffix == ".crt":
                context.load_verify_locations(path)
            elif path.suffix == ".cert":
                context.load_cert_chain(path, path.with_suffix(".key"), password=_no_password)
        except (OSError, ssl.SSLError, ValueError) as problem:
            raise InvalidError(f"{path} can't be used: {problem}", hint="see containers-certs.d(5)") from problem


def _no_password() -> str:
    raise ValueError("its key is encrypted")
