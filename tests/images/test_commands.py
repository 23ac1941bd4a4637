"""images, history, tag, rmi and image prune as they are typed: Docker's words, tables and exit codes.

The expected lines are those of docker 28.2 (the client) and dockerd 20.10 for the same commands, ids and sizes aside.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rootless.cli.format import human_size
from rootless.image import spec
from tests.conftest import Rootless
from tests.images.conftest import empty
from tests.storage.archives import Archive


def fill(engine: Rootless) -> Rootless:
    """alpine:latest, also called quay.io/x/y:1, and the newer alpine:3.19."""
    for name, text in (("alpine:latest", b"1"), ("alpine:3.19", b"2" * 2000)):
        changes = ["-c", 'CMD ["/bin/sh"]', "-c", f"LABEL a=b version={len(text)}"]
        engine.ok("import", *changes, "-", name, stdin=Archive().file("f", text).bytes())
    engine.ok("tag", "alpine", "quay.io/x/y:1")
    return engine


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rootless]:
    """Images that the tests of this file only look at."""
    engine = fill(Rootless(tmp_path_factory.mktemp("shelf") / "s"))
    yield engine
    empty(engine)


@pytest.fixture
def images(engine: Rootless) -> Rootless:
    """The same images for one test that changes them."""
    return fill(engine)


def refused(engine: Rootless, *words: str, code: int = 1) -> str:
    """The one line that a command that fails has to say."""
    done = engine(*words)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (code, b"", 1)
    return done.stderr.decode().removeprefix("rootless: ").rstrip("\n")


def test_the_table(shelf: Rootless) -> None:
    header, *rows = shelf.ok("images").splitlines()
    assert re.fullmatch(r"REPOSITORY    TAG       IMAGE ID       CREATED +SIZE", header)
    pattern = r"(\S+) +(\S+) +([0-9a-f]{12})   ((?:Less than a|About a|\d+) (?:second|minute)s? ago) +\d[\d.]*k?B"
    matches = [re.fullmatch(pattern, row) for row in rows]
    found = [(match[1], match[2]) for match in matches if match]
    assert found == [("alpine", "3.19"), ("alpine", "latest"), ("quay.io/x/y", "1")]
    assert shelf.ok("image", "ls").splitlines()[0] == header


def test_an_empty_table(engine: Rootless) -> None:
    assert engine.ok("images") == "REPOSITORY   TAG       IMAGE ID   CREATED   SIZE\n"
    assert engine.ok("images", "-q") == engine.ok("images", "--format", "json") == ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["alpine"], "alpine:3.19 alpine:latest"),
        (["alpine:latest"], "alpine:latest"),
        (["al*:l*"], "alpine:latest"),
        (["docker.io/library/alpine"], "alpine:3.19 alpine:latest"),
        (["quay.io/*"], ""),
        (["quay.io/*/*"], "quay.io/x/y:1"),
        (["nope"], ""),
        (["-f", "reference=alpine:[3-4]*"], "alpine:3.19"),
        (["-f", "label=a"], "alpine:3.19 alpine:latest quay.io/x/y:1"),
        (["-f", "label=version=1"], "alpine:latest quay.io/x/y:1"),
        (["-f", "label=a", "-f", "label=nope"], ""),
        (["-f", "before=alpine:3.19"], "alpine:latest quay.io/x/y:1"),
        (["-f", "since=alpine"], "alpine:3.19"),
        (["-f", "dangling=true"], ""),
        (["-f", "dangling=false", "alpine"], "alpine:3.19 alpine:latest"),
        (["-f", "until=1h"], ""),
        (["-f", "until=2100-01-01"], "alpine:3.19 alpine:latest quay.io/x/y:1"),
    ],
)
def test_filters(shelf: Rootless, words: list[str], expected: str) -> None:
    assert " ".join(shelf.ok("images", "--format", "{{.Repository}}:{{.Tag}}", *words).split()) == expected


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (
            ["-f", "foo"],
            125,
            'invalid argument "foo" for "-f, --filter" flag: bad format of filter (expected name=value)',
        ),
        (["-f", "foo=bar"], 1, "invalid filter 'foo'"),
        (["-f", "dangling=x"], 1, "invalid filter 'dangling=[x]'"),
        (["-f", "before=nope"], 1, "No such image: nope:latest"),
        (["-f", "until=soon"], 1, "'soon' is not a time"),
        (["--format", "{{.Nope}}"], 1, 'template parsing error: template: :1:2: executing "" at <.Nope>: '),
        (["--format", "{{.ID"], 1, "template parsing error: template: :1: unclosed action"),
        (["--nope"], 125, "unknown flag: --nope"),
        (["a", "b"], 1, "'rootless images' requires"),
    ],
)
def test_mistakes(shelf: Rootless, words: list[str], code: int, error: str) -> None:
    assert refused(shelf, "images", *words, code=code).startswith(error)


def test_formats(shelf: Rootless) -> None:
    assert shelf.ok("images", "--format", "x{{println .Tag}}y", "quay.io/x/y") == "x1\ny\n"
    table = shelf.ok("images", "--format", "table {{.Tag}}\\t{{upper .Tag}}\\t{{.Digest}}")
    assert table.splitlines() == [
        "TAG       TAG       DIGEST",
        "3.19      3.19      <none>",
        "latest    LATEST    <none>",
        "1         1         <none>",
    ]
    rows = [json.loads(line) for line in shelf.ok("images", "--format", "json").splitlines()]
    keys = ["Containers", "CreatedAt", "CreatedSince", "Digest", "ID", "Repository", "SharedSize", "Size", "Tag"]
    assert sorted(rows[0]) == [*keys, "UniqueSize", "VirtualSize"]
    raw = shelf.ok("images", "--format", "raw", "alpine:latest").splitlines()
    assert [line.partition(":")[0] for line in raw] == [
        "repository",
        "tag",
        "image_id",
        "created_at",
        "virtual_size",
        "",
    ]
    assert len(set(shelf.ok("images", "-q").split())) == 2
    assert shelf.ok("images", "--format", "").splitlines()[0] == shelf.ok("images").splitlines()[0]
    assert shelf.ok("inspect", "-f", "", "alpine") == shelf.ok("inspect", "alpine")
    whole = shelf.ok("images", "-q", "--no-trunc", "alpine:latest")
    assert re.fullmatch(r"sha256:[0-9a-f]{64}\n", whole)
    assert "DIGEST" in shelf.ok("images", "--digests").splitlines()[0]


def test_history(shelf: Rootless) -> None:
    header = shelf.ok("history", "alpine").splitlines()[0]
    assert header.split() == ["IMAGE", "CREATED", "CREATED", "BY", "SIZE", "COMMENT"]
    form = "{{.CreatedBy}}|{{.Comment}}|{{.ID}}"
    short = shelf.ok("images", "-q", "alpine:latest").strip()
    assert shelf.ok("history", "--format", form, "alpine") == f"|Imported from -|{short}\n"
    plain = shelf.ok("history", "--human=false", "--no-trunc", "--format", "{{.Size}} {{.CreatedSince}}", "alpine")
    assert re.fullmatch(r"\d+ \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\n", plain)
    assert shelf.ok("history", "-q", "alpine") == f"{short}\n"
    assert refused(shelf, "history", "nope") == "No such image: nope:latest"


def test_inspect_of_an_image(shelf: Rootless) -> None:
    document = json.loads(shelf.ok("inspect", "alpine"))[0]
    assert document["RepoTags"] == ["alpine:latest", "quay.io/x/y:1"]
    assert document["RepoDigests"] == []
    assert document["Config"] == {
        "Cmd": ["/bin/sh"],
        "Entrypoint": None,
        "Env": None,
        "Labels": {"a": "b", "version": "1"},
        "OnBuild": None,
        "User": "",
        "Volumes": None,
        "WorkingDir": "",
    }
    form = (
        '{{.Config.Cmd}} {{.Config.Entrypoint}} {{json .Config.Env}} {{index .Config.Labels "a"}} {{.Config.Labels.zz}}'
    )
    assert shelf.ok("image", "inspect", "-f", form + "|{{.Config.Volumes}}", "alpine") == (
        "[/bin/sh] [] null b <no value>|map[]\n"
    )


def test_tag(images: Rootless) -> None:
    images.ok("image", "tag", "alpine:3.19", "alpine")
    names = images.ok("images", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}")
    by_name = dict(reversed(line.split()) for line in names.splitlines())
    assert by_name["alpine:latest"] == by_name["alpine:3.19"] != by_name["quay.io/x/y:1"]
    assert refused(images, "tag", "nope", "x") == "No such image: nope:latest"
    assert refused(images, "tag", "alpine", "Foo").endswith("repository name (library/Foo) must be lowercase")
    words = "refusing to create a tag with a digest reference"
    assert refused(images, "tag", "alpine", "x@sha256:" + "0" * 64) == words
    assert refused(images, "tag", "alpine").startswith("'rootless tag' requires 2 arguments")
    words = "refusing to create an ambiguous tag using digest algorithm as name"
    assert refused(images, "tag", "alpine", "sha256:" + "0" * 64) == words


def test_a_platform_that_an_image_is_not_for(images: Rootless) -> None:
    """Each image here is for one; who names another is told so, and nothing happens."""
    platform = f"linux/{spec.host_platform().architecture}"
    words = "image with reference alpine was found but does not provide the specified platform (linux/s390x)"
    for command in ["history"], ["rmi"], ["save"], ["image", "inspect"]:
        assert refused(images, *command, "--platform", "linux/s390x", "alpine") == f"{words}; it is for {platform}"
        assert refused(images, *command, "--platform", "linux/", "alpine").startswith("'linux/' is not a platform")
        several = refused(images, *command, "--platform", f"{platform},linux/arm64", "alpine")
        assert several.endswith("are several platforms; each image here is for one: name that")
    shown = f"alpine:latest {words.partition('alpine ')[2]}; it is for {platform}"
    assert refused(images, "push", "-q", "--platform", "s390x", "alpine").endswith(shown)
    assert images.ok("image", "inspect", "--platform", platform, "alpine") == images.ok("inspect", "alpine")
    assert images("save", "--platform", platform, "alpine").stdout == images("save", "alpine").stdout
    assert images.ok("history", "-q", "--platform", platform, "alpine") == images.ok("history", "-q", "alpine")
    done = images("inspect", "--platform", platform, "alpine")
    assert (done.returncode, b"--platform is about images" in done.stderr) == (125, True)
    assert images.ok("rmi", "--platform", platform, "alpine") == "Untagged: alpine:latest\n"


def test_the_tree(shelf: Rootless) -> None:
    """A line for each name, what it all costs behind the last, and below it the platform."""
    header, *rows = shelf.ok("images", "--tree").splitlines()
    assert header.split("  ")[0] == "IMAGE" and header.endswith("DISK USAGE   CONTENT SIZE   EXTRA")
    platform = f"linux/{spec.host_platform().architecture}"
    assert [row.split()[0] for row in rows] == ["alpine:3.19", "└─", "alpine:latest", "quay.io/x/y:1", "└─"]
    assert rows[2] == "alpine:latest" and rows[1].startswith(f"└─ {platform} ")
    blobs = sum(path.stat().st_size for path in (shelf.root / "blobs/sha256").iterdir())
    cells = [row.split() for row in rows if not row.startswith("└─") and len(row.split()) > 1]
    assert [cell[1] for cell in cells] == shelf.ok("images", "-q", "alpine").split()
    content = [float(cell[3].removesuffix("B")) for cell in cells]
    assert sum(content) == pytest.approx(blobs, abs=2)
    assert [cell[2] for cell in cells] == [human_size(2000 + content[0], 3), human_size(1 + content[1], 3)]
    assert shelf.ok("images", "--tree", "quay.io/x/y").splitlines()[1:] != []
    for option in ["-q"], ["--digests"], ["--no-trunc"], ["--format", "json"]:
        assert refused(shelf, "images", "--tree", *option).endswith(" can't be used with --tree; leave one of them out")


def test_push_and_pull_of_nothing(shelf: Rootless) -> None:
    for command in "push", "pull":
        assert refused(shelf, command).startswith(f"'rootless {command}' requires 1 argument")
    assert refused(shelf, "push", "-q", "alpine:nope") == "tag does not exist: alpine:nope"
    unknown = "An image does not exist locally with the tag: "
    assert refused(shelf, "push", "-q", "quay.io/x/z:1") == f"{unknown}quay.io/x/z"
    assert refused(shelf, "push", "-q", "-a", "z") == f"{unknown}z"
    assert refused(shelf, "push", "-q", "-a", "alpine:3.19") == "tag can't be used with --all-tags/-a"


def test_rmi(images: Rootless) -> None:
    assert images.ok("rmi", "alpine") == "Untagged: alpine:latest\n"
    lines = images.ok("image", "rm", "quay.io/x/y:1", "alpine:3.19").splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["Untagged:", "Deleted:", "Deleted:"] * 2
    assert images.ok("images", "-q") == ""


def test_rmi_goes_on_after_what_it_can_not_remove(images: Rootless) -> None:
    done = images("rmi", "nope", "alpine:3.19", "Foo")
    assert done.returncode == 1
    assert b"Untagged: alpine:3.19" in done.stdout
    errors = done.stderr.decode().splitlines()
    assert errors[0] == "rootless: No such image: nope:latest"
    assert "must be lowercase" in errors[1]
    forced = images("rmi", "-f", "nope")
    assert (forced.returncode, forced.stderr) == (0, b"rootless: No such image: nope:latest\n")


def test_what_a_container_uses_stays(engine: Rootless, busybox_tar: Path) -> None:
    image = engine.ok("import", "-c", 'CMD ["/bin/sh"]', str(busybox_tar), "box").strip()
    engine.ok("run", "--name", "c1", "box", "true")
    container = engine.ok("ps", "-aq").strip()
    short = image[7:19]
    assert [line[-2:] for line in engine.ok("images", "--tree").splitlines()[1:]] == [" U", " U"]
    assert refused(engine, "rmi", "box") == (
        'conflict: unable to remove repository reference "box:latest" (must force) - '
        f"container {container} is using its referenced image {short}"
    )
    assert refused(engine, "rmi", short) == (
        f"conflict: unable to delete {short} (must be forced) - image is being used by stopped container {container}"
    )
    assert engine.ok("rmi", "-f", "box") == "Untagged: box:latest\n"
    assert engine.ok("image", "prune", "-af") == "Total reclaimed space: 0B\n"
    engine.ok("rm", "c1")
    assert f"deleted: {image}\n" in engine.ok("image", "prune", "-f")
    assert engine.ok("images", "-q") == ""


def test_prune_asks_first(images: Rootless) -> None:
    done = images("image", "prune", "-a", stdin=b"n\n")
    assert done.returncode == 0
    assert done.stdout.decode() == (
        "WARNING! This will remove all images without at least one container associated to them.\n"
        "Are you sure you want to continue? [y/N] "
    )
    assert len(images.ok("images", "-q").split()) == 3
    pruned = images.ok("image", "prune", "-f", "-a", "--filter", "label=version=2000")
    assert pruned.splitlines()[1] == "untagged: alpine:3.19"
    assert images.ok("image", "prune", "-f", "-a", "--filter", "label!=a") == "Total reclaimed space: 0B\n"
    assert b"Total reclaimed space: " in images("image", "prune", "-a", stdin=b"y\n").stdout
    assert images.ok("images", "-q") == ""


@pytest.mark.parametrize(
    "words",
    [["images"], ["images", "--format", "json"], ["inspect", "alpine"], ["history", "alpine"], ["tag", "alpine", "b"]]
    + [["rmi", "alpine"], ["image", "prune", "-f"], ["import", "-", "b"]],
    ids=lambda words: words[0],
)
def test_what_is_imported_by_the_time_a_command_has_ended(images: Rootless, words: list[str]) -> None:
    """trio costs more than all of these commands; a fresh interpreter tells what each really imported."""
    archive = Archive().file("f", b"1").bytes()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *images.argv(*words)[1:]],
        env=images.environment,
        input=archive,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.decode().splitlines()}
    assert "rootless.image.store" in imported, "the list of imports was not found where it is looked for"
    assert imported.isdisjoint({"trio", "rich", "ssl", "asyncio", "h11", "rootless.registry.client"})
