"""What a loss is counted from: the same runs from first to last, and beside networks that begin anew at late tasks.

    python docs/evidence/fresh.py     # permuted MNIST, half a minute of a core, if it is not there; then the page

Slowly-changing regression is that of the ledger (`docs/evidence/nature.py`). Full folders go to `runs/fresh`, slim
copies to `docs/evidence/fresh`.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from neoteny.report import load
from neoteny.report.claims.look import FIRST, LAST, Look
from neoteny.report.papers import figure
from neoteny.report.runs.metrics import is_share
from neoteny.report.runs.series import Series
from neoteny.report.statistics.cell import Cell, markdown_table
from neoteny.report.statistics.plasticity import loss_of_plasticity
from neoteny.report.statistics.sample import Sample

HERE = Path(__file__).parent
FULL, SLIM = Path("runs/fresh"), HERE / "fresh"
COMMANDS = [
    f"run online-permuted-mnist --scale fast --runs 10 --fresh-tasks 20 {rest}"
    for rest in ("--method backprop --grid step_size=0.03,0.015,0.005,0.0015", "--method cbp", "--method full-reset")
]
HEADINGS = (
    "system",
    "first tenth",
    "last tenth",
    "loss, first to last",
    "fresh, late",
    "loss beside fresh networks",
    "n",
)

PAGE = """# What a loss is counted from

A loss of plasticity can be counted from the run's own beginning, *first to last*, or from networks that begin anew at
the same late tasks, *beside fresh networks* (`--fresh-tasks`, [usage](../usage.md#fresh-networks-beside-a-run)). These
learn from the same batches, with the same optimizer, without the system's methods. Here are both, of the same runs:
means with 95 % Student t intervals over runs. First and last are tenths of a run, and late are the tasks of its last
tenth that fresh networks learned. A loss above 0 is one: the run is worse.

## Slowly-changing regression

Squared error, {regression_runs} runs of a million examples, 50 fresh networks each: those of [the ledger](claims.md).

{regression}

- A task has 10,000 examples, enough for a network of five units to begin anew. Both comparisons say the same here:
  backpropagation is worse at late tasks than it was at first, and worse than new networks.
- A linear network cannot lose plasticity. It is behind a fresh one by {linear}: what it has learned of the task before
  is a little in the way at first. A loss beside fresh networks has this in it, too.
- Continual backpropagation and shrink and perturb are ahead of fresh networks: they keep what tasks have in common.

## Online permuted MNIST, small and fast

Accuracy in per cent, {mnist_runs} runs of 40 tasks of 1,024 images, 20 fresh networks each.

{mnist}

- `full-reset` is a new network at each task, so it must be level with fresh ones. Over all 20 tasks its loss is
  {reset} points.
- With step size 0.0015 a run still learns from scratch in its first tenth, so from first to last it gains. That says
  nothing of its plasticity.
- A task ends here before a new network has learned it. What a run has learned of digits in general helps it then, and
  hides what it lost: with 0.015 it is level with fresh networks, though it falls by ten points from its first tenth.
  With 0.03 it is behind them. Where tasks are so short, being level with fresh networks does not show that nothing was
  lost.

Made by

```sh
{commands}
```

and `make nature ARGS=slowly-changing-regression`; the page by `python docs/evidence/fresh.py`.
"""


def neoteny(*words: str) -> None:
    """Run the command."""
    subprocess.run([sys.executable, "-m", "neoteny", *words], check=True)


def row(one: Series, metric: str) -> tuple[str, ...]:
    """Both comparisons of a series."""
    look, share = Look({"it": one}, metric), is_share(metric)
    first, last = look.sample("it", FIRST), look.sample("it", LAST)
    late = look.loss("it", fresh=True)
    new = Look({"it": one}, f"fresh_{metric}").sample("it", LAST)

    def text(sample: Sample, signed: bool = False) -> str:
        return Cell.of(sample.interval()).text(share, signed)

    losses = (look.loss("it", fresh=False), late)
    return (one.label, text(first), text(last), text(losses[0], True), text(new), text(losses[1], True), str(one.runs))


def table(series: Sequence[Series], metric: str) -> str:
    """A row each."""
    return markdown_table([HEADINGS, ("---", *["---:"] * 6), *(row(one, metric) for one in series)])


def main() -> None:
    if not SLIM.exists():
        for command in COMMANDS:
            neoteny(*shlex.split(command), "--out", str(FULL), "--resume")
        neoteny("archive", *map(str, sorted(FULL.glob("*/*"))), "--to", str(SLIM))
    group = load(HERE / "runs").newest("slowly-changing-regression", "paper")
    shown = ("regression-step-size", "regression-systems")
    regression = {one.label: one for name in shown for one in figure(name).select(group, "paper").found.values()}
    del regression["backprop"]  # at step size 0.01
    mnist = load(SLIM)[0].series
    reset = loss_of_plasticity(next(one for one in mnist if one.label == "full-reset"), "accuracy", (0.0, 1.0))
    page = PAGE.format(
        regression_runs=regression["cbp"].runs,
        regression=table(list(regression.values()), "loss"),
        linear=row(regression["linear"], "loss")[5].partition(" ")[0].lstrip("+"),
        mnist_runs=mnist[0].runs,
        reset=Cell.of(reset.interval()).text(share=True, signed=True),
        mnist=table(mnist, "accuracy"),
        commands="\n".join(f"neoteny {command}" for command in COMMANDS),
    )
    (HERE / "fresh.md").write_text(page)


if __name__ == "__main__":
    main()
