"""The documents an image consists of: index, manifest, descriptor and configuration, OCI's and Docker's.

Sources: the OCI image specification 1.1 (image-layout.md, manifest.md, config.md) and, for Docker's media types and the
fields of `config` that OCI doesn't have, distribution's manifest-v2-2.md and moby's image specification 1.3.

Everything here came from outside once. The types check a document's shape; `check_descriptor`, `read_manifest` and
`read_config` check what a shape can't say: digests that are digests, sizes that are bearable, layers that fit.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from ..errors import InvalidError
from ..storage import digest as digests
from .documents import Document, read, read_whole

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

REF_NAME = "org.opencontainers.image.ref.name"
"""The annotation of a descriptor in a layout's index that gives the image's name (OCI annotations.md)."""

MANIFEST_LIMIT = 4 << 20
"""Bytes. Registries refuse larger manifests, and a document is held in memory as a whole."""
CONFIG_LIMIT = 8 << 20
LAYER_LIMIT = 120
"""Layers of one image: what the storage drivers can stack (storage/driver.py)."""


class Platform(Document):
    """What a manifest of an index runs on. The names are Go's GOOS and GOARCH."""

    architecture: str
    os: str
    variant: str = ""


class Descriptor(Document, kw_only=True):
    """A reference to a blob: its type, its digest and its size in bytes (OCI descriptor.md)."""

    media_type: str
    digest: str
    size: int
    urls: list[str] | None = None
    annotations: dict[str, str] | None = None
    platform: Platform | None = None
    artifact_type: str = ""

    @property
    def ref_name(self) -> str:
        """The name that a layout's index gives this blob; empty for none."""
        return (self.annotations or {}).get(REF_NAME, "")


class Manifest(Document, kw_only=True):
    """One image for one platform: its configuration and its layers, lowest first (OCI manifest.md)."""

    schema_version: int
    media_type: str = ""
    artifact_type: str = ""
    config: Descriptor
    layers: list[Descriptor]
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None


class Index(Document, kw_only=True):
    """A list of manifests: one image for several platforms, or the names of a layout's images (OCI image-index.md)."""

    schema_version: int
    media_type: str = ""
    manifests: list[Descriptor]
    annotations: dict[str, str] | None = None


class Layout(Document):
    """`oci-layout`, the file that makes a directory a layout (OCI image-layout.md)."""

    image_layout_version: str


class Healthcheck(Document, rename="pascal"):
    """How to find out whether the container's service is well. Times are nanoseconds; 0 inherits."""

    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class RunConfig(Document, rename="pascal"):
    """What a container of the image is started with, where the command line says nothing else.

    Both `None` and an empty value mean that the image says nothing: builders write either.

    Attributes:
        exposed_ports: `80/tcp` as key; the value is an empty object, because Go had no sets.
        volumes: absolute paths as keys, likewise.
        on_build: instructions for a build that starts from this image.
        shell: what the shell form of an instruction is given to.
    """

    user: str | None = None
    exposed_ports: dict[str, dict[str, Any] | None] | None = None
    env: list[str] | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    volumes: dict[str, dict[str, Any] | None] | None = None
    working_dir: str | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | None = None
    healthcheck: Healthcheck | None = None
    args_escaped: bool | None = None
    on_build: list[str] | None = None
    shell: list[str] | None = None


class RootFs(Document, rename=None):
    """The layers' digests as plain tar, lowest first: what an image is, whatever its layers were compressed with."""

    type: str
    diff_ids: list[str]


class History(Document, rename=None):
    """How a layer came to be, or a change of the configuration that made none (`empty_layer`)."""

    created: str | None = None
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageConfig(Document, kw_only=True, rename=None):
    """The configuration of an image. The digest of this document is the image's id (OCI config.md)."""

    created: str | None = None
    author: str = ""
    architecture: str
    variant: str = ""
    os: str
    os_version: str = msgspec.field(name="os.version", default="")
    config: RunConfig | None = None
    rootfs: RootFs
    history: list[History] | None = None

    @property
    def run(self) -> RunConfig:
        """`config`, which an image may lack."""
        return self.config or RunConfig()


