"""RUN --mount and here-documents: what a command finds there, and that nothing of it comes into the image."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from rootless import locks
from tests.build.site import Site

SECRET = "sesame-8d1f"


def test_the_context_is_bound_and_only_read(site: Site) -> None:
    site.ok(
        "FROM busybox\n"
        "RUN --mount=target=/src,source=in cat /src/file > /a\n"
        "RUN --mount=target=/src ! touch /src/new 2>/dev/null\n"
        "RUN --mount=target=/one,source=in/file cat /one > /b\n",
        files={"in/file": "text\n"},
    )
    assert site.sh("cat /a /b; ls -d /src /one 2>/dev/null || true") == "text\ntext\n", "mount points go again"


def test_what_is_written_to_a_bound_context_is_thrown_away(site: Site) -> None:
    site.ok("FROM busybox\nRUN --mount=target=/src,rw rm /src/file && touch /src/new\n", files={"file": "x"})
    assert sorted(os.listdir(site.directory)) == ["Dockerfile", "file"]


def test_what_is_ignored_is_not_bound(site: Site) -> None:
    said = site.ok(
        "FROM busybox\nRUN --mount=target=/src ls /src; echo\n",
        files={"kept": "", "hidden": "", ".dockerignore": "hidden\n"},
    )
    assert "kept" in said and "hidden" not in said.split("ls /src; echo")[-1]


def test_a_bound_file_that_changes_runs_the_command_again(site: Site) -> None:
    dockerfile = "FROM busybox\nRUN --mount=target=/src,source=in cat /src/file > /a\n"
    site.ok(dockerfile, files={"in/file": "one", "out": "1"})
    assert "CACHED" in site.ok(dockerfile, files={"out": "2"}), "another file, which is not bound"
    assert "CACHED" not in site.ok(dockerfile, files={"in/file": "two"})
    assert site.sh("cat /a") == "two"


def test_nothing_of_a_bound_context_leads_out(site: Site) -> None:
    """Neither a socket, nor a FIFO that somebody outside has open."""
    (site.directory / "in/deep").mkdir(parents=True)
    os.mkfifo(site.directory / "in/fifo")
    outside = os.open(site.directory / "in/fifo", os.O_RDONLY | os.O_NONBLOCK)
    here = os.open(site.directory / "in/deep", os.O_PATH)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{here}/socket")  # the path of a socket has 108 bytes
        site.ok(
            "FROM busybox\n"
            "RUN --mount=target=/src,source=in find /src -mindepth 1 > /found; find /src -type s > /sockets; \\\n"
            "    test ! -p /src/fifo || echo said 1<> /src/fifo\n",
            files={"in/deep/file": "x"},
        )
    try:
        assert os.read(outside, 100) == b"", "no writer was there"
    finally:
        os.close(outside)
        os.close(here)
    assert site.sh("sort /found; cat /sockets") == "/src/deep\n/src/deep/file\n/src/fifo\n"


def test_a_bound_context_is_what_it_was_when_the_key_was_made(site: Site) -> None:
    """Somebody writes to it while the command runs: it sees nothing of that, and the next build runs it again."""
    dockerfile = (
        f"FROM busybox\nRUN --mount=target=/src --mount=type=cache,id={site.name},target=/c \\\n"
        "    touch /c/began; until test -e /c/go; do sleep 0.02; done; cat /src/file > /a; ls /src > /names\n"
    )
    site.write({"Dockerfile": dockerfile, "file": "one"})
    running = site.engine.popen(*site.argv(), stderr=subprocess.PIPE)
    cache = cache_directory(site, site.name)
    try:
        wait_until((cache / "began").exists)
        site.write({"file": "two", "new": ""})
        (cache / "go").touch()
    finally:
        _, said = running.communicate(timeout=60)
    assert running.returncode == 0, said.decode()
    assert site.sh("cat /a /names") == "oneDockerfile\nfile\n"
    assert "CACHED" not in site.ok(dockerfile)
    assert site.sh("cat /a") == "two"


def test_a_bound_context_keeps_times_modes_links_and_attributes(site: Site) -> None:
    site.write({"in/a": "a\n", "in/shut/b": "b\n"})
    os.link(site.directory / "in/a", site.directory / "in/c")
    os.symlink("a", site.directory / "in/l")
    with suppress(OSError):  # a file system without them
        os.setxattr(site.directory / "in/a", "user.note", b"x")
    os.chmod(site.directory / "in/a", 0o4751)
    for name in "a", "shut":
        os.utime(site.directory / "in" / name, (1234567890, 1234567890))
    (site.directory / "in/shut").chmod(0o555)
    script = "cd /src; { stat -c '%n %a %u %h %Y' a c; stat -c '%a %Y' shut; readlink l; cat l shut/b; }"
    try:
        said = site.ok(f"FROM busybox\nRUN --mount=target=/src,source=in {script} > /a\n")
    finally:
        (site.directory / "in/shut").chmod(0o755)
    assert site.sh("cat /a") == "a 4751 0 2 1234567890\nc 4751 0 2 1234567890\n555 1234567890\na\na\nb\n", said


def cache_directory(site: Site, identity: str) -> Path:
    """Where the first directory of a cache mount lies."""
    return site.engine.paths.build_mounts / hashlib.sha256(identity.encode()).hexdigest()[:32] / "data-0"


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("driver", ["overlay", "cow"])
def test_a_stage_is_bound(site: Site, driver: str) -> None:
    """By the kernel's overlayfs; as a copy where the machine may have to do without."""
    site.ok(
        "FROM busybox AS made\nRUN mkdir /out && echo built > /out/program\nRUN ln -s program /out/link\n"
        "FROM busybox\n"
        "RUN --mount=from=made,source=/out,target=/in cat /in/link > /a && ! touch /in/x 2>/dev/null\n"
        "RUN --mount=from=made,source=/out,target=/in,rw echo more >> /in/program && cat /in/program > /b\n"
        "RUN --mount=from=busybox,target=/image ls /image/bin/sh > /c\n"
        "RUN --mount=from=made,source=/out/program,target=/file cat /file > /d; ! cat /in 2> /dev/null\n",
        "--no-cache",
        driver=driver,
    )
    assert site.sh("cat /a /b /c /d") == "built\nbuilt\nmore\n/image/bin/sh\nbuilt\n"


