"""Programs built as people build them: the lesson's, and one in C whose objects outlive a change."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.build.site import Site

LESSON = """\
FROM freepascal/fpc:3.2.2-alpine-3.19-full
WORKDIR /app
COPY ./HelloWorld.pas .
RUN fpc -Mtp -Criot -gl -gh HelloWorld.pas
"""
PASCAL = "program HelloWorld;\nbegin\n  writeln('Hello, World!');\nend.\n"
FPC = "freepascal/fpc:3.2.2-alpine-3.19-full"
STANDS_IN = """\
#!/bin/sh
# What fpc says and does with a program of one writeln, as far as a build sees it.
for word; do source=$word; done
echo "Free Pascal Compiler version 3.2.2"
echo "Compiling $source"
{ echo '#!/bin/sh'; sed -n "s/ *writeln('\\(.*\\)');/echo '\\1'/p" "$source"; } > "${source%.pas}"
chmod +x "${source%.pas}"
"""


def lesson(site: Site) -> None:
    (site.directory / "fpc").unlink(missing_ok=True)
    said = site.ok(LESSON, files={"HelloWorld.pas": PASCAL})
    assert "[4/4] RUN fpc -Mtp -Criot -gl -gh HelloWorld.pas" in said and "Free Pascal Compiler version 3.2.2" in said
    assert site.run("./HelloWorld").startswith("Hello, World!\n")
    assert site.ok(LESSON).count("CACHED") == 3
    changed = site.ok(LESSON, files={"HelloWorld.pas": PASCAL.replace("World!", "there!")})
    assert changed.count("CACHED") == 1
    assert site.run("./HelloWorld").startswith("Hello, there!\n")


def test_the_lesson(site: Site) -> None:
    site.ok("FROM busybox\nCOPY --chmod=755 fpc /bin/fpc\n", "-t", FPC, files={"fpc": STANDS_IN})
    try:
        lesson(site)
    finally:
        site.engine.ok("rmi", "-f", FPC)


def debian(tmp_path: Path, packages: str) -> Path:
    """Debian with some packages, as a tar; `ROOTLESS_DEBIAN_<PACKAGE>` may name one that is there already."""
    ready = os.environ.get(f"ROOTLESS_DEBIAN_{packages.partition(',')[0].replace('-', '_').upper()}")
    if ready:
        return Path(ready)
    if shutil.which("mmdebstrap") is None:
        pytest.skip("mmdebstrap is not installed")
    tar = tmp_path / "debian.tar"
    command = ["mmdebstrap", "--quiet", "--mode=unshare", "--variant=minbase", f"--include={packages}", "bookworm", tar]
    # In a directory that subordinate ids can walk through, as the test's own can not be.
    made = subprocess.run(command, capture_output=True, env={**os.environ, "TMPDIR": "/tmp"}, check=False)
    if made.returncode:
        pytest.skip(f"mmdebstrap needs Debian's archive: {made.stderr.decode().strip().splitlines()[-1]}")
    return tar


@pytest.mark.long
def test_the_lesson_with_the_compiler_itself(site: Site, tmp_path: Path) -> None:
    site.engine.ok("import", "-c", 'CMD ["/bin/sh"]', str(debian(tmp_path, "fp-compiler")), FPC)
    try:
        lesson(site)
    finally:
        site.engine.ok("rmi", "-f", FPC)


C = """\
FROM {compiler} AS deps
WORKDIR /src
COPY lib/ lib/
RUN --mount=type=cache,target=/objects,id={name} make -f lib/Makefile O=/objects

FROM deps AS program
COPY main.c .
RUN {cc} -o /program main.c /src/libgreet.{a}

FROM {compiler} AS docs
COPY manual.txt /
RUN wc -l < /manual.txt > /pages

FROM {base}
COPY --from=program /program /bin/
COPY --from=docs /pages /
CMD ["/bin/program"]
"""
MAKEFILE = """\
O ?= .
objects = $(O)/hello.o $(O)/name.o
/src/libgreet.a: $(objects)
\tar rcs $@ $(objects)
$(O)/%.o: lib/%.c lib/greet.h
\tgcc -c -o $@ $<
"""
SOURCES = {
    "lib/Makefile": MAKEFILE,
    "lib/greet.h": "const char *hello(void);\nconst char *name(void);\n",
    "lib/hello.c": '#include "greet.h"\nconst char *hello(void) { return "Hello"; }\n',
    "lib/name.c": '#include "greet.h"\nconst char *name(void) { return "World"; }\n',
    "main.c": '#include <stdio.h>\n#include "lib/greet.h"\nint main(void) { printf("%s, %s!\\n", hello(), name()); }\n',
    "manual.txt": "one\ntwo\n",
}


def steps(said: str) -> dict[str, bool]:
    """Each step by what it is for, and whether it was known."""
    blocks = said.split("\n\n")
    marks = {"objects": "make -f", "link": "-o /program main.c", "docs": "RUN wc -l", "last": "COPY --from=program"}
    return {name: any(mark in block and "CACHED" in block for block in blocks) for name, mark in marks.items()}


@pytest.mark.long
def test_a_program_in_c_with_cache_mounts(site: Site, tmp_path: Path) -> None:
    """A change of one source rebuilds only what depends on it: of the steps, and of the objects in the cache mount."""
    site.engine.ok("import", str(debian(tmp_path, "gcc,libc6-dev,make")), "gcc:test")
    text = C.format(compiler="gcc:test", base="busybox", name=site.name, cc="gcc -static", a="a")
    try:
        first = site.ok(text, files=SOURCES)
        assert "gcc -c -o /objects/hello.o" in first and "gcc -c -o /objects/name.o" in first
        assert site.run() == "Hello, World!\n"
        assert all(steps(site.ok(text)).values())

        docs = site.ok(text, files={"manual.txt": "one\n"})
        assert steps(docs) == {"objects": True, "link": True, "docs": False, "last": True}

        main = site.ok(text, files={"main.c": SOURCES["main.c"].replace("!", "?")})
        assert steps(main) == {"objects": True, "link": False, "docs": True, "last": False}
        assert site.run() == "Hello, World?\n"

        name = site.ok(text, files={"lib/name.c": SOURCES["lib/name.c"].replace("World", "there")})
        assert steps(name) == {"objects": False, "link": False, "docs": True, "last": False}
        assert "gcc -c -o /objects/name.o" in name, "this one has changed"
        assert site.run() == "Hello, there?\n"
        history = site.engine.ok("run", "--rm", site.name, "sh", "-c", "ls /objects /src 2>&1 || true")
        assert history.count("No such file") == 2, "nothing of what it was made with"
    finally:
        site.engine.ok("rmi", "-f", "gcc:test")
