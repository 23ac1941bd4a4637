"""References, by Docker's grammar: how people name an image, and what the name stands for.

    reference := name [":" tag] ["@" digest]
    name      := [domain "/"] component ["/" component]*
    domain    := host [":" port]        host: a DNS name, an IPv4 address, or an IPv6 address in brackets
    component := [a-z0-9]+ (("." | "_" | "__" | "-"+) [a-z0-9]+)*

A name has two spellings. The full one is what a registry and the store know, `docker.io/library/alpine`; the familiar
one is what people type and read, `alpine`. Which of the two a text is need not be said: its first component is a domain
when it has a dot, a colon or an upper-case letter, or is `localhost`. Grammar and refusals are those of
github.com/distribution/reference.
"""

from __future__ import annotations

import re

import msgspec

from ..errors import InvalidError
from ..storage import digest as digests

DEFAULT_DOMAIN = "docker.io"
LEGACY_DOMAIN = "index.docker.io"
OFFICIAL = "library/"
DEFAULT_TAG = "latest"
NAME_LIMIT = 255
"""Characters in a repository's path, without the domain."""

_HOST_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = rf"(?:{_HOST_LABEL}(?:\.{_HOST_LABEL})*|\[[a-fA-F0-9:]+\])"
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REFERENCE = re.compile(
    rf"(?P<domain>{_HOST}(?::[0-9]+)?)/(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)"
    rf"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}))?(?:@(?P<digest>{_DIGEST}))?"
)
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")
_ID_PREFIX = re.compile(r"(?:sha256:)?([a-f0-9]{1,64})")


class Reference(msgspec.Struct, frozen=True, order=True):
    """A name, and what was said about which of its images is meant.

    Attributes:
        domain: the registry; `docker.io` where none was named.
        path: the repository there: `library/alpine`.
        tag: without its colon; empty when none was said (see `tagged`).
        digest: `sha256:...` of a manifest; empty when none was said.
    """

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """The full name without tag and digest: `docker.io/library/alpine`."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """The name as people write it: `alpine`, `someone/tool`, `quay.io/someone/tool`."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        rest = self.path.removeprefix(OFFICIAL)
        # Only what `parse` would put back is left out: `library/a/b` is not `a/b`.
        return self.path if "/" in rest else rest

    @property
    def full(self) -> str:
        """The whole reference as the store spells it: `docker.io/library/alpine:latest`."""
        return self.name + self._suffix()

    @property
    def familiar(self) -> str:
        """The whole reference as it is shown: `alpine:latest`."""
        return self.familiar_name + self._suffix()

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def tagged(self) -> Reference:
        """This reference, with `latest` where it has neither tag nor digest."""
        return self if self.tag or self.digest else msgspec.structs.replace(self, tag=DEFAULT_TAG)

    def __str__(self) -> str:
        return self.familiar


def parse(text: str) -> Reference:
    """The reference that `text` is, its name made full. No tag is added.

    Raises:
        InvalidError: in Docker's words.
    """
    if _IDENTIFIER.fullmatch(text):
        raise InvalidError(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    domain, rest = _split_domain(text)
    repository = rest.partition(":")[0]
    if repository.lower() != repository:
        raise InvalidError(f"invalid reference format: repository name ({repository}) must be lowercase")
    match = _REFERENCE.fullmatch(f"{domain}/{rest}")
    if match is None:
        raise InvalidError(f"invalid reference format: {text!r} is not of the form NAME[:TAG][@DIGEST]")
    found = Reference(**match.groupdict(default=""))
    if len(found.path) > NAME_LIMIT:
        raise InvalidError(f"invalid reference format: repository name must not be more than {NAME_LIMIT} characters")
    if found.digest and not is_digest(found.digest):
        raise InvalidError(f"invalid reference format: {found.digest!r} is not a sha256 or sha512 digest")
    return found


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    named = bool(slash) and (any(c in first for c in ".:") or first == "localhost" or first.lower() != first)
    domain, rest = (first, rest) if named else (DEFAULT_DOMAIN, text)
    if domain == LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in rest:
        rest = OFFICIAL + rest
    return domain, rest


def is_digest(text: str) -> bool:
    """Whether `text` is a digest as a whole."""
    try:
        digests.parse(text)
    except InvalidError:
        return False
    return True


def digest_in(text: str) -> str:
    """The digest that `text` is as a whole; 64 hexadecimal digits alone are a sha256. Empty for anything else."""
    if _IDENTIFIER.fullmatch(text):
        return f"sha256:{text}"
    return text if is_digest(text) else ""


def id_prefix(text: str) -> str:
    """The digits of `text` when it can be the beginning of an image's id, `sha256:` before it or not; else empty."""
    match = _ID_PREFIX.fullmatch(text)
    return match[1] if match else ""