def check_descriptor(descriptor: Descriptor, what: str, limit: int = 1 << 62) -> None:
    """Refuse a descriptor that can't be followed.

    Raises:
        InvalidError: its digest is none, or its size is negative or above `limit`.
    """
    digests.check(descriptor.digest)
    if not 0 <= descriptor.size <= limit:
        raise InvalidError(f"{what}: a size of {descriptor.size} bytes is not acceptable (limit {limit})")


def read_manifest(data: bytes, what: str) -> Manifest:
    """A manifest whose descriptors can be followed. Not to be written again: unknown fields are left out.

    Raises:
        InvalidError: says what is wrong with it; also for a manifest of something that is not an image.
    """
    manifest = read(data, Manifest, what)
    if manifest.schema_version != 2:
        raise InvalidError(f"{what} has schema version {manifest.schema_version}; only 2 is supported")
    if manifest.config.media_type not in (OCI_CONFIG, DOCKER_CONFIG):
        raise InvalidError(f"{what} is not of a container image but of {manifest.config.media_type[:100]!r}")
    if len(manifest.layers) > LAYER_LIMIT:
        raise InvalidError(f"{what} has {len(manifest.layers)} layers; at most {LAYER_LIMIT} can be stacked")
    check_descriptor(manifest.config, f"{what}, its configuration", CONFIG_LIMIT)
    for number, layer in enumerate(manifest.layers):
        check_descriptor(layer, f"{what}, layer {number}")
    return manifest


def read_config(data: bytes, what: str, *, whole: bool = False) -> ImageConfig:
    """An image's configuration whose diff ids are digests.

    Args:
        whole: keep what is not known here, for a configuration that is made of this one.

    Raises:
        InvalidError: says what is wrong with it.
    """
    config = (read_whole if whole else read)(data, ImageConfig, what)
    if config.rootfs.type != "layers":
        raise InvalidError(f"{what} has a root filesystem of type {config.rootfs.type[:100]!r}, not `layers`")
    for diff_id in config.rootfs.diff_ids:
        digests.check(diff_id)
    return config


def check_pair(manifest: Manifest, config: ImageConfig, what: str) -> None:
    """Refuse a configuration that has not one diff id for each layer of the manifest.

    Raises:
        InvalidError: the numbers differ.
    """
    layers, diff_ids = len(manifest.layers), len(config.rootfs.diff_ids)
    if layers != diff_ids:
        raise InvalidError(f"{what} has {layers} layers but its configuration names {diff_ids}")


def timestamp(moment: datetime) -> str:
    """A moment as RFC 3339 in UTC, the way Go writes it into image configurations."""
    text = moment.astimezone(UTC).isoformat().removesuffix("+00:00")
    return (text.rstrip("0") if "." in text else text) + "Z"


def moment(text: str | None) -> datetime | None:
    """A moment from a document, cut to microseconds; None where it is missing or not a moment."""
    if not text:
        return None
    try:
        found = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


_MACHINES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armv8l": ("arm", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "ppc64le": ("ppc64le", ""),
    "riscv64": ("riscv64", ""),
    "s390x": ("s390x", ""),
    "loongarch64": ("loong64", ""),
    "mips64": ("mips64le", ""),
}
_PLATFORM = re.compile(r"[A-Za-z0-9_-]+")


def host_platform() -> Platform:
    """What this machine runs, in Go's words."""
    machine = os.uname().machine
    architecture, variant = _MACHINES.get(machine, (machine, ""))
    return Platform(architecture=architecture, os="linux", variant=variant)


def parse_platform(text: str) -> Platform:
    """`linux/arm64`, `linux/arm/v7`, or an architecture alone.

    Raises:
        InvalidError: not of this form, or another operating system.
    """
    parts = text.split("/")
    if not all(_PLATFORM.fullmatch(part) for part in parts) or len(parts) > 3:
        raise InvalidError(f"{text!r} is not a platform", hint="it should read linux/ARCHITECTURE[/VARIANT]")
    if len(parts) == 1:
        parts = (
            [host_platform().os, parts[0]] if parts[0].lower() != "linux" else ["linux", host_platform().architecture]
        )
    system, architecture, *variant = (part.lower() for part in parts)
    if system != "linux":
        raise InvalidError(f'operating system "{system}" is not supported', hint="images are for linux")
    known, own = _MACHINES.get(architecture, (architecture, ""))
    return Platform(architecture=known, os=system, variant=variant[0] if variant else own)
