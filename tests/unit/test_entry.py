"""The command's process from its first moment to its last."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.parametrize("reached", ["rootless.cli.entry", "msgspec", "rootless.cli.main", "rootless.image.load"])
def test_ctrl_c_is_no_traceback_while_modules_are_imported(reached: str, tmp_path: Path) -> None:
    """However far it has come: to the shell it ended with 130. The command waits for its input, so that it can't end
    before the signal comes."""
    command = [sys.executable, "-X", "importtime", "-m", "rootless", "--root", str(tmp_path), "load"]
    with subprocess.Popen(
        command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.rpartition("|")[2].strip() == reached:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait() in (130, -signal.SIGINT)
        assert "Traceback" not in rest and "KeyboardInterrupt" not in rest


def test_an_ignored_ctrl_c_stays_ignored() -> None:
    """As in a script's background job: `sh -c 'rootless ... &'`."""
    script = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); import rootless.cli.entry as e;"
        "import rootless.cli.main as m; m.main = lambda: print(signal.getsignal(signal.SIGINT).name, flush=True);"
        "e.command()"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.stdout == "SIG_IGN\n"
