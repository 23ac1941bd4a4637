"""A Debian at work on `cow`: packages, a C project, git over a large tree, a virtual environment, without a network.

The image brings everything along: apt's lists and the packages to install lie in its cache, as they do after `apt-get
--download-only`. Afterwards the kernel's overlayfs mounts what was left, and must see the same.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Rootless

pytestmark = pytest.mark.long

IMAGE = "debian:work"
PACKAGES = "git build-essential python3-venv"
WHEELS = ["trio", "rich", "click", "hypothesis"]
ARCHIVE = "http://deb.debian.org/debian bookworm main"

APT = f"""
export DEBIAN_FRONTEND=noninteractive
apt-get --quiet=2 --yes --no-install-recommends --no-download install {PACKAGES}
dpkg --audit
dpkg --verify {PACKAGES}
test "$(dpkg-query -W -f '${{db:Status-Abbrev}}\\n' | grep -vc '^ii ')" = 0
"""

COMPILE = """
mkdir /work && cd /work
dpkg-source --no-check -x /opt/hello_*.dsc hello
cd hello
FORCE_UNSAFE_CONFIGURE=1 ./configure --quiet
make --silent -j4
make --silent -j4 check
make --silent install
test "$(hello)" = 'Hello, world!'
make --silent clean
"""

GIT = """
export HOME=/root
git config --global user.email x@example.org
git config --global user.name x
git config --global gc.auto 0
git config --global pack.window 2
cd /usr
git init --quiet .
git add --all .
git commit --quiet --message one
test -z "$(git status --porcelain)"
git checkout --quiet -b other
git mv share/doc share/documents
git mv lib/python3.11 lib/python
git commit --quiet --message two
test ! -e share/doc
git checkout --quiet -
test -e lib/python3.11/os.py
test -z "$(git status --porcelain)"
git gc --quiet
git fsck --strict --no-progress
git clone --quiet /usr /clone
test -z "$(git -C /clone status --porcelain)"
git ls-files | wc -l
"""

VENV = """
python3 -m venv /venv
/venv/bin/pip install --quiet --no-index --find-links /wheels trio rich click hypothesis
/venv/bin/pip check
/venv/bin/python -m compileall -q /venv/lib
/venv/bin/python -c 'import trio, rich, click, hypothesis; print("imported")'
/venv/bin/pip uninstall --quiet --yes rich
! /venv/bin/python -c 'import rich' 2>/dev/null
"""

DIGEST = r"""
find / -xdev -type f ! -path /etc/hosts ! -path /etc/hostname ! -path /etc/resolv.conf -print0 |
    sort -z > /dev/shm/files
xargs -0 sha1sum < /dev/shm/files | sha1sum | cut -d' ' -f1
tr '\0' '\n' < /dev/shm/files | wc -l
"""
"""What all files hold, and how many they are; but for those that each container has for itself."""


@pytest.fixture(scope="module")
def debian(_store_with_image: Rootless, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rootless]:
    """An engine with the image."""
    if shutil.which("mmdebstrap") is None:
        pytest.skip("mmdebstrap is not installed")
    tar = tmp_path_factory.mktemp("debian") / "root.tar"
    fetch = f"apt-get --quiet=2 --yes --no-install-recommends --download-only install {PACKAGES}"
    command = ["mmdebstrap", "--quiet", "--mode=unshare", "--variant=apt", "--skip=cleanup/apt"]
    command += [f'--customize-hook=chroot "$1" {fetch}']
    command += ['--customize-hook=chroot "$1" sh -c "cd /opt && apt-get --quiet=2 source --download-only hello"']
    command += ["bookworm", str(tar), f"deb {ARCHIVE}", f"deb-src {ARCHIVE}"]
    # In a directory that subordinate ids can walk through, as the test's own can not be.
    made = subprocess.run(command, capture_output=True, env={**os.environ, "TMPDIR": "/tmp"})
    if made.returncode:
        pytest.skip(f"mmdebstrap needs Debian's archive: {made.stderr.decode().strip().splitlines()[-1]}")
    _store_with_image.ok("import", "-c", 'CMD ["/bin/sh"]', str(tar), IMAGE)
    tar.unlink()
    yield _store_with_image
    _store_with_image.ok("rmi", IMAGE)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pure Python wheels from the package index."""
    found = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:", "--dest", str(found)]
    done = subprocess.run([*command, *WHEELS], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"wheels can't be downloaded: {done.stderr.decode().strip().splitlines()[-1]}")
    return found


def work(engine: Rootless, script: str, *words: str) -> str:
    """What a script that ends at its first failure prints, in a container on `cow` that is kept as `work`."""
    command = ("run", "--network", "none", "--name", "work", *words, IMAGE, "sh", "-euc", script)
    done = engine("--storage-driver", "cow", *command, timeout=3600)
    assert done.returncode == 0, f"{done.stdout.decode()[-3000:]}\n{done.stderr.decode()[-3000:]}"
    return done.stdout.decode()


def test_packages_are_installed_and_used(debian: Rootless, rootless: Rootless, wheels: Path) -> None:
    """One container, one thing after the other, each on what the one before has left."""
    script = APT + COMPILE + VENV + GIT + DIGEST
    *shown, tracked, digest, files = work(debian, script, "-v", f"{wheels}:/wheels:ro").split()
    assert "imported" in shown
    assert int(tracked) > 5000, "files in git's index"
    assert int(files) > 20_000
    try:
        debian.ok("commit", "work", "worked:cow")
        for driver in "overlay", "cow":
            command = ("run", "--rm", "--network", "none", "worked:cow", "sh", "-euc", DIGEST)
            assert debian("--storage-driver", driver, *command, timeout=600).stdout.split() == [
                digest.encode(),
                files.encode(),
            ], driver
    finally:
        debian.ok("rm", "work")
        debian("rmi", "worked:cow")
