"""A build that is interrupted or killed leaves no process, mount or container; what was finished stays known."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time

import pytest

from tests.build.site import Site
from tests.conftest import Rootless

DOCKERFILE = """\
FROM busybox AS one
RUN echo {name} > /a
RUN echo started; sleep 60
FROM busybox AS two
RUN --mount=type=cache,target=/c,id={name} echo started; sleep 60
FROM busybox
COPY --from=one /a /
COPY --from=two /bin/sh /b
"""


def begun(rootless: Rootless, site: Site) -> subprocess.Popen[bytes]:
    """A build of which two stages are asleep."""
    site.write({"Dockerfile": DOCKERFILE.format(name=site.name)})
    process = rootless.popen(*site.argv(), stderr=subprocess.PIPE)
    assert process.stderr is not None
    seen = 0
    while seen < 2:
        line = process.stderr.readline()
        assert line, "it has ended"
        seen += line.endswith(b" started\n") and b"RUN" not in line
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_interrupted(rootless: Rootless, site: Site, number: signal.Signals, code: int) -> None:
    """By ctrl-c, by who asks it to end, by a terminal that goes: nothing is left once it has ended."""
    process = begun(rootless, site)
    process.send_signal(number)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == code
    assert rest.count(b"CANCELED") == 2
    assert not rootless.containers()


def test_killed(rootless: Rootless, site: Site) -> None:
    process = begun(rootless, site)
    process.kill()
    process.communicate()
    assert rootless.ok("ps", "-aq") == ""  # the next command clears up
    site.ok(f"FROM busybox\nRUN echo {site.name} > /a\n")
    assert "CACHED" in site.ok(f"FROM busybox\nRUN echo {site.name} > /a\n")


def sweep(rootless: Rootless, site: Site, count: int) -> None:
    """Killed at any moment: then the same build succeeds, and has all that it should."""
    dice = random.Random(7)
    text = (
        "FROM busybox AS one\nCOPY in/ /in/\nRUN cat /in/* > /all && seq 20000 > /many\nRUN wc -l /many > /lines\n"
        "FROM busybox\nCOPY --from=one /all /lines /\nRUN --mount=type=cache,target=/c,id=sweep date >> /c/log\n"
    )
    site.write({"Dockerfile": text, "in/a": os.urandom(200_000).hex(), "in/b": "b"})
    started = time.monotonic()
    site.ok(text, "--no-cache")
    whole = time.monotonic() - started
    for number in range(count):
        site.write({"in/b": f"{number:3}"})
        process = rootless.popen(*site.argv(), stderr=subprocess.DEVNULL)
        time.sleep(dice.uniform(0, 1.5 * whole))
        process.kill()
        process.wait()
        site.ok(text)
        assert site.sh("tail -c 3 /all; echo; cat /lines").endswith(f"{number:3}\n20000 /many\n")
        if number % 10 == 0:
            assert rootless.ok("system", "check", "-q") == ""


def test_killed_at_any_moment(rootless: Rootless, site: Site) -> None:
    sweep(rootless, site, 2)


@pytest.mark.long
def test_killed_at_any_of_many_moments(rootless: Rootless, site: Site) -> None:
    sweep(rootless, site, 60)


def test_nothing_stays_of_a_step_that_failed(rootless: Rootless, site: Site) -> None:
    before = rootless.ok("system", "df", "--format", "{{.Type}} {{.TotalCount}}")
    site.fails("FROM busybox\nRUN head -c 1000000 /dev/urandom > /x; exit 1\n")
    assert rootless.ok("system", "df", "--format", "{{.Type}} {{.TotalCount}}") == before
