"""Small Dockerfiles, each instruction and option, with what an image of each has (Docker's reference, Dockerfile).

`WELL` builds; `BADLY` doesn't, or not without a warning. All have the files of CONTEXT around them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CONTEXT = {
    "a.txt": "a\n",
    "b.txt": "b\n",
    "[c].txt": "c\n",
    "with blank": "blank\n",
    "dir/one": "1\n",
    "dir/two": "2\n",
    "dir/sub/three.o": "3\n",
    "dir/sub/four": "4\n",
}


PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
"""What busybox has in /etc/passwd."""


@dataclass(frozen=True)
class Case:
    """
    Attributes:
        text: the Dockerfile.
        files: of the context, beside CONTEXT; None leaves one out.
        has: of the image, by path: the content; `KIND OWNER MODE CONTENT`; or None for nothing.
        config: of the image, by field.
        history: texts that stand in it.
        said, unsaid: in what the command prints.
    """

    text: str
    options: tuple[str, ...] = ()
    files: Mapping[str, str | None] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    has: Mapping[str, str | None] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    unsaid: tuple[str, ...] = ()


WELL: dict[str, Case] = {
    # --- the file itself: directives, comments, continuation lines, words
    "directives": Case(
        "# syntax=docker/dockerfile:1\n# escape=`\n# check=skip=all\nFROM busybox\nENV a=`\nb`$c\nCOPY a.txt C:\\d\\\n",
        config={"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "a=b$c"]},
        has={"C:\\d\\": "a\n"},
    ),
    "comments": Case(
        "# first\n\nFROM busybox\n  # indented\nRUN echo a \\\n# between\n\n  b > /f # of the shell's\n",
        has={"f": "a b\n"},
    ),
    "small-letters": Case(
        'from busybox as x\nrun echo x > /f\nfrom x\ncmd ["y"]\n', has={"f": "x\n"}, config={"Cmd": ["y"]}
    ),
    "dos": Case("FROM busybox\r\nRUN echo \\\r\n x > /f\r\n", has={"f": "x\n"}),
    # --- FROM and stages
    "scratch": Case("FROM scratch\nCOPY a.txt /\n", has={"a.txt": "f 0:0 644 a\n", "bin": None}),
    "from-variable": Case("ARG name=busy\nARG tag\nFROM ${name}box:${tag:-latest}\n", has={"bin/sh": "busybox"}),
    "from-variable-given": Case(
        "ARG base=none\nFROM $base\n", ("--build-arg", "base=busybox"), has={"bin/sh": "busybox"}
    ),
    "from-platform": Case(
        "FROM --platform=$BUILDPLATFORM busybox\nARG TARGETARCH\nRUN echo $TARGETARCH > /f\n", has={"f": "amd64\n"}
    ),
    "stage-by-name": Case(
        "FROM busybox AS Make\nRUN echo made > /out\nFROM scratch\nCOPY --from=make /out /in\n",
        has={"in": "made\n", "bin": None},
    ),
    "stage-by-number": Case(
        "FROM busybox\nRUN echo 0 > /out\nFROM busybox\nRUN echo 1 > /out\nFROM scratch\nCOPY --from=1 out .\n",
        has={"out": "1\n"},
    ),
    "stage-from-stage": Case(
        "FROM busybox AS x\nENV a=1\nRUN echo x > /f\nFROM x\nRUN echo $a >> /f\n", has={"f": "x\n1\n"}
    ),
    "stage-unused": Case("FROM busybox AS not\nRUN false\nFROM busybox\n", unsaid=("RUN false",)),
    "stage-target": Case(
        "FROM busybox AS first\nLABEL is=first\nFROM busybox\nRUN false\n",
        ("--target", "first"),
        config={"Labels": {"is": "first"}},
    ),
    "stages-at-once": Case(
        "FROM busybox AS a\nRUN echo a > /a\nFROM busybox AS b\nRUN echo b > /b\n"
        "FROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n",
        has={"a": "a\n", "b": "b\n"},
    ),
    "copy-from-image": Case(
        "FROM scratch\nCOPY --from=busybox:latest /etc/passwd /p\n",
        has={"p": PASSWD},
    ),
    # --- ARG and expansion
    "arg": Case(
        "FROM busybox\nARG a=1 b=$a-2 c\nRUN echo $a $b ${c-none} > /f\n",
        has={"f": "1 1-2 none\n"},
        history=("ARG a=1 b=1-2 c", "RUN |3 a=1 b=1-2 c= /bin/sh -c echo $a $b ${c-none} > /f # buildkit"),
    ),
    "arg-given": Case(
        "FROM busybox\nARG a=1\nARG b\nRUN echo $a $b > /f\n",
        ("--build-arg", "a=2", "--build-arg", "b"),
        env={"b": "environment"},
        has={"f": "2 environment\n"},
        history=("ARG a=2", "ARG b=environment"),
    ),
    "arg-given-needs-no-default": Case(
        "ARG g=${not:?asked for}\nFROM busybox\nARG a=${b:?needed}\nRUN echo $a > /f\n",
        ("--build-arg", "a=given", "--build-arg", "g=x"),
        has={"f": "given\n"},
    ),
    "arg-global": Case(
        'ARG v=global\nFROM busybox\nRUN echo "<$v>" > /f\nARG v\nRUN echo "<$v>" >> /f\n', has={"f": "<>\n<global>\n"}
    ),
    "arg-scope": Case('FROM busybox AS x\nARG a=1\nFROM busybox\nRUN echo "<$a>" > /f\n', has={"f": "<>\n"}),
    "arg-inherited": Case('FROM busybox AS x\nARG a=1\nFROM x\nRUN echo "<$a>" > /f\n', has={"f": "<1>\n"}),
    "arg-under-env": Case(
        "FROM busybox\nARG a=arg\nENV a=env\nRUN echo $a > /f\n",
        ("--build-arg", "a=given"),
        has={"f": "env\n"},
        history=("ARG a=given", "RUN |1 a=env /bin/sh -c echo $a > /f # buildkit"),
    ),
    "arg-over-env": Case(  # in BuildKit the later one counts, whatever the reference says; the stage after has the ENV
        "FROM busybox AS x\nENV a=env\nARG a=arg\nRUN echo $a > /$a\nFROM x\nRUN echo $a > /f\n",
        ("--build-arg", "a=given"),
        has={"f": "env\n", "given": "given\n"},
        config={"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "a=env"]},
    ),
    "arg-proxy": Case(
        "FROM busybox\nRUN echo $HTTP_PROXY > /f\n",
        ("--build-arg", "HTTP_PROXY=http://proxy:1"),
        has={"f": "http://proxy:1\n"},
        history=("RUN /bin/sh -c echo $HTTP_PROXY > /f # buildkit",),
    ),
    "modifiers": Case(
        "FROM busybox\nENV x=foo.tar.gz e=''\n"
        "ENV a=${n:-d}${e:-d}${e-d} b=${x:+s}${e:+s}${e+s} c=${x#*.} d=${x##*.}\n"
        "ENV f=${x%.*} g=${x%%.*} h=${x/a/A} i=${x//o/0}\n"
        "RUN echo $a $b $c $d $f $g $h $i > /f\n",
        has={"f": "dd ss tar.gz gz foo.tar foo foo.tAr.gz f00.tar.gz\n"},
    ),
    "expanded-everywhere": Case(
        "FROM busybox\nENV n=a o=7 p=80\nWORKDIR /$n\nCOPY --chown=$o:$o $n.txt $n\nUSER $o\nEXPOSE $p\nVOLUME /v$n\n"
        "LABEL $n=$o\nSTOPSIGNAL ${s:-SIGINT}\n",
        has={"a": "d 0:0 755 ", "a/a": "f 7:7 644 a\n"},
        config={
            "User": "7",
            "ExposedPorts": {"80/tcp": {}},
            "Volumes": {"/va": {}},
            "Labels": {"a": "7"},
            "StopSignal": "SIGINT",
        },
    ),
    "not-expanded": Case(
        'FROM busybox\nENV a=b\nENTRYPOINT ["$a"]\nCMD echo $a\n',
        config={"Entrypoint": ["$a"], "Cmd": ["/bin/sh", "-c", "echo $a"]},
    ),
    # --- RUN
    "run-shell": Case("FROM busybox\nRUN echo $HOME | cat > /f\n", has={"f": "/root\n"}),
    "run-exec": Case('FROM busybox\nRUN ["touch", "$HOME", "/a b"]\n', has={"$HOME": "", "a b": ""}),
    "run-removes": Case(
        "FROM busybox\nRUN rm /etc/group && mkdir /etc/group\n",
        has={
            "etc/group": "d 0:0 755 ",
            "etc/passwd": PASSWD,
        },
    ),
    "run-network-none": Case(
        "FROM busybox\nRUN --network=none ls /sys/class/net > /f\n", ("--network", "host"), has={"f": "lo\n"}
    ),
    "run-network-host": Case(
        "FROM busybox\nRUN --network=host readlink /proc/self/ns/net > /f\n",
        ("--allow", "network.host"),
        has={"f": f"{os.readlink('/proc/self/ns/net')}\n"},
    ),
    "run-network-host-as-all": Case(
        "FROM busybox\nRUN --network=host readlink /proc/self/ns/net > /f\n",
        ("--network", "host"),
        has={"f": f"{os.readlink('/proc/self/ns/net')}\n"},
    ),
    "run-environment": Case(
        "FROM busybox\nENV a=1\nWORKDIR /w\nUSER nobody\nRUN env | sort\nRUN pwd; id -u\n",
        said=(" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", " a=1", " HOME=/", " /w", " 65534"),
    ),
    "run-leaves-nothing": Case(
        "FROM busybox\nRUN echo $$ > /tmp/x && cat /etc/resolv.conf /etc/hosts > /dev/null && rm /tmp/x\n",
        has={"etc/resolv.conf": None, "etc/hosts": None, "tmp/x": None, "dev/null": None, "proc/self": None},
    ),
    "shell": Case(
        'FROM busybox\nSHELL ["/bin/sh", "-exc"]\nRUN true\nCMD x\n',
        said=("+ true",),
        config={"Cmd": ["/bin/sh", "-exc", "x"], "Shell": ["/bin/sh", "-exc"]},
    ),
    # --- COPY
    "copy-file": Case(
        "FROM busybox\nCOPY a.txt /x/y\n",
        has={"x": "d 0:0 755 ", "x/y": "f 0:0 644 a\n"},
        history=("COPY a.txt /x/y # buildkit",),
    ),
    "copy-into": Case(
        "FROM busybox\nWORKDIR /w\nCOPY a.txt dir/\nCOPY b.txt .\n", has={"w/dir/a.txt": "a\n", "w/b.txt": "b\n"}
    ),
    "copy-directory": Case("FROM busybox\nCOPY dir /x\n", has={"x/one": "1\n", "x/sub/four": "4\n", "x/dir": None}),
    "copy-several": Case(
        "FROM busybox\nCOPY a.txt dir b.txt /x/\n", has={"x/a.txt": "a\n", "x/one": "1\n", "x/b.txt": "b\n"}
    ),
    "copy-wildcards": Case(
        "FROM busybox\nCOPY ?.txt d*r/t[a-w]o /x/\n", has={"x/a.txt": "a\n", "x/two": "2\n", "x/one": None}
    ),
    "copy-escaped": Case(
        'FROM busybox\nCOPY [[]c].txt /x\nCOPY ["with blank", "/y z"]\n', has={"x": "c\n", "y z": "blank\n"}
    ),
    "copy-all": Case(
        "FROM busybox\nCOPY . /x/\n", has={"x/dir/sub/four": "4\n", "x/Dockerfile": "FROM busybox\nCOPY . /x/\n"}
    ),
    "copy-chown": Case(
        "FROM busybox\nCOPY --chown=nobody:nogroup a.txt dir /x/\nCOPY --chown=3 b.txt /b\nCOPY --chown=:4 b.txt /c\n",
        has={
            "x/a.txt": "f 65534:65534 644 a\n",
            "x/sub": "d 65534:65534 755 ",
            "b": "f 3:3 644 b\n",
            "c": "f 0:4 644 b\n",
        },
    ),
    "copy-chmod": Case(
        "FROM busybox\nCOPY --chmod=4751 a.txt /a\nCOPY --chmod=go-r,u+x b.txt /b\nCOPY --chmod=700 dir /d\n",
        has={"a": "f 0:0 4751 a\n", "b": "f 0:0 700 b\n", "d/sub/four": "f 0:0 700 4\n"},
    ),
    "copy-link": Case(
        "FROM busybox\nCOPY --link a.txt /etc/x/\nCOPY --link=true dir /d/\n",
        has={
            "etc/x/a.txt": "a\n",
            "etc/passwd": PASSWD,
            "d/one": "1\n",
        },
    ),
    "copy-parents": Case(
        "FROM busybox\nCOPY --parents dir/sub/four dir/./sub/three.o /x/\n",
        has={"x/dir/sub/four": "4\n", "x/sub/three.o": "3\n", "x/dir/one": None},
    ),
    "copy-exclude": Case(
        "FROM busybox\nCOPY --exclude=**/*.o --exclude=one dir /x\n",
        has={"x/two": "2\n", "x/sub/four": "4\n", "x/sub/three.o": None, "x/one": None},
    ),
    "copy-through-link": Case(
        "FROM busybox\nRUN mkdir /real && ln -s real /link\nCOPY a.txt /link/\n",
        has={"link": "l 0:0 777 real", "real/a.txt": "a\n"},
    ),
    "copy-over": Case("FROM busybox\nCOPY a.txt /x\nCOPY b.txt /x\n", has={"x": "b\n"}),
    "copy-from-keeps-owners": Case(
        "FROM busybox AS x\nRUN mkdir /o && echo x > /o/f && chown -R 5:6 /o && chmod 2750 /o && ln -s f /o/l\n"
        "FROM scratch\nCOPY --from=x /o /o\n",
        has={"o": "d 0:0 755 ", "o/f": "f 5:6 644 x\n", "o/l": "l 0:6 777 f"},
    ),
    "copy-into-new-directory": Case(  # which is a new one, not a copy of the one whose contents go there
        "FROM busybox AS x\nRUN mkdir -p /o/in && chown 5:6 /o /o/in && chmod 700 /o /o/in\n"
        "FROM busybox\nCOPY --from=x /o /new\nCOPY --from=x --chown=7:8 /o /owned/deep\n"
        "COPY --from=x --chmod=750 /o /moded\nCOPY --from=x --chmod=u=rx /o /letters\nCOPY --from=x /o /tmp/\n",
        has={
            "new": "d 0:0 755 ",
            "new/in": "d 5:6 700 ",
            "owned": "d 7:8 755 ",
            "owned/deep": "d 7:8 755 ",
            "owned/deep/in": "d 7:8 700 ",
            "moded": "d 0:0 750 ",
            "moded/in": "d 5:6 750 ",
            "letters": "d 0:0 755 ",
            "letters/in": "d 5:6 500 ",
        },
    ),
    # --- ADD
    "add-file": Case(
        "FROM busybox\nADD --chown=1:2 --chmod=600 a.txt dir /x/\n",
        has={"x/a.txt": "f 1:2 600 a\n", "x/one": "f 1:2 600 1\n"},
        history=("ADD --chown=1:2 --chmod=600 a.txt dir /x/ # buildkit",),
    ),
    # --- what costs nothing
    "env": Case(
        'FROM busybox\nENV a=1 b="2 3" c=4\\ 5\nENV d six seven\nENV a=2 e=$a\n',
        config={
            "Env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "a=2",
                "b=2 3",
                "c=4 5",
                "d=six seven",
                "e=1",
            ]
        },
    ),
    "label": Case(
        'FROM busybox\nLABEL a=1 "b c"="d e"\nLABEL a=2\n',
        ("--label", "g=given", "--label", "a=3"),
        config={"Labels": {"a": "3", "b c": "d e", "g": "given"}},
    ),
    "expose": Case(
        "FROM busybox\nEXPOSE 80 53/udp 8000-8002\n",
        config={"ExposedPorts": {"80/tcp": {}, "53/udp": {}, "8000/tcp": {}, "8001/tcp": {}, "8002/tcp": {}}},
    ),
    "user": Case(
        "FROM busybox\nUSER nobody:nogroup\nRUN id > /tmp/f\n",
        config={"User": "nobody:nogroup"},
        has={"tmp/f": "uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup)\n"},
    ),
    "workdir": Case(
        "FROM busybox\nWORKDIR /a\nWORKDIR b\nWORKDIR ../c\nRUN pwd > f\n",
        config={"WorkingDir": "/a/c"},
        has={"a/b": "d 0:0 755 ", "a/c/f": "/a/c\n"},
    ),
    "volume": Case(
        'FROM busybox\nVOLUME /a /b\nVOLUME ["/c d"]\nRUN mkdir /a && echo x > /a/f\n',
        config={"Volumes": {"/a": {}, "/b": {}, "/c d": {}}},
    ),
    "cmd": Case('FROM busybox\nCMD echo hi\nCMD ["a", "b"]\n', config={"Cmd": ["a", "b"]}, history=('CMD ["a" "b"]',)),
    "cmd-shell": Case("FROM busybox\nCMD echo hi\n", config={"Cmd": ["/bin/sh", "-c", "echo hi"]}),
    "entrypoint": Case('FROM busybox\nENTRYPOINT ["/e"]\nCMD ["c"]\n', config={"Entrypoint": ["/e"], "Cmd": ["c"]}),
    "entrypoint-forgets-cmd": Case(
        "FROM busybox\nENTRYPOINT top -b\n", config={"Entrypoint": ["/bin/sh", "-c", "top -b"], "Cmd": None}
    ),
    "stopsignal": Case("FROM busybox\nSTOPSIGNAL 9\n", config={"StopSignal": "9"}),
    "healthcheck": Case(
        "FROM busybox\nHEALTHCHECK --interval=5m --timeout=3s --start-period=1s --start-interval=2s "
        "--retries=2 CMD test -e /x\n",
        config={
            "Healthcheck": {
                "Test": ["CMD-SHELL", "test -e /x"],
                "Interval": 300 * 10**9,
                "Timeout": 3 * 10**9,
                "StartPeriod": 10**9,
                "StartInterval": 2 * 10**9,
                "Retries": 2,
            }
        },
    ),
    "healthcheck-none": Case(
        'FROM busybox\nHEALTHCHECK CMD ["a"]\nHEALTHCHECK NONE\n', config={"Healthcheck": {"Test": ["NONE"]}}
    ),
    "onbuild": Case(
        "FROM busybox AS x\nONBUILD COPY a.txt /f\nONBUILD RUN cat /f /f > /g\nONBUILD ENV h=1\n"
        "FROM x\nRUN echo $h >> /g\n",
        has={"g": "a\na\n1\n"},
        config={"OnBuild": None},
    ),
    "onbuild-kept": Case("FROM busybox\nONBUILD RUN false\n", config={"OnBuild": ["RUN false"]}),
    "maintainer": Case("FROM busybox\nMAINTAINER A B <c@d>\n", history=("MAINTAINER A B <c@d>",)),
    # --- contexts
    "dockerignore": Case(
        "FROM busybox\nCOPY . /x/\n",
        files={".dockerignore": "# a comment\n*.txt\n!b.txt\ndir/sub\n/with*\n**/tw?\n"},
        has={
            "x/a.txt": None,
            "x/b.txt": "b\n",
            "x/dir/one": "1\n",
            "x/dir/sub": None,
            "x/dir/two": None,
            "x/with blank": None,
        },
    ),
    "dockerignore-of-its-own": Case(
        "FROM busybox\nCOPY . /x/\n",
        files={".dockerignore": "a.txt\n", "Dockerfile.dockerignore": "b.txt\n"},
        has={"x/a.txt": "a\n", "x/b.txt": None},
    ),
    "another-file": Case(
        "FROM scratch\n",
        ("-f", "{context}/dir/other"),
        {"dir/other": "FROM busybox\nCOPY a.txt /f\n"},
        has={"f": "a\n"},
    ),
}
"""At least 60, each also run on `cow`."""

BADLY: dict[str, Case] = {
    "empty": Case("", said=("rootless: {context}/Dockerfile: the Dockerfile cannot be empty",)),
    "only-comments": Case("# nothing\n", said=("file with no instructions",)),
    "no-from": Case("RUN true\n", said=("Dockerfile:1: no build stage in current context", ">>> RUN true")),
    "arg-before-from-only": Case("ARG a\n", said=("dockerfile contains no stages to build",)),
    "unknown-instruction": Case(
        "FROM busybox\n\nRUNN true\n",
        said=("Dockerfile:3: unknown instruction: RUNN (did you mean RUN?)", "3 | >>> RUNN true"),
    ),
    "unknown-base": Case("FROM localhost:1/nowhere\n", said=("localhost:1",)),
    "base-without-name": Case("FROM $nothing\n", said=("base name ($nothing) should not be blank",)),
    "unknown-stage": Case("FROM busybox\nCOPY --from=localhost:1/nowhere /a /b\n", said=("localhost:1",)),
    "stage-number": Case("FROM busybox\nCOPY --from=3 /a /b\n", said=("invalid stage index 3",)),
    "stage-later": Case("FROM busybox AS a\nCOPY --from=b /x /\nFROM busybox AS b\n", ("--target", "a"), said=("b",)),
    "unknown-target": Case("FROM busybox AS x\n", ("--target", "y"), said=('target stage "y" could not be found',)),
    "platform": Case("FROM --platform=sparc busybox\n", said=("sparc",)),
    "run-fails": Case(
        "FROM busybox\nRUN true\nRUN echo last words; exit 42\n",
        said=(
            "last words",
            "3 | >>> RUN echo last words; exit 42",
            "did not complete successfully: exit code: 42",
            "--debug-shell",
        ),
    ),
    "run-not-found": Case('FROM busybox\nRUN ["nowhere"]\n', said=("2 | >>>", "nowhere")),
    "run-killed": Case("FROM busybox\nRUN sh -c 'kill -9 $$'; exit $?\n", said=("exit code: 137",)),
    "run-user": Case("FROM busybox\nUSER somebody\nRUN true\n", said=("somebody", "3 | >>> RUN true")),
    "run-network": Case("FROM busybox\nRUN --network=lan true\n", said=('invalid network mode "lan"',)),
    "run-network-host": Case(
        "FROM busybox\nRUN --network=host true\n",
        said=("network.host is not allowed", "--allow network.host", "2 | >>> RUN --network=host true"),
    ),
    "copy-missing": Case("FROM busybox\nCOPY nowhere /\n", said=('"/nowhere": not found', "2 | >>> COPY nowhere /")),
    "copy-ignored": Case(
        "FROM busybox\nCOPY a.txt /\n",
        files={".dockerignore": "*.txt\n"},
        said=('"/a.txt": not found', ".dockerignore"),
    ),
    "copy-outside": Case("FROM busybox\nCOPY ../../etc/passwd /p\n", said=("forbidden path outside the context",)),
    "copy-several-into-file": Case(
        "FROM busybox\nCOPY a.txt b.txt /x\n", said=("the destination must be a directory and end with a /",)
    ),
    "copy-onto-directory": Case("FROM busybox\nCOPY dir /etc/passwd\n", said=("/etc/passwd",)),
    "copy-below-file": Case("FROM busybox\nCOPY a.txt /etc/passwd/a\n", said=("/etc/passwd is not a directory",)),
    "copy-chown": Case("FROM busybox\nCOPY --chown=somebody a.txt /\n", said=("somebody",)),
    "copy-chmod": Case("FROM busybox\nCOPY --chmod=rwx a.txt /\n", said=("rwx",)),
    "copy-from-missing": Case(
        "FROM busybox AS x\nFROM busybox\nCOPY --from=x /nowhere /\n", said=('"/nowhere": not found',)
    ),
    "copy-url": Case("FROM busybox\nCOPY http://127.0.0.1:1/x /\n", said=("source can't be a URL for COPY",)),
    "copy-bad-pattern": Case("FROM busybox\nCOPY [a /\n", said=("[a",)),
    "add-checksum-of-file": Case(
        f"FROM busybox\nADD --checksum=sha256:{'0' * 64} a.txt /\n", said=("checksum requires an HTTP(S) source",)
    ),
    "add-git": Case("FROM busybox\nADD git@localhost:nowhere.git /\n", said=("git",)),
    "expansion": Case("FROM busybox\nENV a=${b:?needed}\n", said=("b: needed",)),
    "expose": Case("FROM busybox\nEXPOSE 70000\n", said=("70000",)),
    "stopsignal": Case("FROM busybox\nSTOPSIGNAL SIGNOTHING\n", said=("SIGNOTHING",)),
    "argument-form": Case("FROM busybox\n", ("--build-arg", "=x"), said=("invalid build argument",)),
    "argument-bytes": Case(
        "FROM busybox\nARG a\nRUN echo $a\n", ("--build-arg", "a=\udcff"), said=("it is not UTF-8",)
    ),
    "argument-bytes-of-the-environment": Case(
        "FROM busybox\nARG a\nRUN echo $a\n", ("--build-arg", "a"), env={"a": "\udcff"}, said=("it is not UTF-8",)
    ),
    "label-bytes": Case("FROM busybox\n", ("--label", "a=\udcff"), said=("it is not UTF-8",)),
    "network": Case("FROM busybox\n", ("--network", "lan"), said=("lan",)),
    "allow-insecure": Case("FROM busybox\n", ("--allow", "security.insecure"), said=("security.insecure",)),
    "allow-form": Case("FROM busybox\n", ("--allow", "lan"), said=("invalid entitlement: lan",)),
    "secret-form": Case("FROM busybox\n", ("--secret", "src=x"), said=("invalid secret",)),
    "output-form": Case("FROM busybox\n", ("-o", "type=nothing"), said=("invalid output type 'nothing'",)),
    "tag": Case("FROM busybox\n", ("-t", "UPPER"), said=("UPPER",)),
    "label-form": Case("FROM busybox\n", ("--label", "=x"), said=("label",)),
}
"""Each ends with a line of its own, and a code that is not 0."""
