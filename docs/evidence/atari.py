"""Atari-100k at a size for two cores: what resets and Hare & Tortoise add to DrQ in two games.

    python docs/evidence/atari.py --plan               # measures a few steps of each curve, and says what all will take
    python docs/evidence/atari.py                      # goes on where it was stopped
    python docs/evidence/atari.py --only assault       # one game; several may run side by side
    python docs/evidence/atari.py --seeds 12           # twelve seeds of each curve instead of five

Runs are trained and archived as `curves.py` says, in `.cache/atari` and `runs/atari`. At the end, or with `--report`,
table, verdicts and figures are written beside this file from the runs that are complete.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from curves import HERE, Curve, draw, main
from pieces import remarks

from neoteny.report import load
from neoteny.report.figures.agents import draw_table
from neoteny.report.papers.atari_100k import SCORES, scores
from neoteny.report.statistics.aggregate import area
from neoteny.report.statistics.intervals import mean_interval

STUDY, GAMES = "atari", ("assault", "road_runner")
SYSTEMS = ("backprop", "head-reset", "shrink-and-perturb", "hare-and-tortoise", "hare-and-tortoise-head-reset")
CLAIMS = (
    ("C21a", "Head resets raise DrQ's score", "head-reset", "backprop"),
    ("C21b", "Hare & Tortoise raises DrQ's score", "hare-and-tortoise", "backprop"),
    ("C21c", "Both together raise it", "hare-and-tortoise-head-reset", "backprop"),
    ("C21d", "Shrink and perturb costs DrQ score", "backprop", "shrink-and-perturb"),
)
"""Of the first system and the second, whose score is higher."""


def curves() -> Iterator[Curve]:
    """All of them, in the order in which they are trained."""
    for game in GAMES:
        for system in SYSTEMS:
            yield Curve(STUDY, game, "atari-100k-v1", game, system, {"game": game}, f"{game} {system}")


def normalised(curve: Curve) -> np.ndarray:
    """Scores at the last evaluation, and over the whole run, [2, seeds]; 0 is random play, 1 a person's."""
    low, high = SCORES[curve.problem]
    steps, values = curve.evaluations()
    return (np.stack([values[:, -1], area(steps, values)]) - low) / (high - low)


def paired(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Differences of the seeds that both have."""
    both = min(one.shape[1], other.shape[1])
    return one[:, :both] - other[:, :both]


def verdicts(done: Sequence[Curve]) -> list[str]:
    """What the runs say of the claims, from differences of runs with the same seeds in the same games."""
    found = {(curve.problem, curve.system): normalised(curve) for curve in done}
    lines = ["| claim | | at the end | over the whole run |", "|---|---|---|---|"]
    for name, text, one, other in CLAIMS:
        games = [game for game in GAMES if {(game, one), (game, other)} <= set(found)]
        if not games:
            continue
        cells = []
        for differences in np.concatenate([paired(found[game, one], found[game, other]) for game in games], axis=1):
            interval = mean_interval(differences[:, None], level=1 - 0.05 / len(CLAIMS))
            mean, low, high = (float(bound[0]) for bound in (interval.mean, interval.low, interval.high))
            verdict = "holds" if low > 0 else "does not hold" if high < 0 else "undecided"
            cells.append(f"**{verdict}**: {mean:+.3f} [{low:+.3f}, {high:+.3f}]")
        lines.append(f"| {name} | {text} ({', '.join(games)}) | {' | '.join(cells)} |")
    return lines


def report(done: Sequence[Curve]) -> None:
    """The table, the verdicts, a figure of each game with marks at resets, and one of all."""
    table = scores(load(HERE / "runs" / STUDY))
    draw_table(table).savefig(HERE / f"{STUDY}.png", dpi=150)
    draw(done)
    least, most = min(curve.complete for curve in done), max(curve.complete for curve in done)
    seeds = f"{least} to {most}" if least < most else least
    text = [
        "# Atari-100k at a size for two cores",
        "",
        "DrQ(eps) with a quarter of the maps and 128 hidden units sees pictures of 42x42, makes one update a step,",
        f"and learns for 30,000 steps: `--scale small`, {seeds} seeds in each of {len(GAMES)} games. Resets come every",
        "6,000 steps, those of both together every 12,000, as many as in the benchmark's 100,000. Games of an",
        "evaluation are cut off after 6,000 frames. An evaluation at a reset comes before it, at the best point of",
        "the saw-tooth; the area counts the rest. The published values are of 26 games at the benchmark's own size.",
        "",
        table.markdown(),
        f"![IQM of every system]({STUDY}.png)",
        "",
        "## Verdicts at this scale",
        "",
        "Differences of human-normalised scores between runs with the same seeds. Intervals hold for all four claims",
        "at once with 95 % (Bonferroni's correction). In one game alone, claims are judged by [the ledger](claims.md).",
        "",
        *verdicts(done),
        "",
        *(f"![{game}]({STUDY}-{game}.png)" for game in dict.fromkeys(curve.part for curve in done)),
        "",
        remarks(STUDY),
    ]
    (HERE / f"{STUDY}.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    print("\n".join(text))


if __name__ == "__main__":
    main(__doc__, list(curves()), report)
