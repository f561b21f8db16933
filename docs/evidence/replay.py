"""Agents that learn from replay, at a size for two cores: priming, replay ratios, data at hand, games in few steps.

    python docs/evidence/replay.py --plan              # measures a few steps of each piece, and says what all will take
    python docs/evidence/replay.py                     # goes on where it was stopped
    python docs/evidence/replay.py --only priming      # one piece; several may run side by side
    python docs/evidence/replay.py --seeds 12          # twelve seeds of each curve instead of five

Runs are trained and archived as `curves.py` says, in `.cache/replay` and `runs/replay`. At the end, or with `--report`,
tables and figures are written beside this file from the runs that are complete.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from curves import HERE, Curve, draw, main
from pieces import remarks

from neoteny.report.statistics.aggregate import aggregate, area

GAMES = ("breakout", "asterix")


def curves() -> Iterator[Curve]:
    """All of them, in the order in which they are trained."""
    for system in ("backprop", "primed", "primed-full-reset"):
        yield Curve("replay", "priming", "primacy-bias-v1", "cheetah-run", system, first_seed=10)
    for ratio in (1.0, 32.0):
        for system in ("backprop", "full-reset"):
            settings = {"task": "walker-run", "replay_ratio": ratio}
            label = f"ratio {ratio:g}{', resets' if system == 'full-reset' else ''}"
            yield Curve("replay", "ratio", "replay-ratio-v1", "walker-run", system, settings, label)
    for system in ("iql", "rlpd", "backprop", "iql-full-reset"):
        yield Curve("replay", "offline", "offline-to-online-v1", "point in the medium maze", system)
    for game in GAMES:
        for system in ("backprop", "head-reset", "shrink-and-perturb", "hare-and-tortoise"):
            yield Curve(
                "replay", "minatar", "minatar-100k-v1", game, system, {"game": game}, f"{game} {system}", "paper"
            )


def report(done: Sequence[Curve]) -> None:
    """The tables, and a figure for each piece with marks at resets."""
    lines = [
        "# Agents that learn from replay",
        "",
        "IQM of the returns of the last evaluation, and of the areas under the curves of evaluations, over seeds,",
        "with 95 % stratified bootstrap intervals. Evaluations come before resets, at the best point of the saw-tooth.",
        "Games have the benchmark's own 100,000 steps and a reset every 20,000.",
        "",
        "| piece | problem | system | seeds | last | area |",
        "|---|---|---|---:|---:|---:|",
    ]
    for curve in done:
        steps, values = curve.evaluations()
        cells = []
        for scores in (values[:, -1], area(steps, values)):
            iqm = aggregate([scores])["IQM"]
            cells.append(f"{iqm.mean:.4g} [{iqm.low:.4g}, {iqm.high:.4g}]")
        lines.append(f"| {curve.part} | {curve.problem} | {curve.name} | {len(values)} | {' | '.join(cells)} |")
    draw(done)
    lines += ["", *(f"![{part}](replay-{part}.png)" for part in dict.fromkeys(curve.part for curve in done))]
    lines += ["", remarks("replay")]
    (HERE / "replay.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main(__doc__, list(curves()), report)
