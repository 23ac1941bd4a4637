"""Against a real registry, with skopeo, umoci and podman as the other end: what they make is what we make."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Rootless
from tests.images.registries import PASSWORD, USER, DockerRegistry, docker_registry
from tests.storage.archives import MTIME, Archive

pytestmark = pytest.mark.usefixtures("nobody_at_home")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


def tool(*command: str | Path) -> str:
    """Run another tool, or skip where it is not installed."""
    # Without a session they look for a login below /run, where a user may not look.
    environment = {**os.environ, "REGISTRY_AUTH_FILE": os.path.join(os.environ["HOME"], "nobody.json")}
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, capture_output=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def make(engine: Rootless, name: str, text: bytes = b"hello\n") -> str:
    """An image of a layer with what a layer can have, under this name; its id."""
    archive = (
        Archive()
        .directory("etc")
        .file("etc/motd", text, mode=0o640, uid=3, gid=4)
        .file("bin/su", b"#!", mode=0o4755)
        .link("bin/sudo", "bin/su")
        .symlink("bin/sh", "su")
        .directory("tmp", mode=0o1777)
        .file("cap", b"x", pax={"SCHILY.xattr.user.note": "kept"})
    )
    return engine.ok("import", "-c", 'CMD ["/bin/sh"]', "-", name, stdin=archive.bytes()).strip()


def remote_digest(name: str, *options: str) -> str:
    """The digest of the manifest that the registry has under a name, by skopeo."""
    raw = tool("skopeo", "inspect", "--raw", *(options or ("--tls-verify=false",)), f"docker://{name}")
    return f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}"


def repo_digests(engine: Rootless, name: str) -> list[str]:
    found: list[str] = json.loads(engine.ok("image", "inspect", name))[0]["RepoDigests"]
    return found


def test_push_and_pull(engine: Rootless, registry: DockerRegistry, tmp_path: Path) -> None:
    """What was pushed from one store arrives in another one under the same digest and id; no draft stays."""
    name = registry.name("one/tool:1")
    image = make(engine, name)
    out = engine.ok("push", name).splitlines()
    digest = remote_digest(name)
    assert out[0] == f"The push refers to repository [{registry.name('one/tool')}]"
    assert out[-1].startswith(f"1: digest: {digest} size: ")
    assert any(line.endswith(": Pushed") for line in out)
    assert repo_digests(engine, name) == [f"{registry.name('one/tool')}@{digest}"]
    other = Rootless(tmp_path / "o")
    lines = other.ok("pull", name).splitlines()
    assert lines[0] == "1: Pulling from one/tool"
    assert lines[-3:] == [f"Digest: {digest}", f"Status: Downloaded newer image for {name}", name]
    assert other.ok("images", "-q", "--no-trunc").strip() == image
    assert repo_digests(other, name) == [f"{registry.name('one/tool')}@{digest}"]
    assert f"Status: Image is up to date for {name}" in other.ok("pull", name)
    assert other.ok("pull", "-q", f"{registry.name('one/tool')}@{digest}").strip() == image
    assert other.ok("system", "check").rstrip().endswith("nothing wrong")
    assert [
        *(tmp_path / "o/tmp").iterdir(),
        *(tmp_path / "o/partial").iterdir(),
        *(tmp_path / "o/pins").iterdir(),
    ] == []


def test_only_what_is_missing_travels(engine: Rootless, registry: DockerRegistry) -> None:
    """A blob that the registry has is not sent again; what another repository has is mounted from there."""
    first, second = registry.name("mount/a:1"), registry.name("mount/b:1")
    make(engine, first)
    engine.ok("push", first)
    assert "Layer already exists" in engine.ok("push", first)
    engine.ok("tag", first, second)
    assert "Mounted from mount/a" in engine.ok("push", second)
    assert remote_digest(first) == remote_digest(second)


def test_a_large_blob_goes_up_in_pieces(
    engine: Rootless, registry: DockerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload of several PATCH requests, which the registry puts together to what the digest says."""
    from rootless.image import push, reference
    from rootless.image.store import ImageStore

    monkeypatch.setattr(push, "PIECE", 100_000)
    name = registry.name("pieces:1")
    make(engine, name, os.urandom(750_000))
    pushed = push.push(ImageStore(engine.paths), reference.parse(name))
    assert pushed.digest == remote_digest(name)


