"""The page and the figure of `dynamic.py`, from the pieces that are there: standings, claims, one panel a problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from dynamic import (
    LAST,
    POINTS,
    PROBLEMS,
    RETURN,
    RIVALS,
    SEEDS,
    SYSTEMS,
    TUNING_SEEDS,
    Problem,
    judged,
    pieces,
    returning,
)

from neoteny.report.statistics.intervals import mean_interval
from neoteny.report.statistics.paired import differences
from neoteny.report.statistics.relearning import relearning

HERE = Path(__file__).parent
LEVEL = 0.05


@dataclass(frozen=True)
class Standing:
    """How a system does on a problem."""

    system: str
    mean: float
    half: float
    broken: int
    point: str
    edge: bool
    to_first: str
    first: bool
    worse_than_sgd: bool
    better_than_sgd: bool


def standings(problem: str) -> list[Standing]:
    """The systems, the best first; p-values are corrected for all comparisons with the first, and with SGD."""
    found, record = pieces(problem), PROBLEMS[problem]
    sign = 1 if record.metric == "loss" else -1
    scores = {system: judged(record, each["scores"]) for system, each in found.items()}
    whole = {system: each for system, each in scores.items() if np.isfinite(each).all()}
    first = min(whole, key=lambda system: sign * whole[system].mean())
    to_first, to_sgd = differences(whole, first), differences(whole, "sgd") if "sgd" in whole else {}
    rows = []
    for system, own in scores.items():
        chosen, axes = int(found[system]["chosen"]), SYSTEMS[system].points(record)
        said = ", ".join(f"{name.split('.')[-1]} {values[chosen]:g}" for name, values in axes.items())
        edge = any(values[chosen] in (min(values), max(values)) and len(set(values)) > 2 for values in axes.values())
        interval = mean_interval(own[np.isfinite(own)][:, None]) if np.isfinite(own).sum() > 1 else None
        ahead, other = to_first.get(system), to_sgd.get(system)
        rows.append(
            Standing(
                system,
                float(interval.mean[0]) if interval else np.nan,
                float(interval.high[0] - interval.mean[0]) if interval else np.nan,
                int((~np.isfinite(own)).sum()),
                said,
                edge,
                f"{ahead.mean:+.4f} (p {ahead.p:.2g})" if ahead else "",
                system == first or (ahead is not None and ahead.p >= LEVEL),
                system not in whole or (other is not None and other.p < LEVEL and sign * other.mean > 0),
                other is not None and other.p < LEVEL and sign * other.mean < 0,
            )
        )
    return sorted(rows, key=lambda row: (row.broken > 0, sign * row.mean if np.isfinite(row.mean) else np.inf))


def report() -> None:
    """The page and the figure."""
    all_ready = {problem: standings(problem) for problem in PROBLEMS if len(pieces(problem)) > 1}
    ready = {problem: rows for problem, rows in all_ready.items() if problem != RETURN}
    cells = {(problem, row.system): row for problem, rows in ready.items() for row in rows}
    names = [system for system in SYSTEMS if any((problem, system) in cells for problem in ready)]
    head = ["learner", *(PROBLEMS[problem].title for problem in ready), "first", "worse than SGD"]
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    for system in names:
        rows = [cells.get((problem, system)) for problem in ready]
        told = [told_of(row, PROBLEMS[problem]) for problem, row in zip(ready, rows, strict=True)]
        there = [row for row in rows if row is not None]
        firsts = f"{sum(row.first for row in there)} of {len(there)}"
        told = [SYSTEMS[system].title, *told, firsts, str(sum(row.worse_than_sgd for row in there))]
        lines.append(" | ".join(told))
    there = sum(len(pieces(problem)) for problem in PROBLEMS)
    missing = len(PROBLEMS) * len(SYSTEMS) - there
    note = f"**{missing} pieces are not yet run**; a first is the first of those that are there." if missing else ""
    text = [PAGE.format(figure="dynamic.png"), note, "\n".join(f"| {line} |" for line in lines), ledger()]
    for problem, rows in all_ready.items():
        text.append(section(problem, rows))
    (HERE / "dynamic.md").write_text("\n\n".join(filter(None, text)) + "\n", encoding="utf-8")
    draw(ready, HERE / "dynamic.png")
    print("\n".join(lines))


def told_of(row: Standing | None, problem: Problem) -> str:
    """A cell of the first table."""
    if row is None:
        return "not yet run"
    if not np.isfinite(row.mean):
        return f"{row.broken} runs broke down"
    told = f"{row.mean:.3f}" if problem.metric == "loss" else f"{100 * row.mean:.1f} %"
    told = f"**{told}**" if row.first else told
    return f"{told} ({row.broken} broke down)" if row.broken else told


def section(problem: str, rows: list[Standing]) -> str:
    """The table of a problem."""
    record, found = PROBLEMS[problem], pieces(problem)
    size = int(found[rows[0].system]["parameters"])
    told = ", ".join(f"{name} {value}" for name, value in record.settings.items())
    lines = [
        f"## {record.title[0].upper()}{record.title[1:]}",
        f"`{record.benchmark}` ({told}): {record.steps:,} examples, {size:,} weights; "
        f"{'mean squared error' if record.metric == 'loss' else 'accuracy'} of the last {LAST:.0%}.",
        "| learner | mean and half of its 95 % interval | difference to the first | beside SGD | settings | "
        "us a run-step |\n|---|---:|---:|---|---|---:|",
    ]
    for row in rows:
        beside = "better" if row.better_than_sgd else "worse" if row.worse_than_sgd else "no difference"
        mean = f"{row.mean:.4f} ± {row.half:.4f}" + (f", {row.broken} runs broke down" if row.broken else "")
        took = float(found[row.system]["microseconds"])
        spent = f"{took:.2f}" if took > 0 else "-"  # the clock of a machine that was halted may have gone back
        cost = f"{spent} ({found[row.system]['strategy']})"
        settings = f"{row.point}{', the end of its range' if row.edge else ''}"
        beside = "" if row.system == "sgd" else beside
        cells = (SYSTEMS[row.system].title, mean, row.to_first or "first", beside, settings, cost)
        lines[-1] += "\n| " + " | ".join(cells) + " |"
    if record.window:
        told = "; ".join(
            f"{SYSTEMS[row.system].title} {relearning(found[row.system]['scores'], *returning(record)).mean():.2f}"
            for row in rows
        )
        lines[1] = lines[1].rsplit("; ", 1)[0] + f"; squared error of the {record.window:,} examples after each return."
        lines.append(f"This error as a share of that when the part was there for the first time: {told}.")
    return "\n\n".join(lines)


@dataclass(frozen=True)
class Check:
    """On a problem a system is better than another by more than a share of the other's score.

    Attributes:
        problem: on which.
        system: the one.
        other: the other; `rival` is the best of all that the study compares with.
        by: the share; below 0 the system may be worse by so much.
    """

    problem: str
    system: str
    other: str
    by: float = 0.0

    def judge(self) -> tuple[str, str]:
        """The verdict, from the 95 % interval of the paired difference, and what was found."""
        record, found = PROBLEMS[self.problem], pieces(self.problem)
        other = self.other if self.other != "rival" else _best_rival(self.problem, found)
        if self.system not in found or other not in found:
            return "not yet run", f"{record.title}: not yet run"
        sign = 1 if record.metric == "loss" else -1
        one, two = (judged(record, found[name]["scores"]) for name in (self.system, other))
        interval = mean_interval((sign * (two - one) / two - self.by)[:, None])
        low, high, mean = (float(bound[0]) for bound in (interval.low, interval.high, interval.mean))
        verdict = "holds" if low > 0 else "does not hold" if high < 0 else "undecided"
        shown = [f"{100 * (bound + self.by):+.1f}" for bound in (mean, low, high)]
        beside = SYSTEMS[other].title
        return verdict, f"{record.title}: {shown[0]} % [{shown[1]}, {shown[2]}] beside {beside}"


def _best_rival(problem: str, found: Mapping[str, dict[str, Any]]) -> str:
    """The rival with the best mean; a name that no piece has if one is missing."""
    record = PROBLEMS[problem]
    sign = 1 if record.metric == "loss" else -1
    means = {name: sign * judged(record, found[name]["scores"]).mean() for name in RIVALS if name in found}
    return min(means, key=lambda name: np.nan_to_num(means[name], nan=np.inf)) if len(means) == len(RIVALS) else ""


STEP_SIZES, UNITS, BOTH, DYNAMIC = "autostep", "cbp", "cbp-autostep", "dynamic"
EIGHT = tuple(problem for problem in PROBLEMS if problem != RETURN)
ALIKE = -0.02
"""Up to so much worse is not worse."""
CLAIMS: dict[str, tuple[str, tuple[Check, ...]]] = {
    "C22a": (
        "A step size for each weight helps where features drift",
        (Check("drifting-features", STEP_SIZES, "sgd"), Check("geoff", STEP_SIZES, "sgd")),
    ),
    "C22b": (
        "New units in place of useless ones help where plasticity is lost",
        (Check("slowly-changing", UNITS, "sgd"),),
    ),
    "C22c": (
        "Both together are not worse than either, up to 2 %",
        tuple(
            Check(problem, BOTH, other, ALIKE)
            for problem in ("drifting-features", "geoff", "slowly-changing")
            for other in (STEP_SIZES, UNITS)
        ),
    ),
    "C23a": (
        "With backbone and fringe the error on drifting features is a tenth below the best rival's",
        (Check("drifting-features", DYNAMIC, "rival", 0.1),),
    ),
    "C23b": (
        "It is never worse than SGD, up to 2 %",
        tuple(Check(problem, DYNAMIC, "sgd", ALIKE) for problem in EIGHT),
    ),
    "C23c": (
        "What comes back is learned again faster than by SGD, and by continual backpropagation with Autostep",
        (Check(RETURN, DYNAMIC, "sgd"), Check(RETURN, DYNAMIC, BOTH)),
    ),
}


def ledger() -> str:
    """The verdicts."""
    lines = ["## Claims", "", "| claim | | verdict | effects and their 95 % intervals |", "|---|---|---|---|"]
    order = ("not yet run", "does not hold", "undecided", "holds")
    for name, (said, checks) in CLAIMS.items():
        found = [check.judge() for check in checks]
        verdict = min((verdict for verdict, _ in found), key=order.index)
        lines.append(f"| {name} | {said} | **{verdict}** | {'; '.join(told for _, told in found)} |")
    return "\n".join(lines)


def draw(ready: Mapping[str, list[Standing]], path: Path) -> None:
    """One panel a problem, a point with its interval for each learner."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = [system for system in SYSTEMS if any(row.system == system for rows in ready.values() for row in rows)]
    columns = min(len(ready), 4) or 1
    lines = -(-len(ready) // columns) or 1
    size = (2.2 + 2.4 * columns, (0.6 + 0.22 * len(names)) * lines)
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False, sharey=True, layout="constrained")
    for ax in axes.flat[len(ready) :]:
        ax.set_axis_off()
    for ax, (problem, rows) in zip(axes.flat, ready.items(), strict=False):
        for row in rows:
            if np.isfinite(row.mean):
                ours = row.system not in RIVALS
                style = {"fmt": "o", "markersize": 4, "color": "#c2410c" if ours else "#1a6fb0"}
                filled = {"mfc": None if row.first else "white"}
                ax.errorbar(row.mean, names.index(row.system), xerr=row.half, **style, **filled)
        ax.set_title(PROBLEMS[problem].title, fontsize=9)
        ax.set_xlabel("squared error" if PROBLEMS[problem].metric == "loss" else "accuracy", fontsize=8)
        ax.set_yticks(range(len(names)), [SYSTEMS[name].title for name in names], fontsize=8)
        ax.tick_params(axis="x", labelsize=7)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].invert_yaxis()
    figure.savefig(path, dpi=130)


PAGE = f"""# Dynamic learning: what each level is worth

`python docs/evidence/dynamic.py`: one example at a time, on eight problems. For every learner {POINTS} settings
were tried on {len(TUNING_SEEDS)} seeds of their own and half of the examples; the best of them then learned from all
examples on {len(SEEDS)} other seeds, the same for all learners. Scores are means over the last {LAST:.0%} of the
examples. Differences are those of the same seeds; p-values are two-sided and corrected by Holm for all comparisons of a
problem. **Bold**: first, or not distinguishable from the first (p >= {LEVEL}). "Worse than SGD": problems on which the
difference to SGD is significant, or runs broke down. No learner is told when a task begins. Where classes are learned,
learners with Autostep whose mu is not tuned have IDBD in its place ([why](../dynamic.md)).

![Scores with intervals, by problem]({{figure}})"""
