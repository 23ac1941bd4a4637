"""The command without the start of an interpreter and its imports, for tests that call it a hundred times.

`python -m tests.build.warm` reads orders, one line of JSON each, and does each in a child by fork(2), with the same
main() that the command `rootless` calls; it answers with the exit code. Its own environment, streams and descriptors
are untouched by that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib import import_module
from typing import IO, Any, NoReturn

from tests.conftest import CHECKOUT, Rootless

LOADED = (
    "cli.build",
    "build.build",
    "build.running",
    "build.runmounts",
    "build.outputs",
    "cli.inspect",
    "runtime.stage",
)


class Warm:
    """A process that is ready to be the command, again and again."""

    def __init__(self, engine: Rootless) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.build.warm"],
            cwd=CHECKOUT,
            env=engine.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(
        self, *words: str, stdin: bytes = b"", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """As the fixture `rootless`."""
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            given.write(stdin)
            given.seek(0)
            files = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (given, out, err)]
            code = self._order({"words": words, "files": files, "env": env or {}})
            return subprocess.CompletedProcess(list(words), code, _content(out), _content(err))

    def _order(self, order: dict[str, Any]) -> int:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """No further order."""
        self._process.communicate()


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _serve() -> None:
    for name in LOADED:
        import_module(f"rootless.{name}")
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _be_the_command(order)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _be_the_command(order: dict[str, Any]) -> NoReturn:
    from rootless.cli.main import main

    for number, (path, flags) in enumerate(zip(order["files"], (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY), strict=True)):
        fd = os.open(path, flags)
        os.dup2(fd, number)
        os.close(fd)
    os.environ.update(order["env"])
    code = 99  # of whatever is no way for main() to end
    try:
        main(order["words"])
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
