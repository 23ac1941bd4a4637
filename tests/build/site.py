"""A building site: a context in a directory of a test's own, and the command that builds it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.build.warm import Warm
from tests.conftest import Rootless

Files = Mapping[str, str | bytes]


@dataclass(frozen=True)
class Site:
    """
    Attributes:
        directory: the context.
        name: what the image is called; nobody else's is.
        warm: the command, for builds.
    """

    engine: Rootless
    directory: Path
    name: str
    warm: Warm

    def write(self, files: Files) -> None:
        """Files of the context, by their paths in it."""
        for path, content in files.items():
            place = self.directory / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.encode() if isinstance(content, str) else content)

    def build(
        self,
        dockerfile: str,
        *options: str,
        files: Files | None = None,
        env: dict[str, str] | None = None,
        driver: str = "",
    ) -> subprocess.CompletedProcess[bytes]:
        """`build -t NAME OPTIONS CONTEXT` with this Dockerfile; without a network, unless the options want one."""
        self.write({**(files or {}), "Dockerfile": dockerfile})
        chosen = ("--storage-driver", driver) if driver else ()
        return self.warm(*chosen, *self.argv(*options), env=env)

    def argv(self, *options: str) -> tuple[str, ...]:
        return ("build", "--network", "none", "-t", self.name, *options, str(self.directory))

    def ok(
        self,
        dockerfile: str,
        *options: str,
        files: Files | None = None,
        env: dict[str, str] | None = None,
        driver: str = "",
    ) -> str:
        """Likewise, demanding success; what it said on standard error."""
        done = self.build(dockerfile, *options, files=files, env=env, driver=driver)
        assert done.returncode == 0, done.stderr.decode()
        return done.stderr.decode()

    def fails(
        self,
        dockerfile: str,
        *options: str,
        files: Files | None = None,
        env: dict[str, str] | None = None,
        code: int = 1,
    ) -> str:
        """Likewise, demanding a failure; what it said."""
        done = self.build(dockerfile, *options, files=files, env=env)
        assert done.returncode == code, done.stderr.decode()
        return done.stderr.decode()

    def run(self, *command: str) -> str:
        """What a command in the image says."""
        done = self.warm("run", "--rm", "--network", "none", self.name, *command)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def sh(self, script: str) -> str:
        return self.run("sh", "-c", script)

    def remove(self) -> None:
        self.warm("rmi", "-f", self.name)
