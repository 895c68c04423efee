"""One JSON line a figure: ours, the reference of the same run, and whether the goal is reached."""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A measured figure.

    Attributes:
        ours: Median of our side, in `unit`.
        reference: Median of the other side of the same run; none where the goal is absolute.
        ratio: Median of the ratios of neighbouring slices, or ours to the goal.
        goal: As the project states it.
    """

    figure: str
    ours: float
    reference: float | None
    ratio: float
    unit: str
    goal: str
    holds: bool

    def print(self) -> None:
        """Write the line."""
        line = {
            "figure": self.figure,
            "ours": round(self.ours, 4),
            "reference": None if self.reference is None else round(self.reference, 4),
            "ratio": round(self.ratio, 3),
            "unit": self.unit,
            "goal": self.goal,
            "holds": self.holds,
        }
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def options(description: str) -> argparse.Namespace:
    """The command line of a benchmark: `--quick`, and `--only FIGURE`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="under a minute, coarser")
    parser.add_argument("--only", action="append", help="this figure alone; may be repeated")
    return parser.parse_args()


def rate(act: Callable[[], object], seconds: float) -> float:
    """How often a second `act` was done, over so many seconds."""
    count, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        act()
        count += 1
    return count / elapsed


def alternated(
    ours: Callable[[], float], reference: Callable[[], float], slices: int
) -> tuple[float, float, float]:
    """Medians of both sides and of the ratio, measured in turns: noise meets both alike."""
    pairs = [(ours(), reference()) for _ in range(slices)]
    return (
        statistics.median(pair[0] for pair in pairs),
        statistics.median(pair[1] for pair in pairs),
        statistics.median(pair[0] / pair[1] for pair in pairs),
    )


def milliseconds(act: Callable[[], object], times: int) -> float:
    """The median time of `act`."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        act()
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)
