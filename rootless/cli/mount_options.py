"""`-v`, `--mount`, `--tmpfs`, `--volumes-from` and `--volume-driver` of `run` and `create`."""

from __future__ import annotations

from typing import Any

import click

from ..container.mounts import Mount
from ..errors import InvalidError, UsageError

MOUNT_OPTIONS = (
    click.option("--mount", multiple=True, metavar="MOUNT", help="Attach a filesystem mount to the container"),
    click.option("--tmpfs", multiple=True, metavar="LIST", help="Mount a tmpfs directory"),
    click.option("-v", "--volume", multiple=True, metavar="LIST", help="Bind mount a volume"),
    click.option("--volume-driver", default="", metavar="STRING", help="Optional volume driver for the container"),
    click.option("--volumes-from", multiple=True, metavar="LIST", help="Mount volumes from the specified container(s)"),
)


def read_mounts(given: dict[str, Any]) -> dict[str, Any]:
    """Take these options out of `given`: the fields of `spec.Options` that they set.

    Raises:
        UsageError, InvalidError: a text that means nothing; in Docker's words.
    """
    from ..container.mount_texts import parse_volume, parse_volumes_from, plugin_missing

    volumes = [parse_volume(text) for text in given.pop("volume")]
    mounts = [_mount(text) for text in given.pop("mount")]
    driver = given.pop("volume_driver")
    for mount in volumes:
        if mount.type == "volume" and driver not in ("", "local"):
            raise plugin_missing(driver, mount.source)
    for text in given["volumes_from"]:
        parse_volumes_from(text)
    return {
        "mounts": (*volumes, *mounts),
        "tmpfs": dict(_tmpfs(text) for text in given.pop("tmpfs")),
        "volumes_from": tuple(given.pop("volumes_from")),
    }


def _mount(text: str) -> Mount:
    from ..container.mount_texts import parse_mount

    try:
        return parse_mount(text)
    except UsageError as problem:
        raise UsageError(f'invalid argument "{text}" for "--mount" flag: {problem.message}') from None


def _tmpfs(text: str) -> tuple[str, str]:
    from ..container.mount_texts import normal

    path, _, options = text.partition(":")
    if not path.startswith("/"):
        raise UsageError(
            f'invalid argument "{text}" for "--tmpfs" flag: invalid mount path: \'{path}\' mount path must be absolute'
        )
    if normal(path) == "/":
        raise InvalidError("invalid specification: destination can't be '/'")
    return normal(path), options