def test_a_cache_outlives_builds_and_has_the_owner_it_was_asked_for(site: Site) -> None:
    dockerfile = (
        "FROM busybox\nARG turn\n"
        f"RUN --mount=type=cache,target=/cache,id={site.name},uid=7,gid=8,mode=0750 "
        "echo $turn >> /cache/log; cp /cache/log /a; stat -c %u:%g:%a /cache > /b\n"
    )
    site.ok(dockerfile, "--build-arg", "turn=one")
    site.ok(dockerfile, "--build-arg", "turn=two")
    assert site.sh("cat /a /b; ls -d /cache 2>/dev/null || true") == "one\ntwo\n7:8:750\n"


def test_a_cache_begins_with_what_a_stage_has(site: Site) -> None:
    site.ok(
        "FROM busybox AS seed\nRUN mkdir /s && echo seed > /s/file && chown 3:4 /s/file\nFROM busybox\n"
        f"RUN --mount=type=cache,id={site.name},target=/c,from=seed,source=/s stat -c '%u:%g %n' /c/file > /a\n"
    )
    assert site.sh("cat /a") == "3:4 /c/file\n"


def test_locked_caches_are_used_one_after_the_other_and_private_ones_at_once(site: Site) -> None:
    """Two stages that are built side by side: the marker of one is never seen by the other."""
    step = (
        "RUN --mount=type=cache,id={0}-{1},target=/cache,sharing={1} "
        "test ! -e /cache/busy && touch /cache/busy && sleep 0.3 && rm /cache/busy && echo {2} > /{2}\n"
    )
    for sharing in "locked", "private":
        stages = "".join(f"FROM busybox AS {n}\n{step.format(site.name, sharing, n)}" for n in ("a", "b", "c"))
        site.ok(f"{stages}FROM busybox\nCOPY --from=a /a /\nCOPY --from=b /b /\nCOPY --from=c /c /\n")
        assert site.sh("cat /a /b /c") == "a\nb\nc\n"


def test_a_shared_cache_is_used_at_once(site: Site) -> None:
    """Each of two stages waits for the other's file in it."""
    step = (
        f"RUN --mount=type=cache,id={site.name},target=/cache "
        "touch /cache/{0}; until test -e /cache/{1}; do sleep 0.02; done\n"
    )
    stages = "".join(f"FROM busybox AS {one}\n{step.format(one, other)}" for one, other in ("ab", "ba"))
    site.ok(f"{stages}FROM busybox\nCOPY --from=a /bin/sh /a\nCOPY --from=b /bin/sh /b\n")


