"""`pull` against a registry that is honest, if slow, forgetful or strict: resuming, retrying, tokens, many at once."""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio
import zstandard

from tests.conftest import Rootless
from tests.images.conftest import contents, impatient
from tests.images.registries import FakeRegistry, Handler, digest
from tests.storage.archives import Archive


def archive(size: int = 1000, name: str = "f") -> bytes:
    """A layer whose file can't be compressed."""
    return Archive().file(name, random.Random(f"{size}{name}").randbytes(size)).bytes()


def layer_digests(manifest: dict[str, object]) -> list[str]:
    return [layer["digest"] for layer in manifest["layers"]]  # type: ignore[attr-defined]


def plain(data: bytes) -> bytes:
    return data


def zstd(data: bytes) -> bytes:
    return zstandard.compress(data)


@pytest.mark.parametrize("compress", [plain, zstd])
def test_layers_of_every_compression(engine: Rootless, fake: FakeRegistry, compress: object) -> None:
    """The media type is only a claim; the blob is kept as it came."""
    manifest = fake.add([archive(5000), archive(10, "g")], compress=compress)  # type: ignore[arg-type]
    engine.ok("pull", fake.name())
    for name in layer_digests(manifest):
        assert (engine.root / "blobs/sha256" / name[7:]).read_bytes() == fake.blobs[name]


def test_one_layer_twice_in_an_image(engine: Rootless, fake: FakeRegistry) -> None:
    """It is downloaded once, and unpacked at both places."""
    manifest = fake.add([archive(), archive(10, "g"), archive()])
    engine.ok("pull", fake.name())
    assert fake.sent[layer_digests(manifest)[0]] == len(fake.blobs[layer_digests(manifest)[0]])
    assert len(contents(engine)["layers"]) == 3


def test_the_lines_of_a_pull_into_a_log(engine: Rootless, fake: FakeRegistry) -> None:
    """Docker's, without bars; with -q only the id."""
    manifest = fake.add([archive()])
    short = layer_digests(manifest)[0][7:19]
    top = fake.manifests["latest"][1]
    lines = engine.ok("pull", fake.name().removesuffix(":latest")).splitlines()
    assert lines[:3] == ["Using default tag: latest", "latest: Pulling from x", f"{short}: Pulling fs layer"]
    # The unpacking is sometimes over before the blob has been flushed to the disk.
    assert sorted(lines[3:-3]) == [
        f"{short}: {text}" for text in ("Download complete", "Pull complete", "Verifying Checksum")
    ]
    newer = f"Status: Downloaded newer image for {fake.name()}"
    assert lines[-3:] == [f"Digest: {digest(top)}", newer, fake.name()]
    assert engine.ok("pull", "-q", fake.name()).strip() == engine.ok("images", "-q", "--no-trunc").strip()