def test_skopeo_reads_what_we_push_and_we_what_it_pushes(
    engine: Rootless, registry: DockerRegistry, tmp_path: Path
) -> None:
    """Both ways with the same digests, also for Docker's manifests, which the store lists as OCI's."""
    image = make(engine, "local:1")
    oci, docker = registry.name("sk/oci:1"), registry.name("sk/docker:1")
    layout = f"oci:{engine.root}:local:1"
    tool("skopeo", "copy", "--dest-tls-verify=false", layout, f"docker://{oci}")
    tool("skopeo", "copy", "--dest-tls-verify=false", "--format", "v2s2", layout, f"docker://{docker}")
    other = Rootless(tmp_path / "o")
    for name in oci, docker:
        assert other.ok("pull", "-q", name).strip() == image
        assert f"{name.rpartition(':')[0]}@{remote_digest(name)}" in repo_digests(other, name)
        # Under both kinds of manifest skopeo finds the image in the layout.
        tool("skopeo", "inspect", f"oci:{other.root}:{name}")
    again = registry.name("sk/again:1")
    other.ok("tag", docker, again)
    other.ok("push", again)
    assert remote_digest(again) == remote_digest(docker)
    tool("skopeo", "copy", "--src-tls-verify=false", f"docker://{again}", f"oci:{tmp_path / 'copy'}:x")


def test_umoci_unpacks_what_was_pulled_to_the_same_tree(
    engine: Rootless, registry: DockerRegistry, tmp_path: Path
) -> None:
    name = registry.name("umoci:1")
    make(engine, name)
    engine.ok("push", name)
    other = Rootless(tmp_path / "o")
    other.ok("pull", name)
    bundle = tmp_path / "bundle"
    tool("umoci", "unpack", "--rootless", "--image", f"{other.root}:{name}", bundle)
    tree = bundle / "rootfs"
    assert (tree / "etc/motd").read_bytes() == b"hello\n"
    assert (tree / "bin/su").stat().st_ino == (tree / "bin/sudo").stat().st_ino
    assert os.readlink(tree / "bin/sh") == "su"
    assert int((tree / "etc/motd").stat().st_mtime) == MTIME
    tool("chmod", "-R", "u+rwX", bundle)


def test_what_umoci_has_made_comes_here_under_its_digest(
    engine: Rootless, registry: DockerRegistry, tmp_path: Path
) -> None:
    """The other way: umoci makes an image, skopeo brings it to the registry, we pull it, and umoci takes it from us."""
    layout, bundle, name = tmp_path / "layout", tmp_path / "bundle", registry.name("made/by-umoci:1")
    tool("umoci", "init", "--layout", layout)
    tool("umoci", "new", "--image", f"{layout}:x")
    tool("umoci", "unpack", "--rootless", "--image", f"{layout}:x", bundle)
    (bundle / "rootfs/etc").mkdir()
    (bundle / "rootfs/etc/motd").write_text("made by umoci\n")
    (bundle / "rootfs/motd").symlink_to("etc/motd")
    tool("umoci", "repack", "--image", f"{layout}:x", bundle)
    tool("umoci", "config", "--image", f"{layout}:x", "--config.label", "by=umoci")
    made = json.loads((layout / "index.json").read_bytes())["manifests"][0]["digest"]
    tool("skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{layout}:x", f"docker://{name}")
    engine.ok("pull", "-q", name)
    repository = name.rpartition(":")[0]
    assert repo_digests(engine, name) == [f"{repository}@{remote_digest(name)}"] == [f"{repository}@{made}"]
    assert engine.ok("image", "inspect", "-f", "{{.Config.Labels.by}}", name) == "umoci\n"
    tool("umoci", "tag", "--image", f"{engine.root}:{name}", "tagged.by/umoci:2")
    tool("umoci", "unpack", "--rootless", "--image", f"{engine.root}:tagged.by/umoci:2", tmp_path / "again")
    assert (tmp_path / "again/rootfs/motd").read_text() == "made by umoci\n"
    # Both names are one image, and it goes back to the registry as it is.
    assert len(set(engine.ok("images", "-q").split())) == 1
    engine.ok("tag", "tagged.by/umoci:2", registry.name("back:1"))
    engine.ok("push", "-q", registry.name("back:1"))
    assert remote_digest(registry.name("back:1")) == made