def test_one_cache_twice_in_a_run(site: Site) -> None:
    """It doesn't wait for itself; one that is locked in one place is locked in the other as well."""
    site.write(
        {
            "Dockerfile": f"FROM busybox\nRUN --mount=type=cache,id={site.name},target=/a,sharing=locked \\\n"
            f"    --mount=type=cache,id={site.name},target=/b --mount=type=cache,id={site.name},target=/c,ro \\\n"
            "    echo x > /a/x && echo y >> /b/x && cat /c/x > /out && ! touch /c/y\n"
        }
    )
    done = site.engine(*site.argv())  # which takes a time limit
    assert done.returncode == 0, done.stderr.decode()
    assert site.sh("cat /out") == "x\ny\n"


def test_caches_are_taken_in_one_order(site: Site) -> None:
    """Of two commands that want the same two, in whatever order, none waits for the other with one in its hands."""
    ids = sorted((f"{site.name}-{n}" for n in range(2)), key=lambda text: cache_directory(site, text))
    first, second = (cache_directory(site, text).parent for text in ids)
    mounts = " ".join(f"--mount=type=cache,id={ids[n]},target=/{n},sharing=locked" for n in (1, 0))
    site.write({"Dockerfile": f"FROM busybox\nRUN {mounts} true\n"})
    first.mkdir(parents=True)
    with locks.lock(first / "lock-0"):
        running = site.engine.popen(*site.argv(), stderr=subprocess.PIPE)
        wait_until((first / "id").exists)  # it waits there, or will in a moment
        assert not second.exists()
    _, said = running.communicate(timeout=60)
    assert running.returncode == 0, said.decode()


def test_caches_of_one_id_that_begin_differently_are_two(site: Site) -> None:
    """As in BuildKit: whoever asks for another owner, mode or beginning does not get what somebody else has filled."""
    seeds = "FROM busybox AS one\nRUN mkdir -p /s/t; echo 1 > /s/f\nFROM busybox AS two\nRUN mkdir /s; echo 2 > /s/f\n"
    tail = "RUN --mount=type=cache,id={0},target=/c{1} ls /c > /list; stat -c %u:%g:%a /c > /stat; touch /c/{2}\n"

    def found(options: str, name: str) -> str:
        said = site.ok(f"{seeds}FROM busybox\n{tail.format(site.name, options, name)}")
        assert known_of(said, "RUN --mount=type=cache") == 0, "what it begins with stands in the key"
        return site.sh("cat /list /stat")

    assert found("", "plain") == "0:0:755\n"
    assert found(",mode=0700", "mode") == "0:0:700\n"
    assert found(",uid=7", "uid") == "7:0:755\n"
    assert found(",gid=7", "gid") == "0:7:755\n"
    assert found(",from=one,source=/s", "one") == "f\nt\n0:0:755\n"
    assert found(",from=two,source=/s", "two") == "f\n0:0:755\n"
    assert found(",from=one,source=/s/t", "deep") == "0:0:755\n"
    assert found("", "again") == "plain\n0:0:755\n", "it has its own still"
    assert found(",sharing=locked", "locked") == "again\nplain\n0:0:755\n", "that makes no other cache, but a step"


def known_of(said: str, text: str) -> int:
    """How many of the steps that say so were known."""
    return sum(text in block and "CACHED" in block for block in said.split("\n\n"))


def test_what_a_killed_fill_has_left_goes_with_the_next_one(site: Site) -> None:
    cache = cache_directory(site, site.name).parent
    (cache / "data-0.1234abcd/half").mkdir(parents=True)
    site.ok(f"FROM busybox\nRUN --mount=type=cache,id={site.name},target=/c ls -A /c > /list\n")
    assert site.sh("cat /list") == ""
    assert sorted(path.name for path in cache.iterdir() if path.is_dir()) == ["data-0"]


def test_a_cache_in_use_is_not_pruned(site: Site) -> None:
    site.write(
        {
            "Dockerfile": f"FROM busybox\nRUN --mount=type=cache,id={site.name},target=/c,sharing=private \\\n"
            "    touch /c/began; until test -e /c/go; do sleep 0.02; done\n"
        }
    )
    data = cache_directory(site, site.name)
    running = site.engine.popen(*site.argv(), stderr=subprocess.PIPE)
    try:
        wait_until((data / "began").exists)
        site.engine.ok("builder", "prune", "-f")
        (data / "go").touch()
    finally:
        _, said = running.communicate(timeout=60)
    assert running.returncode == 0, said.decode()
    site.engine.ok("builder", "prune", "-f")
    assert not data.parent.exists()


