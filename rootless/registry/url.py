"""URLs, and the proxy that the environment names for each of them."""

from __future__ import annotations

import base64
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote, urljoin, urlsplit

from ..errors import InvalidError

_PORTS = {"http": 80, "https": 443}
_PRINTABLE = "".join(chr(c) for c in range(0x21, 0x7F))
"""Stands in a request as it was given; anything else is percent-encoded."""
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_UNSAFE = re.compile(r"[\x00-\x20\x7f]")


@dataclass(frozen=True)
class Url:
    """An absolute http or https URL, checked.

    Attributes:
        host: without the brackets of an IPv6 address; international names in their ASCII form.
        target: path and query, as they stand in a request.
        credentials: `user:password`, decoded; empty when there are none.
    """

    scheme: str
    host: str
    port: int
    target: str
    credentials: str = ""

    @property
    def origin(self) -> tuple[str, str, int]:
        """Whom one talks to: what belongs to one origin is not told another (RFC 6454)."""
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """Host and port as in a Host header: the scheme's own port is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def authorization(self) -> str:
        """The value of an Authorization header for the credentials (RFC 7617), or empty."""
        return "Basic " + base64.b64encode(self.credentials.encode()).decode() if self.credentials else ""

    @property
    def bare(self) -> str:
        """Without credentials and query: what a failure's line shows. Queries are long, and signed ones are secrets."""
        return f"{self.scheme}://{self.authority}{self.target.partition('?')[0]}"

    def __str__(self) -> str:
        """Without the credentials: this is what histories show."""
        return f"{self.scheme}://{self.authority}{self.target}"


def parse(text: str) -> Url:
    """The URL that `text` is.

    Raises:
        InvalidError: it is none that can be fetched here.
    """
    shown = re.sub(r"//[^/@]*@", "//", text)
    try:
        parts = urlsplit(text)
        port = parts.port
        host = parts.hostname or ""
        host = host if _is_ip(host) else host.encode("idna").decode()
    except ValueError as problem:
        raise InvalidError(f"{shown!r} is not a valid URL: {problem}") from None
    known = parts.scheme in _PORTS and (_HOST.fullmatch(host) or _is_ip(host))
    if not known or _UNSAFE.search(text):
        raise InvalidError(f"{shown!r} is not a valid URL", hint="it should read https://HOST/PATH")
    target = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_PRINTABLE)
    credentials = unquote(f"{parts.username or ''}:{parts.password or ''}") if parts.username else ""
    return Url(parts.scheme, host, port or _PORTS[parts.scheme], target, credentials)


def redirected(url: Url, location: str) -> Url:
    """Where a redirect leads. Credentials stay only within the origin.

    Raises:
        InvalidError: not a URL, or one that would give up encryption.
    """
    there = parse(urljoin(str(url), location))
    if url.scheme == "https" and there.scheme == "http":
        raise InvalidError(f"{url} redirects to {there}: an encrypted connection is not given up for a plain one")
    if there.origin == url.origin and not there.credentials:
        return replace(there, credentials=url.credentials)
    return there


def proxy_for(url: Url, environment: Mapping[str, str] = os.environ) -> Url | None:
    """The proxy that $HTTP_PROXY, $HTTPS_PROXY, $ALL_PROXY and $NO_PROXY (or in lower case) name for this URL.

    Raises:
        InvalidError: it is not a proxy that speaks HTTP.
    """
    # Upper-case HTTP_PROXY may come from a request's `Proxy:` header in a CGI program (httpoxy, CVE-2016-5385).
    cgi = "REQUEST_METHOD" in environment and url.scheme == "http"
    names = [f"{url.scheme}_proxy", *([] if cgi else [f"{url.scheme}_proxy".upper()]), "all_proxy", "ALL_PROXY"]
    named = next((environment[name] for name in names if environment.get(name)), "")
    if not named or _bypassed(url, environment.get("no_proxy") or environment.get("NO_PROXY") or ""):
        return None
    try:
        return parse(named if "://" in named else f"http://{named}")
    except InvalidError:
        raise InvalidError(
            f"the proxy {named!r} is not an http or https URL", hint="see $http_proxy and $https_proxy"
        ) from None


def _bypassed(url: Url, exceptions: str) -> bool:
    address = _is_ip(url.host)
    if url.host == "localhost" or (address and address.is_loopback):
        return True
    return any(_matches(url, rule.strip().lower()) for rule in exceptions.split(",") if rule.strip())


def _matches(url: Url, rule: str) -> bool:
    """Whether one entry of $NO_PROXY means this host: `*`, an address or a network, a domain with its subdomains, or
    (with a dot in front) the subdomains alone. A port may follow."""
    if rule == "*":
        return True
    address = _is_ip(url.host)
    if address and "/" in rule:
        try:
            return address in ipaddress.ip_network(rule, strict=False)
        except ValueError:
            return False
    host, _, port = rule.rpartition(":") if re.search(r"[^:]:[0-9]+$|\]:[0-9]+$", rule) else (rule, "", "")
    if port and int(port) != url.port:
        return False
    if address:
        return _is_ip(host.strip("[]")) == address
    domain = host.removeprefix("*")
    return url.host.endswith(domain) if domain.startswith(".") else f".{url.host}".endswith(f".{domain}")


def _is_ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
