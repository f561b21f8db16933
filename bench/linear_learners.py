"""SwiftTD beside the published package, one thread: 1,000 sparse active features of 2,000, 20,000 and 200,000.

    pip install --only-binary :all: swifttd==0.2.0
    python bench/linear_learners.py

Sides take turns in one process; the seconds are those of the core. The package takes lists, this library arrays, each
as its users have them.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from neoteny.linear import LinearPredictor, Sparse
from neoteny.optim import SwiftTD

ACTIVE, ALPHA, TURN = 1_000, 1e-4, 20
"""Active features a step, their initial step size, and the steps of a turn."""
FEATURES = (2_000, 20_000, 200_000)


def sides(features: int) -> dict[str, tuple[Callable[[Any, float], float], Callable[[np.ndarray], Any]]]:
    """For each side its step, and how it wants the indices of the active features."""
    import swifttd  # pyright: ignore[reportMissingImports]

    settings = (features, 0.95, ALPHA, 0.99, 1e-5, 0.1, 0.999, 1e-3, 1e-10)
    ones = np.ones(ACTIVE)
    return {
        "package, binary": (swifttd.SwiftTDBinaryFeatures(*settings).step, np.ndarray.tolist),
        "package, values": (swifttd.SwiftTD(*settings).step, lambda found: [(index, 1.0) for index in found.tolist()]),
        "neoteny, binary": (LinearPredictor(features, SwiftTD(step_size=ALPHA)).update, Sparse),
        "neoteny, values": (
            LinearPredictor(features, SwiftTD(step_size=ALPHA)).update,
            lambda found: Sparse(found, ones),
        ),
    }


def swift_td(rounds: int) -> list[str]:
    """Microseconds of a step, when as many features are eligible as will be, and of the package's as a multiple."""
    if importlib.util.find_spec("swifttd") is None:
        return ["Not measured: the published package is missing, `pip install --only-binary :all: swifttd==0.2.0`."]
    lines = ["| features | side | us a step | of the package's |", "|---:|---|---:|---:|"]
    for features in FEATURES:
        rng = np.random.default_rng(0)
        found = {name: [*side, float("inf")] for name, side in sides(features).items()}
        for turn in range(rounds + 10):  # the first ten fill the traces
            drawn = [rng.choice(features, ACTIVE, replace=False) for _ in range(TURN)]
            for side in found.values():
                given = [side[1](indices) for indices in drawn]
                begun = time.process_time()
                for x in given:
                    side[0](x, 1.0)
                if turn >= 10:
                    side[2] = min(side[2], (time.process_time() - begun) / TURN * 1e6)
        for name, (*_, best) in found.items():
            ratio = best / found[f"package, {name.partition(', ')[2]}"][2]
            lines.append(f"| {features:,} | {name} | {best:,.0f} | {ratio:.2f} |")
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Measure and print; with `--out`, also write the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="where to write the table")
    options = parser.parse_args()
    text = ["# SwiftTD beside the published package", PAGE, "\n".join(swift_td(options.rounds))]
    if options.out:
        options.out.write_text("\n\n".join(text) + "\n", encoding="utf-8")


PAGE = """`python bench/linear_learners.py`: 1,000 binary features are active in each step, drawn at random; lambda
0.95, gamma 0.99, traces followed until they have decayed to 1e-5. One thread; sides take turns in one process; the
seconds are those of the core, and of each side the best turn counts. Lists and arrays are made before."""


if __name__ == "__main__":
    main()
