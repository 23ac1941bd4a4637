"""A build from end to end: what comes out is an image that runs, and a second build does nothing."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Rootless

DOCKERFILE = """\
FROM busybox
ENV GREETING=hello
WORKDIR /app
COPY file.txt .
RUN cat file.txt > copy.txt && echo "$GREETING" >> copy.txt
LABEL who=me
CMD ["cat", "copy.txt"]
"""


def context(directory: Path, dockerfile: str = DOCKERFILE) -> str:
    directory.mkdir(exist_ok=True)
    (directory / "Dockerfile").write_text(dockerfile)
    (directory / "file.txt").write_text("text\n")
    return str(directory)


def test_an_image_that_runs(rootless: Rootless, tmp_path: Path) -> None:
    where = context(tmp_path / "c")
    built = rootless("build", "-t", "first", where)
    assert built.returncode == 0, built.stderr.decode()
    assert b"[4/4] RUN cat file.txt" in built.stderr
    assert rootless.ok("run", "--rm", "first") == "text\nhello\n"
    (document,) = json.loads(rootless.ok("inspect", "first"))
    config = document["Config"]
    assert config["WorkingDir"] == "/app"
    assert config["Labels"] == {"who": "me"}
    assert config["Cmd"] == ["cat", "copy.txt"]
    rootless.ok("rmi", "first")


def test_everything_is_known_the_second_time(rootless: Rootless, tmp_path: Path) -> None:
    where = context(tmp_path / "c")
    first = rootless.ok("build", "-q", "-t", "again", where)
    built = rootless("build", "-t", "again", where)
    assert built.stderr.count(b"CACHED") == 3
    assert rootless.ok("build", "-q", "-t", "again", where) == first, "the same image, not a newer one"
    rootless.ok("rmi", "again")


def test_a_step_that_fails_shows_what_it_said_and_where_it_stands(rootless: Rootless, tmp_path: Path) -> None:
    where = context(tmp_path / "c", "FROM busybox\nRUN echo last words; exit 3\n")
    built = rootless("build", where)
    assert built.returncode == 1
    text = built.stderr.decode()
    assert "last words" in text
    assert ">>> RUN echo last words; exit 3" in text
    assert 'process "/bin/sh -c echo last words; exit 3" did not complete successfully: exit code: 3' in text
