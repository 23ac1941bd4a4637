"""`--network` and what belongs to it: the networks that a container shall be on, with its names and addresses there."""

from __future__ import annotations

import csv
import ipaddress
import re
from typing import Any

import click
import msgspec

from ..container.network import DEFAULTS, OWN, RESERVED, Wish
from ..errors import UsageError
from .options import invalid

WISH_OPTIONS = (
    click.option("--network", "--net", multiple=True, metavar="NETWORK", help="Connect a container to a network"),
    click.option(
        "--network-alias",
        "--net-alias",
        multiple=True,
        metavar="LIST",
        help="Add network-scoped alias for the container",
    ),
    click.option("--ip", default="", metavar="IP", help="IPv4 address (e.g., 172.30.100.104)"),
    click.option("--ip6", default="", metavar="IP", help="IPv6 address (e.g., 2001:db8::33)"),
    click.option("--mac-address", "mac", default="", metavar="STRING", help="Container MAC address"),
)

WITH_OPTIONS = ("container", "pasta", "slirp4netns")
"""Modes of which more is said behind a colon."""

_FIELDS = {"name": "name", "ip": "ip", "ip6": "ip6", "mac-address": "mac"}
_LONG = re.compile(r"(name|alias|ip|ip6|mac-address|driver-opt)=")
_ALIAS = re.compile(r"[a-zA-Z0-9_]([a-zA-Z0-9_.-]{0,252}[a-zA-Z0-9_])?")


def read_wishes(given: dict[str, Any]) -> tuple[str, tuple[Wish, ...], Wish]:
    """Take these options out of what a command was given.

    Returns:
        The mode, empty for the default one; the named networks; and what was asked for where the mode is none of these.

    Raises:
        UsageError: they contradict each other, or a text means nothing; in Docker's words.
    """
    wishes = [_parse(text) for text in given.pop("network")]
    beside = Wish(
        name="",
        aliases=tuple(check_alias(text, "--network-alias") for text in given.pop("network_alias")),
        ip=address(given.pop("ip"), "--ip", 4),
        ip6=address(given.pop("ip6"), "--ip6", 6),
        mac=hardware_address(given.pop("mac"), "--mac-address"),
    )
    if wishes:
        wishes[0] = _with(wishes[0], beside)
    modes = [wish for wish in wishes if _is_mode(wish.name)]
    if modes and len(wishes) > 1:
        raise UsageError("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
    names = [wish.name for wish in wishes]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise UsageError(f'network "{twice}" is specified multiple times')
    if wishes and not modes:
        return names[0], tuple(wishes), Wish(name="")
    mode = modes[0] if modes else beside
    _check_mode(mode)
    return mode.name, (), mode


def _is_mode(name: str) -> bool:
    return name.partition(":")[0] in (*RESERVED, "")


def _with(wish: Wish, beside: Wish) -> Wish:
    """A network's own words with those of the separate options, which are about the first one."""
    for option, one, other in (
        ("--ip", wish.ip, beside.ip),
        ("--ip6", wish.ip6, beside.ip6),
        ("--mac-address", wish.mac, beside.mac),
    ):
        if one and other:
            raise UsageError(f"conflicting options: cannot specify both {option} and per-network address")
    return msgspec.structs.replace(
        wish,
        aliases=wish.aliases + beside.aliases,
        ip=wish.ip or beside.ip,
        ip6=wish.ip6 or beside.ip6,
        mac=wish.mac or beside.mac,
    )


def _check_mode(mode: Wish) -> None:
    """What a container can't have outside of networks of a name."""
    kind, colon, _ = mode.name.partition(":")
    if colon and kind not in WITH_OPTIONS:
        raise invalid(mode.name, "--network", f"{kind or 'the default'} takes no options")
    if mode.aliases:
        raise UsageError("network-scoped alias is supported only for containers in user defined networks")
    if kind in (*OWN, *DEFAULTS):
        return
    if mode.ip or mode.ip6:
        raise UsageError("user specified IP address is supported on user defined networks only")
    if mode.mac:
        raise UsageError("conflicting options: mac-address and the network mode")


def _parse(text: str) -> Wish:
    """`NAME`, or Docker's longer form: `name=NAME,alias=...,ip=...`."""
    if not _LONG.match(text):
        return Wish(name=text)
    fields: dict[str, str] = {}
    aliases: list[str] = []
    for word in next(csv.reader([text])):
        key, equals, value = word.partition("=")
        if key == "alias" and equals:
            aliases.append(check_alias(value, "--network"))
        elif key in _FIELDS and equals:
            fields[_FIELDS[key]] = value
        else:
            raise invalid(text, "--network", f"invalid field {word}")
    if not fields.get("name"):
        raise invalid(text, "--network", "network name/id is not specified")
    return Wish(
        name=fields["name"],
        aliases=tuple(aliases),
        ip=address(fields.get("ip", ""), "--network", 4),
        ip6=address(fields.get("ip6", ""), "--network", 6),
        mac=hardware_address(fields.get("mac", ""), "--network"),
    )


def check_alias(text: str, flag: str) -> str:
    """A further name of a container. UsageError when nobody could ask for it."""
    if not _ALIAS.fullmatch(text):
        raise invalid(text, flag, "letters, digits, '_', '-' and '.' can be in a name")
    return text


def address(text: str, flag: str, version: int) -> str:
    """An address as it is written shortest; empty for none. UsageError when it is none of this version of IP."""
    if not text:
        return ""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise invalid(text, flag, f"invalid IPv{version} address: {text}") from None
    if found.version != version or getattr(found, "scope_id", None):
        raise invalid(text, flag, f"invalid IPv{version} address: {text}")
    return str(found)


def hardware_address(text: str, flag: str) -> str:
    """A hardware address as Linux writes it. UsageError when it is none, or a group's."""
    if not text:
        return ""
    digits = text.replace(":", "").replace("-", "").lower()
    if (
        not re.fullmatch(r"([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}", text)
        or int(digits[:2], 16) & 1
        or not int(digits, 16)
    ):
        raise invalid(text, flag, f"{text} is not a valid mac address")
    return bytes.fromhex(digits).hex(":")
