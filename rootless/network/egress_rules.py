"""The rules of --egress: which names a container may reach, and on which ports."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import UsageError

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_DOMAIN = re.compile(rf"(?=.{{1,253}}$)(\*\.)?{_LABEL}(\.{_LABEL})*", re.ASCII)
_RULE = re.compile(r"(?P<name>\[[^\]]*\]|[^:\[\]]*)(:(?P<port>[0-9]{1,5}))?", re.ASCII)

SYNTAX = "--egress allow=DOMAIN[:PORT],...; *.DOMAIN is every name below it"


def read(texts: Iterable[str]) -> tuple[str, ...]:
    """The rules in the values of the option, as they are kept: each `NAME` or `NAME:PORT`.

    Raises:
        UsageError: a text means nothing.
    """
    found: dict[str, None] = {}
    for text in texts:
        word, equals, rules = text.partition("=")
        if word != "allow" or not equals:
            raise UsageError(f"invalid --egress {text}", hint=SYNTAX)
        found |= dict.fromkeys(_rule(rule.strip(), text) for rule in rules.split(","))
    return tuple(found)


def _rule(text: str, whole: str) -> str:
    match = _RULE.fullmatch(text)
    name = normal(match["name"]) if match else ""
    port = int(match["port"]) if match and match["port"] else 0
    if match and match["port"] and not 0 < port <= 65535:
        raise UsageError(f"invalid port in --egress {whole}: {match['port']}")
    if not name or not (_DOMAIN.fullmatch(name) or _literal(name)):
        raise UsageError(f"invalid domain in --egress {whole}: {text or 'nothing'}", hint=SYNTAX)
    return joined(name, port) if port else joined(name)


def normal(name: str) -> str:
    """A name as it is compared: lower case, without the dot at its end, in ASCII (RFC 3490); an address as it is
    written shortest. Empty when it is no name at all."""
    if name.startswith("[") and name.endswith("]"):
        return _literal(name[1:-1])
    bare = name.rstrip(".")
    if address := _literal(bare):
        return address
    if bare.isascii():
        return bare.lower()
    try:
        return bare.encode("idna").decode().lower()
    except UnicodeError:
        return ""


def _literal(name: str) -> str:
    """An address as it is written shortest; empty for what is none."""
    if not (":" in name or name[-1:].isdigit()):
        return ""
    from ipaddress import ip_address

    try:
        return str(ip_address(name))
    except ValueError:
        return ""


def joined(name: str, port: int = 0) -> str:
    """`NAME:PORT`, or `NAME` alone; an IPv6 address in brackets."""
    bracketed = f"[{name}]" if ":" in name else name
    return f"{bracketed}:{port}" if port else bracketed


@dataclass(frozen=True)
class Rules:
    """Rules as `read` gives them."""

    texts: tuple[str, ...]

    def allow(self, name: str, port: int) -> bool:
        """Whether a connection to this port of this name may be made."""
        return any(rule in self.texts for known in _forms(name) for rule in (joined(known), joined(known, port)))

    def know(self, name: str) -> bool:
        """Whether any port of this name may be reached."""
        names = {
            text if text.endswith("]") else text.partition("]:")[0] + "]" if text[:1] == "[" else text.partition(":")[0]
            for text in self.texts
        }
        return any(joined(known) in names for known in _forms(name))


def _forms(name: str) -> list[str]:
    """How rules may call a name: itself, and `*.` and each of the domains above it."""
    known = normal(name)
    labels = known.split(".")
    above = [] if _literal(known) else ["*." + ".".join(labels[i:]) for i in range(1, len(labels))]
    return [known, *above]
