"""Print hyperfine's result (its JSON file is the argument): median, spread, and the ratio to the first command."""

import json
import sys
from pathlib import Path


def main() -> None:
    results = json.loads(Path(sys.argv[1]).read_text())["results"]
    base = results[0]["median"]
    print(f"{'':24}{'median':>10}{'least':>10}{'std dev':>10}{'ratio':>8}")
    for result in results:
        times = "".join(f"{result[key] * 1000:>7.1f} ms" for key in ("median", "min", "stddev"))
        print(f"{result['command']:24}{times}{result['median'] / base:>8.2f}")
    print(f"({len(results[0]['times'])} runs each; ratio: how many times as long as {results[0]['command']})")


if __name__ == "__main__":
    main()
