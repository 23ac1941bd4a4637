"""How a build is shown: lines for a pipe, a picture that moves on a terminal; no output can play with either."""

from __future__ import annotations

import os
import pty
import re
import termios

import pytest

from rootless.build.events import Output
from rootless.cli import build_progress
from tests.build.site import Site
from tests.conftest import Rootless

DOCKERFILE = """\
FROM busybox
RUN echo {0} > /a
RUN for i in 1 2 3; do echo line $i; sleep 0.2; done; \\
    printf 'a\\033[31mred\\033[0m \\033[2Jgone\\033]0;title\\007\\n'; sleep 0.3
"""


def on_a_terminal(rootless: Rootless, *words: str) -> tuple[int, str]:
    """The exit code, and all that was written to a terminal of 24 lines of 80 characters."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = rootless.popen(*words, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            data = os.read(ours, 1 << 16)
        except OSError:  # EIO: the other side is closed
            break
        shown += data
    os.close(ours)
    return process.wait(), shown.decode()


def test_on_a_terminal(rootless: Rootless, site: Site) -> None:
    site.ok(f"FROM busybox\nRUN echo {site.name} > /a\n")
    site.write({"Dockerfile": DOCKERFILE.format(site.name)})
    code, shown = on_a_terminal(rootless, *site.argv())
    assert code == 0, shown
    assert "[+] Building" in shown and "FINISHED" in shown and "\x1b[" in shown, "it moves"
    assert " => CACHED [2/3] RUN echo" in shown
    assert re.search(r" => => # line 2.* => => # line 3", shown.replace("\r\n", " "))
    assert "\x1b[2J" not in shown and "\x1b]0" not in shown
    last = shown.rpartition("[+] Building")[2]
    assert re.search(r"=> \[3/3\] RUN for .* [0-9]\.[0-9]s", last) and "=> => #" not in last
    assert all(len(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line)) <= 80 for line in last.splitlines())


def test_a_line_without_an_end_is_not_waited_for() -> None:
    """A command that writes gigabytes in one line: what is kept of it has bounds, and nothing of it is lost."""
    vertex, said, kept = build_progress.Vertex(1, "x", 0.0), 0, 0
    for _ in range(1000):
        lines = vertex.add(Output("x", 1.0, 1, b"y" * 5000))
        said += sum(len(text) for _, text in lines)
        kept = max(kept, sum(map(len, vertex.partial.values())))
    said += sum(len(text) for _, text in vertex.rest(2.0))
    assert kept <= build_progress.LONGEST and said == 1000 * 5000


def test_for_a_pipe(site: Site) -> None:
    said = site.ok(DOCKERFILE.format(site.name), "--progress", "plain")
    assert re.search(r"\n#4 [0-9.]+ line 1\n#4 [0-9.]+ line 2\n", said)
    assert re.search(r"\n#4 DONE [0-9.]+s\n", said)
    assert " ared " in said and "\x1b" not in said


WILD = "\x1b[2J\x1b]0;title\x07\x9b31m\u202e"


@pytest.mark.parametrize("how", ["plain", "tty", "quiet"])
def test_no_instruction_plays_with_the_terminal(rootless: Rootless, site: Site, how: str) -> None:
    """Its text is shown in the steps' names, among the warnings, with what failed, and in the picture of the place."""
    text = f"FROM busybox\nARG {WILD}a\nRUN true # {WILD}\nRUN echo last; false # {WILD}\n"
    site.write({"Dockerfile": text})
    words = ("-q",) if how == "quiet" else ("--progress", how)
    code, shown = on_a_terminal(rootless, *site.argv(*words, "--build-arg", f"{WILD}b=1"))
    assert code == 1
    assert not {"\x07", "\x9b", "\u202e"} & set(shown) and "\x1b[2J" not in shown and "\x1b]0" not in shown
    assert shown.count(r"\x1b[2J\x1b]0;title\x07\x9b31m\u202e") >= 3, shown
    said = site.ok("FROM busybox\n", "--build-arg", f"{WILD}b=1")
    assert r"[\x1b[2J\x1b]0;title\x07\x9b31m\u202eb] were not consumed" in said


def test_a_failure_on_a_terminal(rootless: Rootless, site: Site) -> None:
    site.write({"Dockerfile": "FROM busybox\nRUN echo last words; exit 9\n"})
    code, shown = on_a_terminal(rootless, *site.argv())
    assert code == 1
    tail = shown.rpartition("FINISHED")[2]
    assert "ERROR" in shown and "last words" in tail and "2 | >>> RUN" in tail and "exit code: 9" in tail


def test_the_picture_can_be_asked_for_and_refused(rootless: Rootless, site: Site) -> None:
    site.write({"Dockerfile": "FROM busybox\nLABEL a=b\n"})
    assert "[+] Building" in site.ok("FROM busybox\nLABEL a=b\n", "--progress", "tty")
    code, shown = on_a_terminal(rootless, *site.argv("--progress", "plain"))
    assert code == 0 and "[+]" not in shown and "#1 [internal] load build definition" in shown