@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_the_platform_of_an_index(engine: Rootless, registry: DockerRegistry, tmp_path: Path, kind: str) -> None:
    """Of several platforms ours is taken, or the one that --platform names; and the digest is the index's."""
    manifests = []
    for platform in "linux/amd64", "linux/arm64", "linux/arm/v6", "linux/s390x":
        archive = Archive().file("arch", platform.encode()).bytes()
        engine.ok("import", "--platform", platform, "-", f"{platform}:1", stdin=archive)
        target = registry.name(f"multi-{kind}:{platform.replace('/', '-')}")
        form = "oci" if kind == "oci" else "v2s2"
        tool(
            *f"skopeo copy --format {form} --dest-tls-verify=false oci:{engine.root}:{platform}:1".split(),
            f"docker://{target}",
        )
        raw = tool("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{target}")
        manifests.append(
            {
                "mediaType": json.loads(raw)["mediaType"],
                "digest": f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}",
                "size": len(raw),
                "platform": dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False)),
            }
        )
    media = {
        "oci": "application/vnd.oci.image.index.v1+json",
        "docker": "application/vnd.docker.distribution.manifest.list.v2+json",
    }[kind]
    index = json.dumps({"schemaVersion": 2, "mediaType": media, "manifests": manifests}).encode()
    put_manifest(registry, f"multi-{kind}", "latest", media, index)
    name = registry.name(f"multi-{kind}")
    other = Rootless(tmp_path / "o")
    for platform, architecture in ("", "amd64"), ("linux/arm64", "arm64"), ("arm/v7", "arm"), ("s390x", "s390x"):
        options = ["--platform", f"linux/{platform}" if platform == "arm/v7" else platform] if platform else []
        digest = f"sha256:{hashlib.sha256(index).hexdigest()}"
        assert f"Digest: {digest}" in other.ok("pull", *options, name)
        found = json.loads(other.ok("image", "inspect", name))[0]
        assert (found["Architecture"], found["RepoDigests"]) == (architecture, [f"{name}@{digest}"])
    done = other("pull", "--platform", "linux/riscv64", name)
    assert done.returncode == 1
    assert b"no matching manifest for linux/riscv64 in the manifest list entries" in done.stderr


def put_manifest(registry: DockerRegistry, repository: str, tag: str, media: str, data: bytes) -> None:
    from urllib.request import Request, urlopen

    url = f"http://{registry.host}/v2/{repository}/manifests/{tag}"
    with urlopen(Request(url, data, {"Content-Type": media}, method="PUT")) as answer:
        assert answer.status == 201


def test_a_registry_with_passwords(engine: Rootless, tmp_path: Path) -> None:
    """Nothing without a login; login and logout; podman's and Docker's files are each other's."""
    with docker_registry(tmp_path / "r", password=True) as registry:
        name = registry.name("private:1")
        make(engine, name)
        done = engine("push", name)
        assert done.returncode == 1
        assert b"denied without a login" in done.stderr
        assert f"rootless login {registry.host}".encode() in done.stderr
        wrong = engine("login", "-u", USER, "--password-stdin", registry.host, stdin=b"wrong")
        assert (wrong.returncode, b"denied" in wrong.stderr) == (1, True)
        assert wrong.stderr.endswith(b"; look at the name and the password\n"), "not: need `rootless login`"
        empty = engine("login", "-u", USER, "--password-stdin", registry.host)
        assert (empty.returncode, b"password is empty" in empty.stderr) == (1, True)
        nobody = engine("login", registry.host)
        assert (nobody.returncode, b"from a non TTY device" in nobody.stderr) == (1, True)
        done = engine("login", "-u", USER, "--password-stdin", registry.host, stdin=PASSWORD.encode())
        assert (done.returncode, done.stdout) == (0, b"Login Succeeded\n")
        config = Path(os.environ["HOME"], ".docker/config.json")
        assert config.stat().st_mode & 0o777 == 0o600
        again = engine.ok("login", registry.host)
        assert again == f"Authenticating with existing credentials... [Username: {USER}]\nLogin Succeeded\n"
        engine.ok("push", name)
        # skopeo finds it where we have put it.
        assert remote_digest(name, "--tls-verify=false", "--authfile", str(config))
        assert engine.ok("logout", registry.host) == f"Removing login credentials for {registry.host}\n"
        assert engine("pull", name).returncode == 1
        # What was given up there is no longer good here.
        config.write_text(json.dumps({"auths": {registry.host: {"auth": "d2FsdGVyOndyb25n"}}}))
        stale = engine("login", registry.host)
        assert (stale.returncode, b"of an earlier login are no longer good" in stale.stderr) == (1, True)
        # And we find what skopeo writes.
        authfile = tmp_path / "auth.json"
        login = ["skopeo", "login", "--tls-verify=false", "--authfile", str(authfile), "-u", USER, "-p", PASSWORD]
        tool(*login, registry.host)
        engine.ok("pull", "--authfile", str(authfile), name)
        # Who logs out where nobody logged in is told that there is another login.
        assert engine.ok("logout", registry.host) == f"Removing login credentials for {registry.host}\n"
        own = Path(os.environ["HOME"], ".config/containers")
        own.mkdir(parents=True)
        authfile.rename(own / "auth.json")
        done = engine("logout", registry.host)
        assert done.stdout == f"Not logged in to {registry.host}\n".encode()
        assert b"is still used" in done.stderr
        engine.ok("pull", name)