def test_a_tmpfs_is_gone_afterwards(site: Site) -> None:
    site.ok(
        "FROM busybox\n"
        "RUN --mount=type=tmpfs,target=/t,size=1m echo x > /t/x && df -k /t | awk 'END { print $2 }' > /size\n"
    )
    assert site.sh("cat /size; ls -A /t 2>/dev/null || echo none") == "1024\nnone\n"


def test_a_tmpfs_for_reading_is_another_step(site: Site) -> None:
    """What may be written makes another result than what may not; nothing of a mount may be missing from the key."""
    line = "FROM busybox\nRUN --mount=type=tmpfs,target=/t{} touch /t/x 2>/dev/null && echo yes >/r || echo no >/r\n"
    site.ok(line.format(""))
    assert site.sh("cat /r") == "yes\n"
    site.ok(line.format(",ro"))
    assert site.sh("cat /r") == "no\n"


def test_a_secret_is_there_and_nowhere_else(site: Site, tmp_path: Path) -> None:
    """It is looked for in every file of the store, what was printed, the image's documents and the cache's."""
    (tmp_path / "token").write_text(SECRET)
    dockerfile = (
        "FROM busybox\n"
        "RUN --mount=type=secret,id=token cat /run/secrets/token; stat -c %a:%u /run/secrets/token\n"
        "RUN --mount=type=secret,id=token,target=/etc/token,mode=0444,uid=5 wc -c < /etc/token; ls -l /etc/token\n"
        'RUN --mount=type=secret,id=token,env=TOKEN echo "<$TOKEN>"; test "$TOKEN" = "$(printf $TOKEN)"\n'
        "RUN --mount=type=secret,id=other,required=false test ! -e /run/secrets/other\n"
    )
    said = site.ok(dockerfile, "--secret", f"id=token,src={tmp_path / 'token'}")
    assert "*****" in said and "<*****>" in said
    assert "400:0" in said and "-r--r--r--    1 5 " in said
    assert SECRET not in said
    (image,) = json.loads(site.engine.ok("inspect", site.name))
    history = site.engine.ok("history", "--no-trunc", site.name)
    assert SECRET not in json.dumps(image) + history
    found = subprocess.run(["grep", "-rl", SECRET, site.engine.root], stdout=subprocess.PIPE, text=True, check=False)
    assert found.stdout == ""
    held = in_layers(site, tmp_path)
    assert not any(SECRET.encode() in content for content in held.values())
    assert not {"run/secrets", "run/secrets/token", "etc/token"} & held.keys()
    again = site.ok(dockerfile, "--secret", f"id=token,src={site.directory / 'Dockerfile'}")
    assert again.count("CACHED") == 4, "another value is no reason to run again"


def in_layers(site: Site, tmp_path: Path) -> dict[str, bytes]:
    """The names and contents of all that the image's layers have."""
    archive, directory = tmp_path / "saved.tar", tmp_path / "saved"
    site.engine.ok("save", "--format", "oci-archive", "-o", str(archive), site.name)
    directory.mkdir()
    subprocess.run(["tar", "xf", archive, "-C", directory], check=True)
    found: dict[str, bytes] = {}
    for blob in (directory / "blobs/sha256").iterdir():
        with suppress(tarfile.ReadError), tarfile.open(blob) as layer:
            for entry in layer:
                file = layer.extractfile(entry)
                found[entry.name] = file.read() if file else b""
    return found


def test_secrets_come_from_variables_as_well(site: Site) -> None:
    dockerfile = "FROM busybox\nRUN --mount=type=secret,id=token wc -c < /run/secrets/token > /n\n"
    for given in "id=token,env=HIDDEN", "id=token,type=env,src=HIDDEN":
        site.ok(dockerfile, "--no-cache", "--secret", given, env={"HIDDEN": SECRET})
        assert site.sh("cat /n") == f"{len(SECRET)}\n"


@pytest.mark.parametrize(
    ("mount", "options", "line"),
    [
        ("type=secret,id=token,required", (), "secret token: not found"),
        ("type=ssh,required", (), "ssh agent default: not found"),
        ("type=secret,id=token", ("--secret", "id=token,src=/nowhere"), "secret token: /nowhere: no such file"),
        ("type=secret,id=token", ("--secret", "id=token,env=NOWHERE"), "the environment has no variable NOWHERE"),
        ("type=bind,source=none,target=/a", (), '"/none": not found'),
        ("type=cache,target=/bin/sh", (), "a directory can't be mounted on a file"),
        ("type=cache,target=/c,source=/x", (), '"/x": not found'),
        ("type=cache,target=/c,uid=4000000000", (), "cache mount: 4000000000:0 lies outside the container's ids"),
        ("type=tmpfs,target=/", (), 'invalid mount target "/"'),
    ],
)
def test_what_is_missing_gets_a_line(site: Site, mount: str, options: tuple[str, ...], line: str) -> None:
    said = site.fails(f"FROM busybox\nRUN --mount={mount} true\n", *options)
    assert line in said.splitlines()[-1], said


