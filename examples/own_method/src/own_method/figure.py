"""A figure of your own: `python -m own_method.figure RUNS_DIR FIGURE.png`."""

from __future__ import annotations

import sys
from pathlib import Path

from neoteny import report


def draw(runs_dir: Path, figure: Path) -> Path:
    """The measure `spread` of every system over the examples, the mean of its runs."""
    from matplotlib.figure import Figure

    page = Figure(figsize=(5, 3), layout="constrained")
    axes = page.subplots()
    for group in report.load(runs_dir):
        for series in group.series:
            curve = series.curve("spread", layer=series.layers("spread")[0])
            axes.plot(curve.steps, curve.values.mean(axis=0), label=series.label)
    axes.set(xlabel="examples", ylabel="spread")
    axes.legend()
    page.savefig(figure)
    return figure


if __name__ == "__main__":
    print(draw(Path(sys.argv[1]), Path(sys.argv[2])))
