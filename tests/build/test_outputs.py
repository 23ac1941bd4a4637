"""What comes of a build beside an image of the store, and who else takes it."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.build.made import read
from tests.build.site import Site
from tests.conftest import Rootless

DOCKERFILE = """\
FROM busybox AS x
RUN mkdir /out && echo text > /out/file && chmod 640 /out/file && chown 7:8 /out/file && ln -s file /out/link
FROM scratch
COPY --from=x /out /
"""


def test_files_in_a_directory(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for words in (("-o", str(out)), ("--output", f"type=local,dest={out}/deeper")):
        site.ok(DOCKERFILE, *words)
    for place in out, out / "deeper":
        assert (place / "link").read_text() == "text\n"
        status = (place / "file").stat()
        assert (status.st_uid, status.st_mode & 0o777) == (os.getuid(), 0o640)


def test_files_in_an_archive(site: Site, tmp_path: Path) -> None:
    site.ok(DOCKERFILE, "-o", f"type=tar,dest={tmp_path / 'out.tar'}")
    done = site.build(DOCKERFILE, "-o", "-")
    assert done.stdout == (tmp_path / "out.tar").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        entry = archive.getmember("file")
        assert (entry.uid, entry.gid, entry.mode) == (7, 8, 0o640)


def test_archives_of_an_image_go_into_a_store(site: Site, tmp_path: Path) -> None:
    for kind in "oci", "docker":
        site.ok("FROM busybox\nCMD echo it runs\n", "-o", f"type={kind},dest={tmp_path / kind}")
        assert site.name not in site.engine.ok("images")
        site.engine.ok("load", "-i", str(tmp_path / kind))
        assert site.run() == "it runs\n"
        site.remove()


def test_a_directory_that_cannot_be_written(site: Site) -> None:
    assert "/proc/none" in site.fails(DOCKERFILE, "-o", "/proc/none").splitlines()[-1]


def test_squashed_layers(site: Site, tmp_path: Path) -> None:
    text = (
        "FROM busybox\nRUN echo 1 > /a && rm /etc/group\nRUN rm /a && echo 2 > /b\n"
        "COPY Dockerfile /c/\nRUN chmod 600 /b\n"
    )
    archive = tmp_path / "squashed.tar"
    site.ok(text, "--squash", "-o", f"type=oci,dest={archive}")
    made = read(archive)
    assert len(made.layers) == 2
    assert "a" not in made.layers[1] and "etc/.wh.group" in made.layers[1]
    assert (
        str(made.files["b"]) == "f 0:0 600 2\n"
        and "etc/group" not in made.files
        and made.files["c/Dockerfile"].content == text
    )
    whole = [entry for entry in made.document["history"] if not entry.get("empty_layer")]
    assert len(whole) == len(made.manifest["layers"]) == len(made.document["rootfs"]["diff_ids"])


def test_the_id_in_a_file_and_on_standard_output(site: Site, tmp_path: Path) -> None:
    done = site.build("FROM busybox\nLABEL a=b\n", "-q", "--iidfile", str(tmp_path / "id"))
    shown = done.stdout.decode().strip()
    assert done.stderr == b"" and shown == (tmp_path / "id").read_text()
    assert shown == json.loads(site.engine.ok("inspect", site.name))[0]["Id"]


def test_no_id_of_an_earlier_build_is_left_by_one_that_fails(site: Site, tmp_path: Path) -> None:
    """`build --iidfile id . ; run $(cat id)` would run the old one."""
    place = tmp_path / "id"
    site.ok("FROM busybox\n", "--iidfile", str(place))
    assert place.read_text().startswith("sha256:")
    site.fails("FROM busybox\nRUN false\n", "--iidfile", str(place))
    assert not place.exists()


def test_a_second_output_is_not_dropped_without_a_word(site: Site, tmp_path: Path) -> None:
    outputs = [word for name in ("a", "b") for word in ("-o", f"type=tar,dest={tmp_path / name}")]
    assert "a build has one --output" in site.fails("FROM busybox\n", *outputs, code=125)
    assert not (tmp_path / "b").exists()


def test_several_names(site: Site) -> None:
    site.ok("FROM busybox\nLABEL own=name\n", "-t", f"{site.name}:two")
    ids = {site.engine.ok("images", "-q", f"{site.name}:{tag}") for tag in ("latest", "two")}
    assert len(ids) == 1
    site.engine.ok("rmi", f"{site.name}:two")


def archive_of(site: Site, compressed: bool = False) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz" if compressed else "w") as archive:
        archive.add(site.directory, ".")
    return packed.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
def test_a_context_that_is_an_archive(site: Site, tmp_path: Path, compressed: bool) -> None:
    site.write(
        {"Dockerfile": "FROM busybox\nCOPY a /x/\n", "a/file": "text\n", ".dockerignore": "a/not\n", "a/not": ""}
    )
    data = archive_of(site, compressed)
    (tmp_path / "context.tar").write_bytes(data)
    for words, stdin in ((["-"], data), ([str(tmp_path / "context.tar")], b"")):
        done = site.warm("build", "-t", site.name, *words, stdin=stdin)
        assert done.returncode == 0, done.stderr.decode()
        assert site.sh("ls /x; cat /x/file") == "file\ntext\n"


def test_a_dockerfile_from_standard_input(site: Site) -> None:
    site.write({"a": "text\n"})
    text = b"FROM busybox\nCOPY a /b\n"
    done = site.warm("build", "-t", site.name, "-f", "-", str(site.directory), stdin=text)
    assert done.returncode == 0 and site.sh("cat /b") == "text\n"
    alone = site.warm("build", "-t", site.name, "-", stdin=b"FROM busybox\nCMD echo alone\n")
    assert alone.returncode == 0 and site.run() == "alone\n"
    nothing = site.warm("build", "-t", site.name, "-", stdin=text)
    assert nothing.returncode == 1 and b'"/a": not found' in nothing.stderr


def accepted_by(tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")


FULL = """\
FROM busybox
ARG v=1
ENV A=b
WORKDIR /w
COPY . .
RUN mkfifo /p && ln -s x /l && ln /w/Dockerfile /h && rm /etc/group && chmod 4755 /w/Dockerfile
RUN true
HEALTHCHECK --start-interval=1s CMD true
ONBUILD RUN x
VOLUME /v
EXPOSE 80
CMD ["cat", "/w/Dockerfile"]
"""


def test_skopeo_and_umoci_take_the_store_and_the_archive(site: Site, tmp_path: Path) -> None:
    accepted_by("skopeo")
    archive = tmp_path / "made.tar"
    site.ok(FULL, "-o", f"type=oci,dest={archive}")
    run = ["skopeo", "--insecure-policy", "copy", "-q", f"oci-archive:{archive}", f"oci:{tmp_path / 'layout'}:x"]
    subprocess.run(run, check=True, capture_output=True)
    site.ok(FULL)
    shown = subprocess.run(
        ["skopeo", "inspect", "--config", f"oci:{site.engine.root}:docker.io/library/{site.name}:latest"],
        check=True,
        capture_output=True,
    )
    assert json.loads(shown.stdout)["config"]["Env"][-1] == "A=b"
    accepted_by("umoci")
    unpack = ["umoci", "unpack", "--rootless", "--image", f"{tmp_path / 'layout'}:x", str(tmp_path / "bundle")]
    subprocess.run(unpack, check=True, capture_output=True)
    assert (tmp_path / "bundle/rootfs/w/Dockerfile").read_text() == FULL
    assert not (tmp_path / "bundle/rootfs/etc/group").exists()


PODMAN = ("podman", "--cgroup-manager", "cgroupfs", "--events-backend", "none", "--runtime", "runc")


def test_podman_runs_it_and_reads_its_history(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted_by("podman")
    accepted_by("runc")
    for kind in "CONFIG", "DATA", "CACHE":
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind))
    short = Path(os.environ.get("TMPDIR", "/tmp"), f"podman-{site.name}")  # the path of a socket has 108 bytes
    short.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))

    def podman(*words: str) -> str:
        done = subprocess.run([*PODMAN, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    site.ok(FULL, "-o", f"type=docker,dest={tmp_path / 'made.tar'}")
    try:
        probe = subprocess.run([*PODMAN, "info"], capture_output=True, text=True, check=False)
        if probe.returncode:
            pytest.skip(f"podman does not run here: {probe.stderr.strip().splitlines()[-1]}")
        podman("load", "-i", str(tmp_path / "made.tar"))
        assert podman("run", "--rm", "--network", "none", site.name) == FULL
        assert "RUN |1 v=1 /bin/sh -c true # buildkit" in podman("history", "--no-trunc", site.name)
        (image,) = json.loads(podman("inspect", site.name))
        assert image["Config"]["ExposedPorts"] == {"80/tcp": {}}
        assert image["Config"]["WorkingDir"] == "/w" and image["Config"]["Volumes"] == {"/v": {}}
    finally:
        subprocess.run([*PODMAN, "unshare", "rm", "-rf", str(tmp_path / "DATA")], capture_output=True, check=False)
        pause = short / "libpod/tmp/pause.pid"
        if pause.exists():
            os.kill(int(pause.read_text()), 9)
        shutil.rmtree(short, ignore_errors=True)


def test_a_shell_in_the_state_before_a_step_that_failed(rootless: Rootless, site: Site) -> None:
    site.write({"Dockerfile": "FROM busybox\nARG a=1\nWORKDIR /w\nRUN echo made > f\nRUN false\n"})
    words = site.argv("--debug-shell")
    done = rootless(*words, "--rm", stdin=b"pwd; cat f; echo $a; ls /sys/class/net; exit 7\n")
    assert done.returncode == 1
    assert done.stdout == b"/w\nmade\n1\nlo\n", "without a network, as the build"
    assert b"exit code: 1" in done.stderr and b"a shell in the state before it" in done.stderr


def test_no_shell_where_there_is_nothing(site: Site) -> None:
    said = site.fails('FROM scratch\nRUN ["/x"]\n', "--debug-shell")
    assert "there is no shell: the stage has no files before this step" in said.splitlines()[-1]
