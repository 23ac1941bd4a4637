"""When a step is used again and when not; the same digests from the same context."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.build.made import read
from tests.build.site import Site

DOCKERFILE = """\
FROM busybox
WORKDIR /w
COPY in/ .
RUN cat * > all
RUN wc all > size
"""
FILES = {"in/a": "a\n", "in/b": "b\n"}


def known(said: str) -> int:
    return said.count("CACHED")


def test_only_what_a_step_depends_on_counts(site: Site) -> None:
    site.ok(DOCKERFILE, files=FILES)
    a = site.directory / "in/a"
    assert known(site.ok(DOCKERFILE)) == 4
    os.utime(a, (1, 1))
    assert known(site.ok(DOCKERFILE)) == 4, "a time is no difference"
    assert known(site.ok(f"# a comment\n{DOCKERFILE}\n", files={"elsewhere": "x"})) == 4
    a.chmod(0o755)
    assert known(site.ok(DOCKERFILE)) == 1, "permissions are"
    a.chmod(0o644)
    assert known(site.ok(DOCKERFILE)) == 4, "and what was known stays known"
    (site.directory / "in").chmod(0o700)
    assert known(site.ok(DOCKERFILE)) == 4, "those of the directory aren't, whose contents are copied"
    assert known(site.ok(DOCKERFILE, files={"in/a": "A\n"})) == 1
    (site.directory / "in/a").rename(site.directory / "in/c")
    assert known(site.ok(DOCKERFILE)) == 1, "a name is"
    assert known(site.ok(DOCKERFILE.replace("wc", "wc -l"))) == 3
    assert known(site.ok(DOCKERFILE.replace("WORKDIR", "ENV x=1\nWORKDIR"))) == 2, "RUN sees a variable, COPY doesn't"
    assert known(site.ok(DOCKERFILE, "--no-cache")) == 0


def test_names_of_one_file_count_within_a_source(site: Site, tmp_path: Path) -> None:
    """From one source to the next they are files of their own, whether they are links in the context or not."""
    text = "FROM busybox\nCOPY in /x/\nCOPY in/a in/b /y/\nCOPY in/? /z/\n"
    archive = tmp_path / "made.tar"
    words = "-o", f"type=oci,dest={archive}"
    site.write({"in/a": site.name})
    os.link(site.directory / "in/a", site.directory / "in/b")
    site.ok(text, *words)
    found = read(archive).files
    assert {found[f"x/{name}"].kind for name in "ab"} == {"f", "h"}
    assert {found[f"{place}/{name}"].kind for place in "yz" for name in "ab"} == {"f"}
    (site.directory / "in/b").unlink()
    assert known(site.ok(text, *words, files={"in/b": site.name})) == 0, "the first step's source has changed"
    assert known(site.ok(text, *words)) == 3


def test_no_word_is_taken_for_another_list_s(site: Site) -> None:
    """A file that is called `--`, and a pattern that says so."""
    text = "FROM busybox AS x\nRUN mkdir /s && echo 1 > /s/f && echo 2 > /--\nFROM busybox\nCOPY --from=x {0} /d/\n"
    for words, expected in (("--exclude=-- /s", "f\n"), ("/s --", "--\nf\n")):
        site.ok(text.format(words))
        assert site.sh("ls /d") == expected


@pytest.mark.parametrize("known_steps", range(4))
def test_a_relative_directory_wherever_the_first_new_step_is(site: Site, known_steps: int) -> None:
    """The step that is not known is begun twice: by the process that finds that out, and by the one that makes it."""
    lines = [f"WORKDIR /{site.name}", "WORKDIR b", "WORKDIR ../c", "RUN pwd > f"]
    site.ok("FROM busybox\n" + "\n".join(lines[:known_steps]))
    assert known(site.ok("FROM busybox\n" + "\n".join(lines))) == known_steps
    assert site.sh("pwd; cat f") == f"/{site.name}/c\n" * 2


def test_an_argument_counts_where_it_is_declared(site: Site) -> None:
    text = "FROM busybox\nRUN echo 1 > /a\nARG v\nRUN echo $v > /b\n"
    site.ok(text, "--build-arg", "v=1")
    assert known(site.ok(text, "--build-arg", "v=2")) == 1
    assert known(site.ok(text, "--build-arg", "v=1")) == 2


def test_the_network_counts_as_it_was_asked_for(site: Site) -> None:
    text = f"FROM busybox\nRUN echo {site.name}; ls /sys/class/net > /net\n"
    site.ok(text)
    assert known(site.ok(text)) == 1
    assert known(site.ok(text, "--network", "host")) == 0
    assert known(site.ok(text.replace("RUN", "RUN --network=none"), "--network", "host")) == 1, "none is none"


def test_a_stage_that_comes_to_the_same_makes_nothing_new_after_it(site: Site) -> None:
    text = (
        "FROM busybox AS make\nCOPY in/a /src\nRUN wc -c < /src > /out && rm /src\n"
        "FROM busybox\nCOPY --from=make /out /\nRUN cat /out\n"
    )
    site.ok(text, files={"in/a": "one\n"}, env={"SOURCE_DATE_EPOCH": "1000000000"})
    for content, names in (("two\n", 2), ("two\n", 4), ("more\n", 0)):
        again = site.ok(text, files={"in/a": content}, env={"SOURCE_DATE_EPOCH": "1000000000"})
        assert known(again) == names, again


def test_linked_copies_are_known_on_another_base(site: Site) -> None:
    text = "FROM busybox\nRUN echo {0} > /first\nCOPY --link in/ /x/\n"
    site.ok(text.format(1), files=FILES)
    assert known(site.ok(text.format(2))) == 1
    assert site.sh("cat /first /x/a") == "2\na\n"


def test_the_same_context_twice_gives_the_same_digests(site: Site, tmp_path: Path) -> None:
    """Also in another store's words: nothing is used again, and each archive is the same, byte for byte."""
    text = (
        "FROM busybox AS x\nRUN mkdir -p /d/e && echo $RANDOM > /dev/null && touch /d/e/f && ln -s f /d/e/l\n"
        "FROM busybox\nARG SOURCE_DATE_EPOCH\nWORKDIR /w\nCOPY --from=x /d /d\nCOPY in .\nADD --chmod=600 in/a /z\n"
        "RUN echo $SOURCE_DATE_EPOCH > /t && chmod 700 in 2>/dev/null; rm a\n"
    )
    archives = [tmp_path / "1.tar", tmp_path / "2.tar"]
    for archive in archives:
        for name in "a", "b":
            os.utime(site.directory / "in" / name) if archive is archives[1] else None
        words = "--no-cache", "-o", f"type=oci,dest={archive}"
        site.ok(text, *words, files=FILES if archive is archives[0] else None, env={"SOURCE_DATE_EPOCH": "1234567890"})
    assert archives[0].read_bytes() == archives[1].read_bytes()
    made = read(archives[0])
    assert made.document["created"] == "2009-02-13T23:31:30Z"
    assert {entry["created"] for entry in made.document["history"][-6:]} == {"2009-02-13T23:31:30Z"}
    assert made.files["t"].content == "1234567890\n"


