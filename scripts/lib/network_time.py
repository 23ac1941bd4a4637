"""What the default network adds to `run --rm IMAGE true`, and how much of that is pasta's own start: `ROUNDS` (40).

A run without a network, one with it, and a pasta alone, in turns. That one gets the command line of a container's pasta
and a network namespace that is there already; its time goes from its start to its saying that it is ready.
"""

import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

RUN = ["rootless", "run", "--rm"]
IMAGE = ["bench:latest", "true"]
NAME = "timed"


def run(*options: str) -> float:
    """The milliseconds of one run."""
    began = time.perf_counter()
    subprocess.run([*RUN, *options, *IMAGE], check=True, stdin=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1000


def command_line() -> list[str]:
    """Of a container's pasta, but for where its namespace is and where it writes that it is ready."""
    subprocess.run(
        ["rootless", "run", "-d", "--name", NAME, "bench:latest", "sleep", "60"], check=True, stdout=subprocess.DEVNULL
    )
    form = "{{range .NetworkSettings.Helpers}}{{.Name}} {{.Pid}}{{end}}"
    try:
        shown = subprocess.run(["rootless", "inspect", "-f", form, NAME], check=True, capture_output=True, text=True)
        name, pid = shown.stdout.split()
        if name != "pasta":
            raise SystemExit(f"the default network is not pasta here but {name}")
        words = Path("/proc", pid, "cmdline").read_bytes().decode().split("\0")[:-1]
    finally:
        subprocess.run(["rootless", "rm", "-f", NAME], check=True, stdout=subprocess.DEVNULL)
    for option in "--netns", "--pid":
        at = words.index(option)
        del words[at : at + 2]
    return words


def pasta(words: list[str]) -> float:
    """The milliseconds that a pasta takes until it is ready."""
    with subprocess.Popen(["unshare", "--user", "--map-root-user", "--net", "sleep", "60"]) as place:
        ours = os.readlink("/proc/self/ns/net")
        while (
            os.readlink(f"/proc/{place.pid}/ns/net") == ours
            or b"sleep" not in Path(f"/proc/{place.pid}/comm").read_bytes()
        ):
            time.sleep(0.005)
        began = time.perf_counter()
        argv = [*words, "--pid", "/proc/self/fd/1", str(place.pid)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            if not process.stdout.read(1):
                raise SystemExit(f"{words[0]} alone did not start")
            took = (time.perf_counter() - began) * 1000
            process.send_signal(signal.SIGTERM)
        place.kill()
    return took


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    words = command_line()
    kinds = {"none": lambda: run("--network", "none"), "pasta": run, "pasta alone": lambda: pasta(words)}
    for measure in kinds.values():
        measure()
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind, measure in kinds.items():
            times[kind].append(measure())
    print(f"run --rm IMAGE true, {rounds} times in turns, ms{'median':>20}{'least':>10}")
    for kind, found in times.items():
        print(f"  {kind:40}{statistics.median(found):>20.1f}{min(found):>10.1f}")
    for what, of in ("median", statistics.median), ("least", min):
        none, whole, alone = (of(times[kind]) for kind in kinds)
        print(
            f"  added by the network, {what}: {whole - none:.1f}, beyond pasta's own start: {whole - none - alone:.1f}"
        )


if __name__ == "__main__":
    main()
