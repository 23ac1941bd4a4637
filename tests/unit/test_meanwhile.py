"""The time of a container's first start, which tells what changed meanwhile, is there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rootless.container.mounts import Mount
from rootless.errors import StoreError
from rootless.idmap import detect
from rootless.runtime.sources import Sources
from rootless.storage.meanwhile import Meanwhile


@pytest.mark.parametrize("text", [b"", b"17x", b"\n"])
def test_a_damaged_time_is_told(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "since").write_bytes(text)
    with pytest.raises(StoreError, match="since is damaged.*rootless discard"):
        Meanwhile(tmp_path)


def test_the_time_is_published_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At whichever point the start is killed: nobody can see the file without what belongs in it."""
    (tmp_path / "source").mkdir()
    directory = tmp_path / "containers" / "c"
    mount = Mount(type="overlay", target="/m", source=str(tmp_path / "source"))
    container: Any = SimpleNamespace(
        directory=directory,
        paths=SimpleNamespace(tmp=tmp_path / "tmp", volumes=tmp_path / "volumes"),
        spec=SimpleNamespace(mounts=(mount,), auto_remove=False),
    )
    (tmp_path / "tmp").mkdir()
    since = directory / "overlays" / "0" / "since"
    seen = []

    def look(*_: object, **__: object) -> None:
        seen.append(since.exists())

    rename = os.rename
    monkeypatch.setattr(os, "rename", lambda *words: (look(), rename(*words)))
    sources = Sources(container, detect())
    sources.prepare()
    assert seen == [False], "it comes into being by one rename"
    assert int(since.read_text()) > 0 and not list((tmp_path / "tmp").iterdir())
