"""Print throughputs side by side: `WHAT<tab>WHO<tab>MB/s` a line of the file, or `stalled`; the first WHO is 1.

Transfers are short and many, because the pasta of 2023 stands still now and then, for seconds and in bursts, whoever
started it: a mean or a median says how many of these bursts somebody has met. What is compared is the way as fast as it
is undisturbed: the median of the faster half of the transfers (a stalled one has 0), the same for everybody. Behind it
the range of the ratio in 95 of 100 such series (bootstrap: rounds drawn anew from those that were measured).
"""

import random
import statistics
import sys
from collections import defaultdict
from pathlib import Path

DRAWS = 2000


def speed(found: list[float]) -> float:
    """The median of the faster half."""
    return statistics.median(sorted(found)[len(found) // 2 :])


def interval(found: list[float], base: list[float]) -> tuple[float, float]:
    """Of the ratio of the speeds of two, measured in turns."""
    draw, rounds = random.Random(1), min(len(found), len(base))
    ratios = []
    for _ in range(DRAWS):
        chosen = draw.choices(range(rounds), k=rounds)
        ratios.append(speed([found[i] for i in chosen]) / max(speed([base[i] for i in chosen]), 0.001))
    ratios.sort()
    return ratios[DRAWS * 25 // 1000], ratios[DRAWS * 975 // 1000]


def main() -> None:
    series: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in Path(sys.argv[1]).read_text().splitlines():
        what, who, text = line.split("\t")
        series[what][who].append(0.0 if text == "stalled" else float(text))
    print(f"{'MB/s':36}{'':20}{'faster half':>12}{'all':>8}{'slow':>9}{'ratio':>8}")
    for what, by in series.items():
        base = next(iter(by.values()))
        for who, found in by.items():
            middle = statistics.median(found)
            slow = sum(1 for one in found if one < speed(found) / 5)
            line = f"{what:36}{who:20}{speed(found):>12.0f}{middle:>8.0f}{f'{slow}/{len(found)}':>9}"
            if found is not base:
                low, high = interval(found, base)
                line += f"{speed(found) / max(speed(base), 0.001):>8.2f}  ({low:.2f} to {high:.2f})"
            print(line)
    print("all: the median of all transfers; slow: those below a fifth of the faster half's speed")


if __name__ == "__main__":
    main()
