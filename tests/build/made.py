"""What a build came to, read from an OCI archive of it by nobody's code but Python's: configuration, layers, files."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class File:
    """A file of the image.

    Attributes:
        kind: one of `fdlchbp`: file, directory, symbolic link, hard link, devices, fifo.
        content: of a file; where a link leads.
    """

    kind: str
    owner: str
    mode: int
    content: str

    def __str__(self) -> str:
        return f"{self.kind} {self.owner} {self.mode:o} {self.content}"


KINDS = {tarfile.REGTYPE: "f", tarfile.DIRTYPE: "d", tarfile.SYMTYPE: "l", tarfile.LNKTYPE: "h", tarfile.FIFOTYPE: "p"}


@dataclass
class Made:
    """
    Attributes:
        layers: the names in each layer, whiteouts and all.
        files: what they come to, by path without a leading slash.
    """

    document: dict[str, Any]
    manifest: dict[str, Any]
    layers: list[list[str]] = field(default_factory=list)
    files: dict[str, File] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        found = self.document["config"]
        assert isinstance(found, dict)
        return found

    @property
    def history(self) -> list[str]:
        return [entry["created_by"] for entry in self.document["history"] if "created_by" in entry]

    def apply(self, layer: tarfile.TarFile) -> None:
        """Put a layer on those below (image-spec/layer.md)."""
        names: list[str] = []
        for entry in layer:
            name = entry.name.removeprefix("./").strip("/")
            above, _, last = name.rpartition("/")
            names.append(name)
            if last == ".wh..wh..opq":
                self._remove(above, itself=False)
            elif last.startswith(".wh."):
                self._remove(f"{above}/{last[4:]}".strip("/"), itself=True)
            else:
                if not entry.isdir():
                    self._remove(name, itself=True)
                self.files[name] = _file(layer, entry)
        self.layers.append(names)

    def _remove(self, path: str, *, itself: bool) -> None:
        for name in list(self.files):
            if name.startswith(f"{path}/") or (itself and name == path):
                del self.files[name]


def of_archive(outer: tarfile.TarFile) -> Made:
    """The only image of an archive by `docker save`."""

    def member(name: str) -> Any:
        return outer.extractfile(name)

    (manifest,) = json.load(member("manifest.json"))
    made = Made(json.load(member(manifest["Config"])), manifest)
    for name in manifest["Layers"]:
        with tarfile.open(fileobj=member(name)) as opened:
            made.apply(opened)
    return made


def _file(layer: tarfile.TarFile, entry: tarfile.TarInfo) -> File:
    content = entry.linkname
    if entry.isreg():
        stream = layer.extractfile(entry)
        assert stream is not None
        content = stream.read().decode("latin-1")
    return File(KINDS[entry.type], f"{entry.uid}:{entry.gid}", entry.mode & 0o7777, content)


def read(archive: Path) -> Made:
    """The only image of an OCI archive."""
    with tarfile.open(archive) as outer:

        def blob(digest: str) -> Any:
            return outer.extractfile(f"blobs/{digest.replace(':', '/')}")

        index = json.load(outer.extractfile("index.json"))  # type: ignore[arg-type]
        manifest = json.load(blob(index["manifests"][0]["digest"]))
        made = Made(json.load(blob(manifest["config"]["digest"])), manifest)
        for layer in manifest["layers"]:
            with tarfile.open(fileobj=blob(layer["digest"])) as opened:
                made.apply(opened)
    return made
