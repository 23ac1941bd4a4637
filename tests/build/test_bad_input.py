"""Contexts and requests that are not as they should be: one clear line each, and nothing left."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.build.site import Site


def last(said: str) -> str:
    assert "Traceback" not in said
    return said.splitlines()[-1]


def test_no_dockerfile(site: Site) -> None:
    done = site.warm("build", str(site.directory))
    assert done.returncode == 1
    assert "Dockerfile" in last(done.stderr.decode()) and "no such file" in last(done.stderr.decode()).lower()


def test_a_dockerfile_that_is_a_directory(site: Site) -> None:
    (site.directory / "Dockerfile").mkdir()
    done = site.warm("build", str(site.directory))
    assert done.returncode == 1 and "Dockerfile" in last(done.stderr.decode())


def test_a_dockerfile_that_leads_out_of_the_context(site: Site, tmp_path: Path) -> None:
    """A stranger's context must not show a file of the caller's; with -f the caller has named it himself."""
    secret = tmp_path / "secret"
    secret.write_text("FROM busybox\n# hunter2\nNONSENSE\n")
    site.directory.mkdir(exist_ok=True)
    (site.directory / "Dockerfile").symlink_to(secret)
    done = site.warm(*site.argv())
    assert done.returncode == 1
    assert b"failed to read dockerfile: open" in done.stderr
    assert b"hunter2" not in done.stderr + done.stdout
    (site.directory / "Dockerfile").unlink()
    os.mkfifo(site.directory / "Dockerfile")
    assert b"failed to read dockerfile: open" in site.warm(*site.argv()).stderr, "nobody waits for a writer"


def test_no_context(site: Site) -> None:
    done = site.warm("build", str(site.directory / "none"))
    assert done.returncode == 1 and "unable to prepare context" in last(done.stderr.decode())


@pytest.mark.parametrize("data", [b"\0" * 100, os.urandom(2000), b""], ids=["nul", "noise", "nothing"])
def test_a_dockerfile_that_is_no_text(site: Site, data: bytes) -> None:
    (site.directory / "Dockerfile").write_bytes(data)
    done = site.warm("build", str(site.directory))
    assert done.returncode == 1 and "Dockerfile" in last(done.stderr.decode())


def test_links_in_a_circle(site: Site) -> None:
    os.symlink("b", site.directory / "a")
    os.symlink("a", site.directory / "b")
    os.symlink(".", site.directory / "self")
    said = site.fails("FROM busybox\nCOPY a /x\n")
    assert "too many levels of symbolic links" in last(said) and "2 | >>> COPY a /x" in said
    site.ok("FROM busybox\nCOPY . /x/\n")  # as links they can be copied
    assert site.sh("readlink /x/a; readlink /x/self") == "b\n.\n"


def test_links_that_lead_out_of_the_context(site: Site, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret\n")
    os.symlink(tmp_path / "secret", site.directory / "absolute")
    os.symlink("../secret", site.directory / "relative")
    os.symlink("..", site.directory / "up")
    for name in "absolute", "relative", "up/secret":
        said = site.fails(f"FROM busybox\nCOPY {name} /x\n")
        assert "not found" in last(said) and "secret\n" not in said.split("rootless: ")[0].replace(name, "")


def test_what_may_not_be_read(site: Site) -> None:
    site.write({"shut": "x"})
    (site.directory / "shut").chmod(0)
    said = site.fails("FROM busybox\nCOPY . /x/\n")
    assert "shut" in last(said) and "make it readable, or name it in .dockerignore" in last(said)
    site.ok("FROM busybox\nCOPY . /x/\n", files={".dockerignore": "shut\n"})


def test_a_socket_and_a_fifo(site: Site) -> None:
    os.mkfifo(site.directory / "fifo")
    site.ok("FROM busybox\nCOPY . /x/\n")
    assert site.sh("test -p /x/fifo && echo fifo") == "fifo\n"


def test_a_file_that_changes_while_it_is_read(site: Site) -> None:
    """No layer has a mixture. It grows all the time, and is large enough to be met."""
    growing = site.directory / "growing"
    growing.write_bytes(b"x" * (32 << 20))
    stop = threading.Event()

    def grow() -> None:
        with growing.open("ab") as file:
            while not stop.is_set():
                file.write(b"y")
                file.flush()
                time.sleep(0.001)

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        said = site.fails("FROM busybox\nCOPY growing /x\n")
    finally:
        stop.set()
        thread.join()
    assert "growing" in last(said) and "changed" in last(said), said


def test_an_argument_that_nobody_declares(site: Site) -> None:
    said = site.ok("FROM busybox\nARG b\nRUN echo $a$b\n", "--build-arg", "a=1", "--build-arg", "b=2")
    assert "[Warning] One or more build-args [a] were not consumed" in said


def test_many_files(site: Site) -> None:
    """A small variant of the test below."""
    crowd(site, 2_000)


@pytest.mark.long
def test_a_hundred_thousand_files(site: Site) -> None:
    crowd(site, 100_000)


def crowd(site: Site, count: int) -> None:
    for number in range(count):
        if number % 1000 == 0:
            (site.directory / f"d{number // 1000}").mkdir()
        (site.directory / f"d{number // 1000}" / f"f{number}").write_bytes(b"%d" % (number % 7))
    text = "FROM busybox\nCOPY . /x/\nRUN find /x -type f | wc -l > /count\n"
    site.ok(text)
    assert site.sh("cat /count") == f"{count + 1}\n"
    assert site.ok(text).count("CACHED") == 2
    last_one = site.directory / f"d{(count - 1) // 1000}" / f"f{count - 1}"
    last_one.write_bytes(b"changed")
    assert site.ok(text).count("CACHED") == 0


@pytest.mark.parametrize("line", ["COPY f /{}", "WORKDIR /{}"])
def test_a_name_that_no_file_system_takes(site: Site, line: str) -> None:
    """Whatever the system refuses in the midst of a step is that step's failure, with its line."""
    said = site.fails("FROM busybox\n" + line.format("a" * 300) + "\n", files={"f": "f"})
    assert "File name too long" in last(said)
    assert ">>>" in said


def test_a_store_that_takes_no_more(site: Site) -> None:
    """A limit on the size of files; a full disk is the same to a step."""
    site.write({"Dockerfile": "FROM busybox\nCOPY f /\n", "f": os.urandom(20_000_000)})
    few = ["sh", "-c", 'trap "" XFSZ; ulimit -f 10000; exec "$@"', "sh", *site.engine.argv(*site.argv())]
    done = subprocess.run(few, env=site.engine.environment, capture_output=True, timeout=120)
    assert done.returncode == 1
    assert "File too large" in last(done.stderr.decode())