@contextmanager
def agent(path: Path) -> Iterator[list[bytes]]:
    """Something like an SSH agent: it tells what it heard, and answers with that."""
    heard: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            with suppress(OSError):  # the test is over
                while True:
                    with listener.accept()[0] as connection:
                        heard.append(connection.recv(100))
                        connection.sendall(heard[-1])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield heard
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


CLIENT = """
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(int argc, char **argv) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char text[100];
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    strcpy(address.sun_path, argv[1]);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) return 1;
    write(fd, text, read(0, text, sizeof text));
    return write(1, text, read(fd, text, sizeof text)) < 0;
}
"""


def test_an_agent_is_reached_by_whom_the_mount_names(site: Site, tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler: what speaks to a socket has to be compiled")
    command = ["gcc", "-static", "-xc", "-", "-o", site.directory / "client"]
    subprocess.run(command, input=CLIENT, text=True, check=True)
    dockerfile = (
        "FROM busybox\nCOPY client /bin/\nUSER 7\n"
        "RUN --mount=type=tmpfs,target=/t --mount=type=ssh,uid=7 stat -c %u:%a:%n $SSH_AUTH_SOCK; \\\n"
        "    printf '\\0\\0\\0\\006\\013hello' | client $SSH_AUTH_SOCK; \\\n"
        "    printf '\\0\\0\\0\\002\\023x' | client $SSH_AUTH_SOCK | od -An -tx1\n"
        "RUN --mount=type=ssh,id=second,target=/sock,uid=7 \\\n"
        "    test $SSH_AUTH_SOCK = /sock && printf '\\0\\0\\0\\006\\015there' | client /sock\n"
        "RUN --mount=type=ssh ! client $SSH_AUTH_SOCK </dev/null\n"
    )
    sockets = tempfile.TemporaryDirectory()  # the path of a socket has 108 bytes
    with sockets, agent(Path(sockets.name, "a")) as heard, agent(Path(sockets.name, "b")) as other:
        said = site.ok(dockerfile, "--ssh", f"default={sockets.name}/a", "--ssh", f"second={sockets.name}/b")
    assert ([m for m in heard if m], other) == ([b"\0\0\0\6\x0bhello"], [b"\0\0\0\6\x0dthere"])
    assert "hello" in said and "7:600:/run/buildkit/ssh_agent.0\n" in said
    assert " 00 00 00 01 05\n" in said, "an agent's failure, for what is neither a question nor a signature"
    assert site.sh("ls -A /run /sock 2>/dev/null || true") == "", "mount points go again"


HEREDOCS = """\
FROM busybox
ENV who=world
RUN <<A
set -e
echo hello $who > /a
A
RUN <<-'B' cat > /b
\tno $who here
\tB
RUN <<C
#!/bin/sed 1d
the script itself
C
RUN cat <<D > /d && cat <<E >> /d
one
D
two
E
RUN <<F sh -x > /f 2>&1
echo piped
F
COPY <<G <<'H' /docs/
expanded: $who
G
kept: $who
H
COPY --chmod=640 --chown=5 <<I /etc/i
I
"""


def test_here_documents(site: Site) -> None:
    said = site.ok(HEREDOCS)
    assert "the script itself" in said
    shown = site.sh("cat /a /b /d /f /docs/G /docs/H; stat -c %a:%u /etc/i")
    expected = "hello world\nno $who here\none\ntwo\n+ echo piped\npiped\nexpanded: world\nkept: $who\n640:5\n"
    assert shown == expected
    assert "pipes" not in site.sh("ls -a /dev /")
    assert site.ok(HEREDOCS).count("CACHED") == 7
    assert site.ok(HEREDOCS.replace("two\n", "three\n")).count("CACHED") == 3


def test_only_what_root_of_the_user_namespace_may(site: Site) -> None:
    said = site.fails("FROM busybox\nRUN --security=insecure true\n")
    assert "security.insecure is not allowed" in said