def test_a_tag_that_has_moved(engine: Rootless, fake: FakeRegistry) -> None:
    """The name goes to the new image; the old one stays, without a tag but with its digest."""
    fake.add([archive()])
    engine.ok("pull", fake.name())
    fake.add([archive(2000)])
    assert "Downloaded newer image" in engine.ok("pull", fake.name())
    rows = engine.ok("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    assert sorted(rows) == sorted([f"{fake.host}/x:latest", f"{fake.host}/x:<none>"])


def killed_midway(engine: Rootless, fake: FakeRegistry, name: str, wanted: int) -> int:
    """Kill a pull once so many bytes of a blob are on disk; how many there are then."""
    process = engine.popen("pull", "-q", fake.name(), stdout=subprocess.DEVNULL)
    file = engine.root / "partial" / name.replace(":", "-")
    deadline = time.monotonic() + 30
    while not file.exists() or file.stat().st_size < wanted:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    time.sleep(0.1)
    return file.stat().st_size


@pytest.mark.parametrize("ranges", [True, False])
def test_a_later_run_goes_on_where_the_first_was_killed(engine: Rootless, fake: FakeRegistry, ranges: bool) -> None:
    """Only the rest is asked for; a server that can't begin in the middle is listened to from the beginning."""
    name = layer_digests(fake.add([archive(3 << 20)]))[0]
    fake.rate = 4 << 20
    here = killed_midway(engine, fake, name, 1 << 20)
    fake.ranges = ranges
    fake.rate = 0
    fake.sent.clear()
    engine.ok("pull", fake.name())
    assert fake.sent[name] == len(fake.blobs[name]) - (here if ranges else 0)
    assert engine.ok("system", "check").endswith("nothing wrong\n")


def test_what_an_earlier_run_left_may_be_wrong(engine: Rootless, fake: FakeRegistry) -> None:
    """After a power cut the bytes on disk need not be those that were written: the blob is fetched anew."""
    name = layer_digests(fake.add([archive(200_000)]))[0]
    engine.ok("images")
    partial = engine.root / "partial" / name.replace(":", "-")
    partial.parent.mkdir()
    for wrong in bytes(50_000), fake.blobs[name][:50_000] + bytes(50_000), fake.blobs[name] + b"more":
        partial.write_bytes(wrong)
        engine.ok("pull", fake.name())
        assert not partial.exists()
        engine.ok("rmi", fake.name())


def test_a_connection_that_breaks_is_taken_up_again(engine: Rootless, fake: FakeRegistry) -> None:
    """Within one run, and nothing is fetched twice."""
    name = layer_digests(fake.add([archive(1 << 20)]))[0]
    data = fake.blobs[name]
    breaks = [300_000, 600_000]

    def twist(handler: Handler) -> bool:
        if not handler.path.endswith(name) or not breaks:
            return False
        start = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        handler.pour(name, data, start, breaks.pop(0))
        handler.close_connection = True
        return True

    fake.twist = twist
    done = impatient(engine, "pull", fake.name())
    assert done.returncode == 0, done.stderr
    assert b"Retrying in" in done.stdout
    assert (breaks, fake.sent[name]) == ([], len(data))


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_wants_to_be_asked_later(engine: Rootless, fake: FakeRegistry, status: int) -> None:
    """It says how long, and that long we wait; no longer than what is bearable."""
    fake.add([archive()])
    times: list[float] = []

    def twist(handler: Handler, wait: str = "1") -> bool:
        if "/manifests/" not in handler.path:
            return False
        times.append(time.monotonic())
        if len(times) > 1:
            return False
        handler.reply(status, b"", ("Retry-After", wait))
        return True

    fake.twist = twist
    engine.ok("pull", fake.name())
    assert 1 <= times[1] - times[0] < 5
    times.clear()
    fake.twist = lambda handler: twist(handler, "86400")
    done = engine("pull", "-q", fake.name())
    assert (done.returncode, b"wants to be asked again in 86400 s" in done.stderr) == (1, True)


def token(handler: Handler) -> bool:
    """A registry that wants a token, and gives one to whoever shows the right password, or to nobody in particular."""
    registry = handler.registry
    if handler.path.startswith("/token"):
        basic = base64.b64encode(b"walter:geheim").decode()
        good = handler.headers.get("Authorization") in (None, f"Basic {basic}")
        body = json.dumps({"access_token": "t0k3n", "expires_in": 300}).encode()
        handler.reply(200 if good else 401, body if good else b"{}")
    elif handler.headers.get("Authorization") == "Bearer t0k3n":
        return False
    else:
        realm = f'Bearer realm="http://{registry.host}/token",service="test, or so",scope="repository:x:pull"'
        handler.reply(401, b"{}", ("WWW-Authenticate", realm))
    return True


def test_tokens(engine: Rootless, fake: FakeRegistry, nobody_at_home: Path) -> None:
    """One is fetched for what the challenge names, with the credentials where there are some, and used for
    everything."""
    fake.add([archive(), archive(10, "g")])
    fake.twist = token
    engine.ok("pull", fake.name())
    asked = [path for path, _ in fake.asked if path.startswith("/token")]
    assert asked == ["/token?service=test%2C%20or%20so&scope=repository%3Ax%3Apull"]
    config = nobody_at_home / ".docker/config.json"
    config.parent.mkdir()
    for password, code in ("geheim", 0), ("wrong", 1):
        auth = base64.b64encode(f"walter:{password}".encode()).decode()
        config.write_text(json.dumps({"auths": {f"https://{fake.host}/v1/": {"auth": auth}}}))
        fake.asked.clear()
        assert engine("pull", fake.name()).returncode == code
        assert any("account=walter" in path and header == f"Basic {auth}" for path, header in fake.asked)


def test_credentials_never_follow_a_redirect_to_another_host(engine: Rootless, fake: FakeRegistry) -> None:
    """Blobs often lie elsewhere; the token is for the registry alone."""
    manifest = fake.add([archive()])
    elsewhere = FakeRegistry()
    elsewhere.blobs = fake.blobs

    def twist(handler: Handler) -> bool:
        if token(handler):
            return True
        if "/blobs/" not in handler.path:
            return False
        # localhost is another host than 127.0.0.1, on another port besides.
        handler.reply(307, b"", ("Location", f"http://{elsewhere.host}{handler.path}"))
        return True

    fake.twist = twist
    try:
        engine.ok("pull", fake.name())
    finally:
        elsewhere.close()
    assert any(header == "Bearer t0k3n" for _, header in fake.asked)
    assert len(elsewhere.asked) == 2
    assert {header for _, header in elsewhere.asked} == {""}
    assert elsewhere.sent[layer_digests(manifest)[0]] > 0


def test_a_body_is_sent_to_nobody_else(fake: FakeRegistry, nobody_at_home: Path) -> None:
    """The request for a token may have a refresh token in its form: a redirect elsewhere does not take it along."""
    from rootless.registry.connection import Body, TransferError
    from rootless.registry.http import Http
    from rootless.registry.url import parse

    elsewhere = FakeRegistry()
    fake.twist = lambda handler: handler.reply(307, b"", ("Location", f"http://{elsewhere.host}/token")) is None

    async def ask() -> None:
        async with Http() as client:
            await client.follow("POST", parse(f"http://{fake.host}/token"), {}, Body.of(b"refresh_token=secret"))

    with pytest.raises(TransferError, match="redirects to another server"):
        trio.run(ask)
    elsewhere.close()
    assert elsewhere.asked == []


def test_a_redirect_within_the_registry_keeps_the_credentials(engine: Rootless, fake: FakeRegistry) -> None:
    fake.add([archive()])

    def twist(handler: Handler) -> bool:
        if token(handler):
            return True
        if "/blobs/" not in handler.path or handler.path.startswith("/moved"):
            handler.path = handler.path.removeprefix("/moved")
            return False
        handler.reply(307, b"", ("Location", f"/moved{handler.path}"))
        return True

    fake.twist = twist
    engine.ok("pull", fake.name())
    assert {header for path, header in fake.asked if path.startswith("/moved")} == {"Bearer t0k3n"}


def test_two_pulls_at_once_download_once(engine: Rootless, fake: FakeRegistry) -> None:
    names = layer_digests(fake.add([archive(600_000), archive(600_000, "g")]))
    fake.rate = 1 << 20
    pulls = [engine.popen("pull", fake.name(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    outputs = [pull.communicate(timeout=60) for pull in pulls]
    assert [pull.returncode for pull in pulls] == [0, 0], outputs
    assert {name: fake.sent[name] for name in names} == {name: len(fake.blobs[name]) for name in names}
    assert any(b"Waiting" in out for out, _ in outputs)


def many_at_once(engine: Rootless, fake: FakeRegistry, busybox_tar: Path, pulls: int, runs: int) -> None:
    """Pulls, and runs of images that have to be pulled, all at once on one store: all of them succeed, each blob comes
    once, and the store is whole."""
    base = busybox_tar.read_bytes()
    tags = [f"t{number}" for number in range(4)]
    manifests = [fake.add([base, archive(200_000, tag)], tag) for tag in tags]
    engine.ok("images")
    fake.rate = 2 << 20
    commands = [["pull", "-q", fake.name(tags[number % 4])] for number in range(pulls)]
    commands += [["run", "--rm", "-q", fake.name(tags[number % 4]), "echo", "up"] for number in range(runs)]
    random.Random(1).shuffle(commands)
    running = [engine.popen(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for words in commands]
    outputs = [(words, *process.communicate(timeout=280)) for words, process in zip(commands, running, strict=True)]
    failed = [out for out, process in zip(outputs, running, strict=True) if process.returncode]
    assert not failed
    assert sum(out == b"up\n" for _, out, _ in outputs) == runs
    names = {name for manifest in manifests for name in layer_digests(manifest)}
    assert {name: fake.sent[name] for name in names} == {name: len(fake.blobs[name]) for name in names}
    assert engine.ok("system", "check").endswith("nothing wrong\n")


def test_pulls_and_runs_at_once(engine: Rootless, fake: FakeRegistry, busybox_tar: Path) -> None:
    many_at_once(engine, fake, busybox_tar, 6, 4)


@pytest.mark.long
def test_twenty_pulls_and_twenty_runs_at_once(engine: Rootless, fake: FakeRegistry, busybox_tar: Path) -> None:
    many_at_once(engine, fake, busybox_tar, 20, 20)


def test_another_tool_may_not_be_in_the_way_of_a_pull_that_needs_what_it_removes(
    engine: Rootless, fake: FakeRegistry
) -> None:
    """rmi and prune while a pull relies on a layer that is here already: the pull has it in the end."""
    base = archive(100_000, "base")
    fake.add([base], "base")
    engine.ok("pull", fake.name("base"))
    manifest = fake.add([base, archive(1 << 20, "top")], "top")
    fake.rate = 1 << 20
    process = engine.popen("pull", "-q", fake.name("top"), stdout=subprocess.DEVNULL)
    file = engine.root / "partial" / layer_digests(manifest)[1].replace(":", "-")
    while not file.exists():
        time.sleep(0.005)
    engine.ok("rmi", fake.name("base"))
    engine.ok("image", "prune", "-af")
    assert process.wait(60) == 0
    assert engine.ok("system", "check").endswith("nothing wrong\n")


def kill_and_pull(engine: Rootless, fake: FakeRegistry, names: list[str], delay: float) -> None:
    """Kill a pull after `delay` seconds; the next one succeeds, and fetches nothing that was here."""
    process = engine.popen("pull", "-q", fake.name(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(delay)
    process.kill()
    process.wait()
    time.sleep(0.05)  # what the server has still written into the socket counts for the first
    here = {}
    for name in names:
        blob, part = engine.root / "blobs/sha256" / name[7:], engine.root / "partial" / name.replace(":", "-")
        here[name] = next((path.stat().st_size for path in (blob, part) if path.exists()), 0)
    fake.sent.clear()
    done = engine("pull", "-q", fake.name())
    assert done.returncode == 0, (delay, done.stderr)
    assert {name: fake.sent[name] for name in names} == {name: len(fake.blobs[name]) - here[name] for name in names}
    check = engine("system", "check")
    assert check.returncode == 0, (delay, check.stdout)
    left = [*(engine.root / "tmp").iterdir(), *(engine.root / "partial").iterdir(), *(engine.root / "pins").iterdir()]
    assert left == [], delay
    engine.ok("rmi", fake.name())


def kill_points(engine: Rootless, fake: FakeRegistry, count: int, seed: int) -> None:
    names = layer_digests(fake.add([archive(400_000, name) for name in ("a", "b", "c")]))
    fake.rate = 1 << 20
    began = time.monotonic()
    engine.ok("pull", "-q", fake.name())
    whole = time.monotonic() - began
    engine.ok("rmi", fake.name())
    chance = random.Random(seed)
    for _ in range(count):
        kill_and_pull(engine, fake, names, chance.uniform(0.1, whole * 1.05))


def test_kill_at_any_point(engine: Rootless, fake: FakeRegistry) -> None:
    kill_points(engine, fake, 3, seed=0)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 11))
def test_kill_at_200_points(engine: Rootless, fake: FakeRegistry, seed: int) -> None:
    """Twenty for each of ten seeds."""
    kill_points(engine, fake, 20, seed)


def test_an_interrupt_leaves_nothing_but_what_has_arrived(engine: Rootless, fake: FakeRegistry) -> None:
    """Ctrl-C: the exit code is 130, and the next pull goes on."""
    name = layer_digests(fake.add([archive(2 << 20)]))[0]
    fake.rate = 2 << 20
    process = subprocess.Popen(
        [sys.executable, "-m", "rootless", "pull", "-q", fake.name()], env=engine.environment, process_group=0
    )
    file = engine.root / "partial" / name.replace(":", "-")
    while not file.exists() or file.stat().st_size < 500_000:
        time.sleep(0.01)
    os.killpg(process.pid, 2)
    assert process.wait(20) == 130
    left = {part: names for part, names in contents(engine).items() if names}
    assert list(left) == ["partial"]
    engine.ok("pull", fake.name())


def test_peak_memory_does_not_grow_with_the_layer(engine: Rootless, fake: FakeRegistry) -> None:
    """A layer of 96 MiB takes no more memory than one of 1 MiB, but for what a socket's buffers make of it."""
    peaks = []
    for size in 1 << 20, 96 << 20:
        fake.add([archive(size)], f"s{size}", compress=plain)
        script = (
            "import sys, resource, atexit\n"
            "atexit.register(lambda: print(max(resource.getrusage(who).ru_maxrss for who in "
            "(resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))))\n"
            "from rootless.cli.main import main\nmain(sys.argv[1:])"
        )
        # Through a shell that forks: a process inherits the peak of the one that it was forked from without a copy.
        done = subprocess.run(
            ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", script, "pull", "-q", fake.name(f"s{size}")],
            env=engine.environment,
            capture_output=True,
            check=True,
            timeout=120,
        )
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] - peaks[0] < 8 << 10, peaks  # KiB
