"""Docker itself, where one may be used: it takes what was built, and has built the same of the same files.

DOCKER_HOST may name it. It is the builder that is compared with, so that these tests tell where a later one differs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.build.dockerfiles import WELL, Case
from tests.build.made import Made, of_archive, read
from tests.build.site import Site
from tests.build.test_dockerfiles import files, options

DOCKER = os.environ.get("ROOTLESS_DOCKER", "docker")


def docker(*words: str, **environment: str) -> str:
    done = subprocess.run(
        [DOCKER, *words], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def _docker(busybox_tar: Path) -> Iterator[None]:
    """Docker with the image that the tests begin with."""
    if shutil.which(DOCKER) is None:
        pytest.skip("docker is not installed")
    found = subprocess.run(
        [DOCKER, "info", "--format", "{{.ServerVersion}}"], capture_output=True, text=True, check=False
    )
    if found.returncode or not found.stdout.strip():
        pytest.skip(f"no docker daemon may be used: {found.stderr.strip().splitlines()[-1:]}")
    docker("import", "-c", 'CMD ["/bin/sh"]', str(busybox_tar), "busybox:latest")
    yield
    docker("rmi", "-f", "busybox:latest")


FULL = """\
FROM busybox
ARG v=1
ENV A=b
WORKDIR /w
COPY --chown=3:4 . .
RUN mkfifo /p && ln -s x /l && ln /w/Dockerfile /h && rm /etc/group && chmod 4755 /w/Dockerfile
RUN true
HEALTHCHECK --interval=1s CMD true
VOLUME /v
EXPOSE 80
USER 7:8
CMD ["cat", "/w/Dockerfile"]
"""


@pytest.mark.usefixtures("_docker")
def test_docker_loads_it_runs_it_and_reads_its_history(site: Site, tmp_path: Path) -> None:
    archives = tmp_path / "built.tar", tmp_path / "saved.tar"
    site.ok(FULL, "-o", f"type=docker,dest={archives[0]}")
    site.ok(FULL)
    site.engine.ok("save", "-o", str(archives[1]), site.name)
    for archive in archives:
        try:
            docker("load", "-i", str(archive))
            assert docker("run", "--rm", "--network", "none", site.name) == FULL
            shown = docker("run", "--rm", "--network", "none", site.name, "sh", "-c", "id -u; ls -ln /h; readlink /l")
            assert re.fullmatch(r"7\n-rwsr-xr-x +2 3 +4 .* /h\nx\n", shown), shown
            history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", site.name)
            assert "RUN |1 v=1 /bin/sh -c true # buildkit|buildkit.dockerfile.v0\n" in history
            (image,) = json.loads(docker("inspect", site.name))
            (ours,) = json.loads(site.engine.ok("inspect", site.name))
            assert image["RootFS"] == ours["RootFS"] and image["Id"] == ours["Id"]
            assert image["Config"]["ExposedPorts"] == {"80/tcp": {}} and image["Config"]["Volumes"] == {"/v": {}}
        finally:
            subprocess.run([DOCKER, "rmi", "-f", site.name], capture_output=True, check=False)


LATER = re.compile(r" --(chown|chmod)=\S+| --parents")
"""What later versions of BuildKit write into a history."""
DIFFERENT = {
    "arg-inherited": "later versions tell in a stage the arguments of the one that it begins with",
    "arg-over-env": "likewise",
    "arg": "later versions expand the defaults of a line one after the other",
    "copy-chmod": "later versions know letters and the higher bits",
    "copy-into-new-directory": "likewise",
    "user": "runc gives a user no group twice",
}


@pytest.mark.long
@pytest.mark.usefixtures("_docker")
@pytest.mark.parametrize("name", WELL)
def test_docker_builds_the_same(site: Site, tmp_path: Path, name: str) -> None:
    case = WELL[name]
    site.write({**files(case), "Dockerfile": case.text})
    theirs = _by_docker(site, case, tmp_path / "theirs.tar")
    archive = tmp_path / "ours.tar"
    site.ok(case.text, "-o", f"type=oci,dest={archive}", *options(site, case), files=files(case), env=dict(case.env))
    ours = read(archive)
    if name in DIFFERENT:
        pytest.skip(DIFFERENT[name])
    assert _config(ours) == _config(theirs)
    assert _history(ours) == _history(theirs)
    assert {path: str(file) for path, file in ours.files.items() if path not in ("", ".")} == {
        path: str(file) for path, file in theirs.files.items() if path not in ("", ".")
    }


def _by_docker(site: Site, case: Case, archive: Path) -> Made:
    words = [word for word in options(site, case) if word not in ("--allow", "network.host")]
    network = [] if "--network" in words else ["--network", "none"]
    done = subprocess.run(
        [DOCKER, "build", "-q", *network, "-t", site.name, *words, str(site.directory)],
        env={**os.environ, **case.env, "DOCKER_BUILDKIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"this docker can't build it: {done.stderr.strip().splitlines()[-1]}")
    try:
        docker("save", "-o", str(archive), site.name)
    finally:
        docker("rmi", "-f", site.name)
    with tarfile.open(archive) as outer:
        return of_archive(outer)


def _config(made: Made) -> dict[str, object]:
    return {name: value for name, value in made.config.items() if value}


def _history(made: Made) -> list[tuple[str, bool]]:
    """Texts without what only later versions write, ARG apart: those have the values in it that were given."""
    entries = [
        (LATER.sub("", entry.get("created_by", "")), bool(entry.get("empty_layer")))
        for entry in made.document["history"]
    ]
    return [
        (text.replace('"0s" "0s" "0s" "0s"', '"0s" "0s" "0s"'), empty)
        for text, empty in entries
        if not text.startswith("ARG ")
    ]
