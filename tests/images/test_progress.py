"""What a pull and a push show on a terminal: one line a layer, with a bar only while bytes are counted."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios

from tests.conftest import Rootless
from tests.images.registries import FakeRegistry
from tests.images.test_pull import archive, layer_digests

CODES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


def on_a_terminal(engine: Rootless, *words: str) -> bytes:
    """All that the command writes to a terminal of 30 lines and 100 columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    environment = engine.environment | {"TERM": "xterm"}
    process = subprocess.Popen(engine.argv(*words), stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    written = b""
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:  # EIO: nobody has the other side any more
            break
        if not data:
            break
        written += data
    os.close(master)
    assert process.wait(30) == 0, written
    return written


def pictures(written: bytes) -> list[list[str]]:
    """The lines of each picture that was drawn over the one before."""
    drawn, _, _ = written.partition(b"\x1b[?25h")  # the cursor is shown again
    parts = re.split(rb"\r\x1b\[2K(?:\x1b\[1A\x1b\[2K)*", drawn)[1:]
    return [[line.rstrip() for line in CODES.sub(b"", part).decode().split("\r\n") if line.strip()] for part in parts]


ENDS = "Pull complete", "Download complete", "Extracting"


def test_a_line_for_each_layer(engine: Rootless, fake: FakeRegistry) -> None:
    first, second = (name[7:19] for name in layer_digests(fake.add([archive(300_000), archive(300_000, "g")])))
    fake.rate = 1 << 20
    written = on_a_terminal(engine, "pull", fake.name())
    shown = pictures(written)
    # On a busy machine the last picture may be drawn before the last word of a layer is in.
    assert [line.partition(": ")[::2] for line in shown[-1]] in (
        [(first, one), (second, other)] for one in ENDS for other in ENDS
    ), shown[-1]
    counting = re.compile(rf"{first}: Downloading [━╸╺]+ [0-9.]+/[0-9.]+ [kM]B")
    assert any(counting.fullmatch(line) for picture in shown for line in picture), shown
    assert written.count(b"\x1b[?25l") == written.count(b"\x1b[?25h") == 1
    fake.rate = 0
    again = on_a_terminal(engine, "pull", fake.name())
    assert pictures(again)[-1] == [f"{first}: Already exists", f"{second}: Already exists"]
    quiet = on_a_terminal(engine, "pull", "-q", fake.name())
    assert re.fullmatch(rb"sha256:[0-9a-f]{64}\r\n", quiet)