def test_a_credential_helper(engine: Rootless, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What config.json hands to a helper is kept and asked for there, and nowhere else."""
    helper = tmp_path / "bin/docker-credential-drawer"
    helper.parent.mkdir()
    helper.write_text(
        f"""#!/bin/sh
drawer={tmp_path}/drawer
case $1 in
store) cat >$drawer ;;
get) read -r key; [ -s $drawer ] && cat $drawer || {{ echo credentials not found in native keychain; exit 1; }} ;;
erase) rm $drawer ;;
esac
"""
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{helper.parent}:{os.environ['PATH']}")
    config = Path(os.environ["HOME"], ".docker/config.json")
    config.parent.mkdir()
    with docker_registry(tmp_path / "r", password=True) as registry:
        config.write_text(json.dumps({"credHelpers": {registry.host: "drawer"}, "other": {"kept": True}}))
        name = registry.name("private:1")
        make(engine, name)
        assert engine("push", name).returncode == 1
        engine.ok("login", "-u", USER, "--password-stdin", registry.host, stdin=PASSWORD.encode())
        assert json.loads(config.read_text()) == {"credHelpers": {registry.host: "drawer"}, "other": {"kept": True}}
        assert json.loads((tmp_path / "drawer").read_text())["Secret"] == PASSWORD
        engine.ok("push", name)
        engine.ok("logout", registry.host)
        assert engine("push", name).returncode == 1


def test_a_registry_with_tls(engine: Rootless, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On this machine an unknown certificate is put up with, unless it is not to be; certs.d makes it known."""
    with docker_registry(tmp_path / "r", tls=True) as registry:
        assert registry.authority is not None
        name = registry.name("secure:1")
        make(engine, name)
        engine.ok("push", name)
        done = engine("pull", "--tls-verify=true", name)
        assert (done.returncode, b"certificate is not to be trusted" in done.stderr) == (1, True)
        certs = tmp_path / "config/containers/certs.d" / registry.host
        certs.mkdir(parents=True)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        shutil.copy(registry.authority, certs / "ca.crt")
        engine.ok("pull", "--tls-verify=true", name)
        (certs / "ca.crt").write_text("no certificate")
        done = engine("pull", name)
        assert (done.returncode, b"ca.crt can't be used" in done.stderr) == (1, True)


def test_registries_conf(engine: Rootless, registry: DockerRegistry, tmp_path: Path) -> None:
    """Mirrors, locations, blocked registries and aliases, as a machine has them for podman."""
    make(engine, registry.name("mirrored/tool:1"))
    engine.ok("push", registry.name("mirrored/tool:1"))
    conf = Path(os.environ["CONTAINERS_REGISTRIES_CONF"])
    conf.write_text(
        f"""
[[registry]]
prefix = "far.invalid"
location = "far.invalid"
[[registry.mirror]]
location = "{registry.host}/nothing-here"
insecure = true
[[registry.mirror]]
location = "{registry.host}/mirrored"
insecure = true
[[registry]]
location = "evil.invalid"
blocked = true
[aliases]
"shorty" = "far.invalid/tool"
"""
    )
    assert engine.ok("pull", "far.invalid/tool:1").splitlines()[-1] == "far.invalid/tool:1"
    assert engine.ok("pull", "shorty:1").splitlines()[-1] == "far.invalid/tool:1"
    assert json.loads(engine.ok("image", "inspect", "shorty:1"))[0]["RepoTags"][0].endswith("tool:1")
    done = engine("pull", "evil.invalid/tool")
    assert (done.returncode, b"evil.invalid is blocked by registries.conf" in done.stderr) == (1, True)
    conf.write_text("[[registry")
    done = engine("pull", "far.invalid/tool:1")
    assert (done.returncode, b"none.conf is not valid" in done.stderr) == (1, True)


def test_what_is_not_there(engine: Rootless, registry: DockerRegistry) -> None:
    """Docker's words, one line, exit code 1."""
    done = engine("pull", "-q", registry.name("no/such:1"))
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(f"rootless: manifest for {registry.name('no/such:1')} not found: ".encode())
    done = engine("push", registry.name("no/such:1"))
    words = f"rootless: An image does not exist locally with the tag: {registry.name('no/such')}\n"
    assert (done.returncode, done.stderr.decode()) == (1, words)
    done = engine("pull", "-q", "127.0.0.1:1/x")
    assert (done.returncode, done.stderr) == (1, b"rootless: 127.0.0.1:1 can't be reached: Connection refused\n")
    done = engine("pull", "some/UPPER")
    assert (done.returncode, b"must be lowercase" in done.stderr) == (1, True)