def test_a_build_that_is_all_known_gives_the_same_image(site: Site) -> None:
    first = site.ok(DOCKERFILE, "-q", files=FILES)
    assert site.ok(DOCKERFILE, "-q") == first


def test_cache_from_an_image_that_was_saved(site: Site, tmp_path: Path) -> None:
    site.ok(DOCKERFILE, files={**FILES, "in/own": site.name})
    archive = tmp_path / "saved.tar"
    site.engine.ok("save", "--format", "oci-archive", "-o", str(archive), site.name)
    other = type(site.engine)(tmp_path / "other")
    try:
        other.ok("load", "-i", str(archive))
        other.ok("tag", site.name, "cache")
        base = site.engine.ok("save", "busybox", "-o", str(tmp_path / "base.tar"))
        assert base == "" and other.ok("load", "-i", str(tmp_path / "base.tar"))
        words = "build", "--network", "none", "-t", "x", str(site.directory)
        assert known(other(*words, "--cache-from", "cache").stderr.decode()) == 4
    finally:
        other("rmi", "-f", *other.ok("images", "-q").split())
        other("builder", "prune", "-af")


def test_a_cache_that_is_not_there_is_no_condition(site: Site) -> None:
    said = site.ok("FROM busybox\n", "--cache-from", "localhost:1/nowhere")
    assert "importing cache from localhost:1/nowhere" in said and "not used: " in said


def test_prune_takes_what_no_image_has(site: Site) -> None:
    text = f"FROM busybox\nRUN echo {site.name} > /a\nRUN --mount=type=cache,id={site.name},target=/c echo 1 > /c/x\n"
    site.ok(text)
    before = json.loads(site.engine.ok("system", "df", "--format", "json").splitlines()[-1])
    assert before["Type"] == "Build Cache" and int(before["TotalCount"]) >= 3
    site.engine.ok("builder", "prune", "-f")
    assert known(site.ok(text)) == 2, "an image has them"
    site.remove()
    said = site.engine.ok("builder", "prune", "-f")
    assert "Deleted build cache objects:" in said and "Total reclaimed space:" in said
    assert known(site.ok(text)) == 0
    site.remove()
    site.engine.ok("builder", "prune", "-af")
    after = json.loads(site.engine.ok("system", "df", "--format", "json").splitlines()[-1])
    assert (after["TotalCount"], after["Size"]) == ("0", "0B")


def test_builds_at_once_on_one_store(site: Site) -> None:
    """Four of the same context: none is in another's way, all come to the same, and each has had the cache mount."""
    site.write(
        {
            **FILES,
            "Dockerfile": f"{DOCKERFILE}RUN --mount=type=cache,id={site.name},target=/c,sharing=locked \\\n"
            "    n=$(cat /c/n 2>/dev/null || echo 0); sleep 0.1; echo $((n + 1)) > /c/n; cp /c/n /n\n",
        }
    )
    words = site.argv("--no-cache")
    running = [site.engine.popen(*words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(4)]
    for process in running:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said.decode()
    assert site.sh("cat /w/all") == "a\nb\n"
    site.ok(f"FROM busybox\nRUN --mount=type=cache,id={site.name},target=/c cp /c/n /n\n")
    assert site.sh("cat /n") == "4\n"
